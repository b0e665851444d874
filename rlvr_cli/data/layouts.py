"""Column layouts of common data sets, recognised as they are, and rows brought to one form.

A problem becomes {id, prompt, answer, alternatives, faults, extra}, an SFT example {id, prompt,
completion}. A prompt is a string or a list of chat messages {role, content}; so is a completion, whose
assistant turns are trained.
Columns are named by paths: `reward_model.ground_truth` looks inside a nested column.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Raw
from rlvr_cli.data import programs
from rlvr_cli.data.golds import golds
from rlvr_cli.data.image_columns import image_column, images_of
from rlvr_cli.vision.marks import marked

# Most specific first: verl files may hold `answer` inside extra_info only, and where a worked
# `solution` stands beside an `answer`, the answer is the gold.
PROMPTS = ("prompt", "problem", "question", "input", "context_messages", "query", "messages")
ANSWERS = (
    *("reward_model.ground_truth", "answer", "final_answer", "ground_truth"),
    *("expected_answer", "golden_answers", "label", *programs.COLUMNS, "solution", "gt"),
)
IDS = ("id", "unique_id", "problem_id", "question_id", "uuid", "extra_info.index")
MESSAGES = ("messages", "conversations", "conversation")
REQUESTS = ("prompt", "instruction", "problem", "question", "input", "query")
COMPLETIONS = ("completion", "response", "output", "solution", "answer")

SHAREGPT_ROLES = {"human": "user", "gpt": "assistant"}

Row = dict[str, Any]
Columns = dict[str, str]
"""Our name -> path of the file's column."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How rows of one kind are recognised and brought to one form."""

    recognise: Callable[[Row, Columns, str], Columns]
    """(first row, explicit columns, where) -> columns"""
    normalise: Callable[[Row, Columns, str], Row]
    """(row, columns, where) -> normalised row"""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest known word, or nothing."""
    by_fold = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(word.casefold(), by_fold, n=1)
    return f"; did you mean '{by_fold[near[0]]}'?" if near else ""


def lookup(raw: Row, path: str) -> Any:
    """Value of a column or, with dots, inside a nested one; KeyError where there is none."""
    if path in raw:
        return raw[path]
    head, dot, rest = path.partition(".")
    if dot and head in raw and raw[head] is None:
        return None  # a nested column of a row that has nothing there
    if not dot or not isinstance(raw.get(head), dict):
        raise KeyError(path)
    return lookup(raw[head], rest)


def find(raw: Row, candidates: Iterable[str]) -> str | None:
    """The first candidate the row has, as the row spells it (`Problem` for `problem`)."""
    by_fold = {name.casefold(): name for name in raw}
    for candidate in candidates:
        head, dot, rest = candidate.partition(".")
        path = by_fold.get(head, head) + dot + rest
        try:
            lookup(raw, path)
        except KeyError:
            continue
        return path
    return None


def _explicit(raw: Row, columns: Columns, where: str) -> Columns:
    """The recipe's `columns`, after checking that the first row has them all."""
    for ours, path in columns.items():
        try:
            lookup(raw, path)
        except KeyError:
            hint = did_you_mean(path, raw)
            message = f"{where} has no column '{path}' (columns.{ours}); it has {', '.join(raw)}{hint}"
            raise UserError(message) from None
    return dict(columns)


def _recognised(raw: Row, columns: Columns, where: str, ours: str, candidates: tuple[str, ...]) -> str:
    path = columns.get(ours) or find(raw, candidates)
    if path is None:
        raise UserError(_unrecognised(raw, columns, where, ours, candidates))
    return path


def _unrecognised(raw: Row, columns: Columns, where: str, ours: str, candidates: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(ours, [name for name in raw if name not in columns.values()], n=1)
    return (
        f"{where} has no column for the {ours} (looked for {', '.join(candidates)}); "
        f"it has {', '.join(raw)}; name one with columns.{ours}={near[0] if near else '<column>'}"
    )


def _missing(raw: Row, path: str, where: str) -> str:
    return f"{where} has no column '{path}'; it has {', '.join(raw)}{did_you_mean(path, raw)}"


def problem_columns(raw: Row, explicit: Columns, where: str) -> Columns:
    """Columns of a set of problems, from its first row; without `answer` where that row has no gold."""
    named = {ours: path for ours, path in explicit.items() if ours == "answer"}  # this row may lack it
    columns = named | _explicit(raw, {o: path for o, path in explicit.items() if o not in named}, where)
    columns["prompt"] = _recognised(raw, columns, where, "prompt", PROMPTS)
    if "answer" not in columns and (path := find(raw, ANSWERS)):
        columns["answer"] = path
    return _with_images(raw, columns)


def _with_images(raw: Row, columns: Columns) -> Columns:
    """Those that rows of any kind may have."""
    for ours, path in (("id", find(raw, IDS)), ("images", image_column(raw))):
        if ours not in columns and path is not None:
            columns[ours] = path
    return columns


def example_columns(raw: Row, explicit: Columns, where: str) -> Columns:
    """Columns of a set of SFT examples, from its first row."""
    columns = _with_images(raw, _explicit(raw, explicit, where))
    if "prompt" not in columns and "completion" not in columns:
        if path := columns.get("messages") or find(raw, MESSAGES):
            return {**columns, "messages": path}
        # Alpaca: the optional `input` continues the instruction.
        if (path := find(raw, ("input",))) and find(raw, ("instruction",)):
            columns["input"] = path
    columns["prompt"] = _recognised(raw, columns, where, "prompt", REQUESTS)
    others = tuple(name for name in COMPLETIONS if name != columns["prompt"].casefold())
    columns["completion"] = _recognised(raw, columns, where, "completion", others)
    return columns


def _value(raw: Row, columns: Columns, ours: str, where: str) -> Any:
    try:
        return lookup(raw, columns[ours])
    except KeyError:
        raise UserError(_missing(raw, columns[ours], where)) from None


def messages(value: list[Any], where: str) -> list[dict[str, str]]:
    """Chat messages as {role, content}; ShareGPT's {from, value} is accepted."""
    found = []
    for number, message in enumerate(value, 1):
        if not isinstance(message, dict):
            raise UserError(f"{where}: message {number} is not an object with role and content")
        role = message.get("role") or message.get("from")
        content = message.get("content") if message.get("content") is not None else message.get("value")
        if isinstance(content, list):
            content = marked(content, where)
        if not isinstance(role, str) or not isinstance(content, str):
            raise UserError(f"{where}: message {number} needs a role and a content, both text")
        found.append({"role": SHAREGPT_ROLES.get(role, role), "content": content})
    return found


def text_or_messages(value: Any, column: str, where: str) -> str | list[dict[str, str]]:
    """A prompt or completion that is there: not empty, and text or messages."""
    if isinstance(value, list):
        value = messages(value, where)
        empty = not value or not value[-1]["content"].strip()
    elif isinstance(value, str):
        empty = not value.strip()
    else:
        raise UserError(f"{where}: '{column}' is {type(value).__name__}; it must be text or chat messages")
    if empty:
        raise UserError(f"{where}: '{column}' is empty; fill it or remove the row")
    return value


def problem(raw: Row, columns: Columns, where: str) -> Row:
    """{id, prompt, answer, alternatives, faults, unreadable, extra, raw}; id is None where the file has none.

    `answer` is None where there is no gold; `faults` says why, and why some of several are none. Where there
    is one that has no form of an answer, `unreadable` says so: for verifiers that take any (`raw`).
    """
    prompt = text_or_messages(_value(raw, columns, "prompt", where), columns["prompt"], where)
    if isinstance(prompt, list) and prompt[-1]["role"] == "assistant":
        prompt = prompt[:-1]  # A `messages` column ends with the reply the model is to find itself.
        if not prompt:
            raise UserError(f"{where}: '{columns['prompt']}' holds a reply and no request")
    unreadable = None
    try:
        found, faults = _golds(raw, columns, where)
    except UserError as error:
        found, faults, unreadable = [], [str(error)], str(error)
    used = {columns["prompt"], *map(columns.get, ("answer", "id", "images"))}
    extra = {name: value for name, value in raw.items() if name not in used}
    mapped = [ours for ours in columns if ours not in ("prompt", "answer", "id", "images")]
    extra |= {ours: _value(raw, columns, ours, where) for ours in mapped}
    identity = _value(raw, columns, "id", where) if "id" in columns else None
    golds_of_row = {"answer": next(iter(found), None), "alternatives": found[1:], "faults": faults}
    more = {"unreadable": unreadable, "raw": raw_of(raw, columns)} | _images(raw, columns, where)
    return {"id": identity, "prompt": prompt, **golds_of_row, "extra": extra, **more}


def _images(raw: Row, columns: Columns, where: str) -> Row:
    """{images}, as the row has them; {} where the set has none."""
    return {"images": images_of(_value(raw, columns, "images", where))} if "images" in columns else {}


def raw_of(raw: Row, columns: Columns) -> Raw:
    """What of a row a problem has in another form."""
    path = columns.get("answer")
    try:
        gold = None if path is None else lookup(raw, path)
    except KeyError:
        gold = None
    names = {"prompt", columns.get("prompt"), path, columns.get("id")}
    return Raw(columns={name: raw[name] for name in names if name in raw}, gold=gold)


def _golds(raw: Row, columns: Columns, where: str) -> tuple[list[str], list[str]]:
    """The row's golds, of which any counts, and why there are not more."""
    if "answer" not in columns and (path := find(raw, ANSWERS)):
        columns["answer"] = path  # for all rows from here on: no other column ever stands in for it
    if (path := columns.get("answer")) is None:
        return [], [_unrecognised(raw, columns, where, "answer", ANSWERS)]
    try:
        value = lookup(raw, path)
    except KeyError:
        return [], [_missing(raw, path, where)]
    if (tests := programs.tests(raw, path, value)) is not None:
        return [tests], []
    found, faults = golds(value, path, where)
    return found, [f"{where}: {fault}" for fault in faults]


def example(raw: Row, columns: Columns, where: str) -> Row:
    """{id, prompt, completion}; a chat is cut in two before its first assistant turn."""
    identity = _value(raw, columns, "id", where) if "id" in columns else None
    shared = {"id": identity} | _images(raw, columns, where)
    if "messages" in columns:
        chat = text_or_messages(_value(raw, columns, "messages", where), columns["messages"], where)
        roles = [m["role"] for m in chat] if isinstance(chat, list) else []
        if "assistant" not in roles[1:] or roles[0] == "assistant":
            raise UserError(f"{where}: '{columns['messages']}' must hold a request, then an assistant turn")
        cut = roles.index("assistant")
        return {**shared, "prompt": chat[:cut], "completion": chat[cut:]}
    prompt = text_or_messages(_value(raw, columns, "prompt", where), columns["prompt"], where)
    if "input" in columns and isinstance(prompt, str) and (context := raw.get(columns["input"])):
        prompt = f"{prompt}\n\n{context}"
    value = _value(raw, columns, "completion", where)
    return {
        **shared,
        "prompt": prompt,
        "completion": text_or_messages(value, columns["completion"], where),
    }


PROBLEMS = Layout(recognise=problem_columns, normalise=problem)
EXAMPLES = Layout(recognise=example_columns, normalise=example)
