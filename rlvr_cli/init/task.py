"""What kind of problems rows hold, by what their golds look like, and the verifier and prompt that go with
it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rlvr_cli import verifiers
from rlvr_cli.core.errors import UserError
from rlvr_cli.init.rows import Row, Rows

TASKS = ("math", "code", "choice", "chat", "reward")
MOST = 0.9
"""Share of golds that must look alike."""
SHORT = 60
"""Characters of an answer that can be compared as text."""

BOXED = "{prompt}\nPlease reason step by step, and put your final answer within \\boxed{}."
LETTER = (
    "{prompt}\nPlease reason step by step. End with a line that begins with Answer: and has the letter alone."
)
PROGRAM = "{prompt}\nWrite your program in one ```python block."
OPTION = re.compile(r"^\s*[(\[]?([A-J])[).:\]]", re.MULTILINE)
TO_NEED_ANSWERS = (
    "name their column with columns.answer=COLUMN, or give a reward function with --reward FILE.py"
)


@dataclass(kw_only=True)
class Task:
    """What a recipe is made of besides its sizes."""

    name: str
    why: str
    """In a sentence, for who reads the recipe."""
    verifier: dict[str, Any] = field(default_factory=dict)
    """Settings with a name; none: supervised fine-tuning."""
    prompt: str = "{prompt}"
    key: str = ""
    """Of `verifiers`."""


def task_of(rows: Rows, wanted: str | None, reward: dict[str, Any] | None) -> Task:
    """The task asked for, or the one the rows look like. UserError where they cannot be trained on as
    such."""
    if reward is not None:
        if wanted not in (None, "reward"):
            raise UserError(
                f"--reward scores the responses, so the task is reward and not {wanted}; leave --task out"
            )
        return Task(
            name="reward", why=f"{reward['name']} scores the responses", verifier=reward, key="reward"
        )
    if wanted == "reward":
        raise UserError(
            "--task reward needs --reward: FILE.py, FILE.py:FUNCTION, or the folder of a reward model"
        )
    made = MAKERS[wanted](rows) if wanted is not None else _guessed(rows)
    if made is None:
        raise UserError(f"--task {wanted}: {rows.path} {_lacks(rows, wanted or '')}")
    return made


def _guessed(rows: Rows) -> Task:
    for name in ("code", "choice", "math", "chat"):
        if (made := MAKERS[name](rows)) is not None:
            return made
    raise UserError(
        f"--data: {rows.path} has no answers that can be checked (columns: {', '.join(rows.raw[0])}); "
        f"{TO_NEED_ANSWERS}"
    )


def _lacks(rows: Rows, task: str) -> str:
    first = next((str(row["answer"]) for row in rows.answered), None)
    has = (
        f"its answers are such as {first[:40]!r}" if first else f"it has the columns {', '.join(rows.raw[0])}"
    )
    wants = {
        "code": "has no tests that programs could be run on",
        "choice": "has no letters as answers",
        "math": "has no short answers to compare",
        "chat": "has no replies to learn from, nor instructions that can be checked",
    }
    return f"{wants[task]}: {has}"


def _share(rows: Rows, fits: Callable[[Row], bool]) -> float:
    """Of all rows, those that have an answer that fits."""
    return sum(map(fits, rows.answered)) / max(1, len(rows.rows))


def _usable(name: str, row: Row, **settings: Any) -> bool:
    """Whether the verifier itself can use the gold of a row."""
    return verifiers.find(name)(**settings).check_gold(row["answer"], row["extra"]) is None


def _code(rows: Rows) -> Task | None:
    def tests(row: Row) -> bool:
        try:
            packed = isinstance(json.loads(row["answer"]), dict | list)
        except ValueError:
            packed = "assert" in row["answer"]
        return packed and _usable("code", row)

    if _share(rows, tests) < MOST:
        return None
    return Task(
        name="code",
        why="the answers are tests of programs",
        verifier={"name": "code"},
        prompt=PROGRAM,
        key="code",
    )


def _choice(rows: Rows) -> Task | None:
    def letter(row: Row) -> bool:
        return re.fullmatch(r"\(?[A-J]\)?\.?", row["answer"].strip()) is not None and _usable("choice", row)

    if _share(rows, letter) < MOST:
        return None
    listed = sum(len(set(OPTION.findall(words_of(row)))) >= 2 for row in rows.rows) / len(rows.rows)
    if listed < MOST and any(isinstance(row["extra"].get("options"), list) for row in rows.rows):
        raise UserError(
            f"--data: {rows.path} has its options in a column of their own, where no model sees them; write "
            "them into "
            f"'{rows.columns['prompt']}', one a line: A. ..."
        )
    return Task(
        name="choice",
        why="the answers are letters of options",
        verifier={"name": "choice"},
        prompt=_unless(rows, r"Answer:|answer is", LETTER),
        key="choice",
    )


def _math(rows: Rows) -> Task | None:
    def formula(row: Row) -> bool:
        return re.search(r"[0-9\\]", row["answer"]) is not None and _usable("math", row)

    def short(row: Row) -> bool:
        return 0 < len(row["answer"].strip()) <= SHORT and "\n" not in row["answer"].strip()

    if _share(rows, formula) >= MOST:
        if _asks(rows, r"####"):
            return Task(name="math", why=NUMBERS, verifier={"name": "math", "extraction": "hash"}, key="math")
        if _asks(rows, r"Answer:") and not _asks(rows, r"\\boxed"):
            return Task(
                name="math", why=NUMBERS, verifier={"name": "math", "extraction": "answer_line"}, key="math"
            )
        return Task(
            name="math",
            why=NUMBERS,
            verifier={"name": "math"},
            prompt=_unless(rows, r"\\boxed", BOXED),
            key="math",
        )
    if _share(rows, short) < MOST:
        return None
    return Task(
        name="math",
        why="the answers are a few words, compared as text whatever their case",
        verifier={"name": "match", "extraction": "boxed", "lower": True},
        prompt=_unless(rows, r"\\boxed", BOXED),
        key="match",
    )


def _chat(rows: Rows) -> Task | None:
    if all("instruction_id_list" in raw for raw in rows.raw) and rows.rows:
        return Task(
            name="chat",
            why="the rows say which instructions to follow",
            verifier={"name": "ifeval"},
            key="ifeval",
        )
    if not rows.examples:
        return None
    return Task(name="chat", why="the rows have replies to learn from, and no answers that can be checked")


NUMBERS = "the answers are numbers or formulas, compared by value"
MAKERS: dict[str, Callable[[Rows], Task | None]] = {
    "math": _math,
    "code": _code,
    "choice": _choice,
    "chat": _chat,
}


def words_of(row: Row) -> str:
    prompt = row["prompt"]
    return prompt if isinstance(prompt, str) else "\n".join(message["content"] for message in prompt)


def _asks(rows: Rows, pattern: str) -> bool:
    """Whether the problems themselves say how to write the answer."""
    return sum(re.search(pattern, words_of(row)) is not None for row in rows.rows) >= MOST * len(rows.rows)


def _unless(rows: Rows, pattern: str, template: str) -> str:
    return "{prompt}" if _asks(rows, pattern) else template
