"""Benchmarks whose rows are put together first: options into a question, tests into an answer.

A layout is a function (row, random numbers of the row, options) -> row with `prompt`, `answer`, `id` and
whatever verifiers and tables need, or None for a row that does not belong to the benchmark.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.data.layouts import did_you_mean

Row = dict[str, Any]
LETTERS = "ABCDEFGHIJ"
LAYOUTS: dict[str, Callable[..., Row | None]] = {}


def layout(make: Callable[..., Row | None]) -> Callable[..., Row | None]:
    """Register a layout under its function's name; its keyword arguments are its options."""
    LAYOUTS[make.__name__] = make
    return make


def arrange(name: str, raw: Row, options: Mapping[str, Any], seed: int, where: str) -> Row | None:
    """The row in the layout `name`; UserError for an unknown one, a missing column or a wrong option."""
    make = find(name, options)
    first = next(iter(raw.values()), "")
    try:
        return make(raw, Random(f"{seed}:{raw.get('Question', first)}"), **options)
    except KeyError as error:
        raise UserError(
            f"{where} has no column {error}, which layout {name} needs; it has {', '.join(raw)}"
        ) from error
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{where} does not fit layout {name}: {error}") from error


def find(name: str, options: Mapping[str, Any]) -> Callable[..., Row | None]:
    if name not in LAYOUTS:
        raise UserError(
            f"there is no layout '{name}'{did_you_mean(name, LAYOUTS)}; there are {', '.join(LAYOUTS)}"
        )
    parameters = inspect.signature(LAYOUTS[name]).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise UserError(
                f"layout {name} has no option '{option}'{did_you_mean(option, known)}; "
                f"its options are {', '.join(known) or 'none'}"
            )
    return LAYOUTS[name]


def lettered(question: str, options: list[str]) -> str:
    """The question with its options as `A) ...` below."""
    if not 2 <= len(options) <= len(LETTERS):
        raise ValueError(f"{len(options)} options; 2 to {len(LETTERS)} have letters")
    listed = "\n".join(f"{letter}) {text}" for letter, text in zip(LETTERS, options, strict=False))
    return f"{question.strip()}\n\n{listed}"


@layout
def gpqa(raw: Row, rng: Random) -> Row:
    """Idavidrein/gpqa: one right and three wrong answers, shuffled by the bench's seed."""
    right = raw["Correct Answer"].strip()
    options = [right, *(raw[f"Incorrect Answer {n}"].strip() for n in (1, 2, 3))]
    order = rng.sample(range(4), 4)
    options = [options[place] for place in order]
    return {
        "prompt": lettered(raw["Question"], options),
        "answer": LETTERS[order.index(0)],
        "id": raw.get("Record ID"),
        "options": options,
        "subject": raw.get("High-level domain"),
    }


@layout
def mmlu_pro(raw: Row, rng: Random) -> Row:
    """TIGER-Lab/MMLU-Pro: up to ten options, in the order of the set; the split validation is worked out."""
    options = [str(option) for option in raw["options"]]
    worked = str(raw.get("cot_content") or "").removeprefix("A: ").strip()
    return {
        "prompt": lettered(raw["question"], options),
        "answer": raw["answer"],
        "id": raw.get("question_id"),
        "options": options,
        "subject": raw["category"],
        "reference": f"{worked}\nAnswer: {raw['answer']}" if worked else "",
    }


@layout
def humaneval(raw: Row, rng: Random) -> Row:
    """openai/openai_humaneval, evalplus/humanevalplus: a function to complete, a program that checks it."""
    tests = {key: raw[key] for key in ("test", "entry_point", "prompt")}
    reference = f"```python\n{raw['prompt']}{raw.get('canonical_solution', '')}\n```"
    return {
        "prompt": raw["prompt"].strip(),
        "answer": json.dumps(tests),
        "id": raw["task_id"],
        "reference": reference,
    }


@layout
def mbpp(raw: Row, rng: Random, *, plus: bool = False) -> Row:
    """google-research-datasets/mbpp, evalplus/mbppplus (`plus`: judged by the latter's many more inputs).

    The tests of the set itself are shown, since nothing else says how the function is called.
    """
    task = raw["text"] if "text" in raw else raw["prompt"]
    shown = "\n".join(raw["test_list"])
    tests = {"test_list": [raw["test"]] if plus else list(raw["test_list"])}
    tests |= {key: raw[key] for key in ("test_imports", "test_setup_code") if raw.get(key)}
    return {
        "prompt": f"{task.strip()}\nYour code should pass these tests:\n\n{shown}",
        "answer": json.dumps(tests),
        "id": raw["task_id"],
        "reference": f"```python\n{raw['code']}\n```" if raw.get("code") else "",
    }


STDIN = (
    "Read the inputs from stdin, solve the problem and write the answer to stdout (do not directly test on "
    "the sample inputs). Enclose your code within delimiters as follows.\n```python\n# YOUR CODE HERE\n```"
)
STARTER = (
    "You will use the following starter code to write the solution to the problem and enclose your code "
    "within delimiters.\n```python\n{}\n```"
)


@layout
def livecodebench(raw: Row, rng: Random, *, start: str = "", end: str = "9999") -> Row | None:
    """lighteval/code_generation_lite, livecodebench/code_generation_lite: contests from `start` on and
    before `end` (dates as 2024-08-01)."""
    date = str(raw["contest_date"])[:10]
    if not str(start) <= date < str(end):
        return None
    starter = raw["starter_code"]
    form = STARTER.format(starter) if starter else STDIN
    return {
        "prompt": f"{raw['question_content'].strip()}\n\n{form}",
        "answer": raw["private_test_cases"],
        "id": raw["question_id"],
        "public_test_cases": raw["public_test_cases"],
        "metadata": raw["metadata"],
        "difficulty": raw["difficulty"],
        "date": date,
    }


@layout
def ifeval(raw: Row, rng: Random) -> Row:
    """google/IFEval: the instructions and their arguments are the answer."""
    rules = {"instruction_id_list": list(raw["instruction_id_list"]), "kwargs": list(raw["kwargs"])}
    return {"prompt": raw["prompt"], "answer": json.dumps(rules), "id": raw.get("key")}
