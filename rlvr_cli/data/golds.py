"""Gold answers of a row: the texts its column holds, of which any counts, and what is no gold at all.

A list is several golds, unless it is the form of one: the tests of a program, the instructions of IFEval.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

from rlvr_cli.core.errors import UserError

Row = dict[str, Any]
Fault = Callable[[Row, str | None], str | None]
"""(row, one of its golds; None: it has none) -> why its verifiers cannot use it, or None; "" where the lack
of it is why."""
AskVerifiers = Callable[[list[str], str | None, dict[str, Any]], str | None]
"""The same of (names of verifiers, gold, the row's `extra`)."""

BEARERS = {
    frozenset({"target"}): ("target",),
    frozenset({"text", "answer_start"}): ("text",),
    frozenset({"value", "aliases"}): ("value", "aliases"),
}
"""Keys of objects that hold golds (Search-R1; SQuAD; TriviaQA) -> those with the golds."""
TRIVIA_QA = frozenset(
    (
        *("matched_wiki_entity_name", "normalized_aliases", "normalized_matched_wiki_entity_name"),
        *("normalized_value", "type"),
    )
)
"""Keys beside `value` and `aliases` that say nothing more."""
TEST_KEYS = ({"inputs", "outputs"}, {"test_list"}, {"test", "entry_point"}, {"instruction_id_list"})
ASSERTS = re.compile(r"^\s*assert\b\s*\S", re.MULTILINE)


class NoGold(ValueError):
    """There is no gold answer here; says why."""


def last_boxed(text: str) -> str | None:
    """Content of the last balanced \\boxed{...}."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth, begin = 0, start + len("\\boxed{")
    for end in range(begin - 1, len(text)):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        if depth == 0:
            return text[begin:end]
    return None


def gold(value: Any, column: str, where: str) -> str:
    """One gold as text: GSM8K's after `####`, a worked solution's out of its last \\boxed{}.

    NoGold where it is null, empty or no number; UserError where it is nothing that an answer can be.
    """
    if value is None:
        raise NoGold(f"'{column}' is null")
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise NoGold(f"'{column}' is {value}")
        return str(value)
    if not isinstance(value, str):
        raise UserError(
            f"{where}: '{column}' is {type(value).__name__}; an answer must be text or a number, or a list "
            "of them of which any counts (write structured answers as JSON text)"
        )
    if marked := re.search(r"####\s*(\S[^\n]*)\s*\Z", value):
        value = marked[1].strip().replace(",", "")
    elif column.casefold() == "solution" and (boxed := last_boxed(value)):
        value = boxed
    if not value.strip():
        raise NoGold(f"'{column}' is empty")
    return value


def only_gold(value: Any, column: str, where: str) -> str:
    """`gold` where there must be one: UserError where there is none."""
    try:
        return gold(value, column, where)
    except NoGold as none:
        raise UserError(f"{where}: {none}; fill it or remove the row") from none


def golds(value: Any, column: str, where: str) -> tuple[list[str], list[str]]:
    """(golds, of which any counts; why others of the value are none)."""
    if (text := structured(value)) is not None:
        return [text], []
    found, faults = [], []
    values = _several(value, column, where)
    for each in values:
        try:
            found.append(gold(each, column, where))
        except NoGold as none:
            faults.append(str(none) if len(values) == 1 else f"one of {none}")
    if not values:
        faults.append(f"'{column}' is an empty list")
    return list(dict.fromkeys(found)), faults


def structured(value: Any) -> str | None:
    """JSON text of a value that is one gold as a whole: tests of a program, instructions to follow."""
    if isinstance(value, dict):
        whole = any(keys <= set(value) for keys in TEST_KEYS)
    else:
        whole = isinstance(value, list) and bool(value) and all(map(_is_test, value))
    return json.dumps(value) if whole else None


def _is_test(item: Any) -> bool:
    if isinstance(item, dict):
        return {"input", "output"} <= set(item) or any(keys <= set(item) for keys in TEST_KEYS)
    return isinstance(item, str) and ASSERTS.search(item) is not None


def _several(value: Any, column: str, where: str) -> list[Any]:
    if isinstance(value, dict):
        bearers = BEARERS.get(frozenset(value) - (TRIVIA_QA if "aliases" in value else frozenset()))
        if bearers is None:
            raise UserError(
                f"{where}: '{column}' is an object with {', '.join(value) or 'no keys'}, which is no known "
                f"form of a gold answer; name what holds it, e.g. columns.answer={column}."
                f"{next(iter(value), 'key')}, or write it as JSON text for a verifier that reads that"
            )
        return [each for key in bearers for each in _several(value[key], f"{column}.{key}", where)]
    return value if isinstance(value, list) else [value]


def keep_usable(row: Row, where: str, fault: Fault) -> list[str]:
    """Leave the row the golds its verifiers can use; why the others, or all, cannot be.

    Afterwards `answer` is the first usable one, None where there is none, "" where nobody reads it. UserError
    where somebody reads one that has no form of an answer.
    """
    given = [] if row["answer"] is None else [row["answer"], *row["alternatives"]]
    if not given:
        why = fault(row, None)
        if why is not None and row.get("unreadable") is not None:
            raise UserError(row["unreadable"])
        row["answer"] = "" if why is None else None
        return [] if why is None else [f"{where}: {why}" if why else row["faults"][0]]
    usable, faults = [], list(row["faults"])
    for text in given:
        if (why := fault(row, text)) is None:
            usable.append(text)
        else:
            faults.append(f"{where}: {text[:60]!r} cannot be used, {why}")
    row["answer"], row["alternatives"] = next(iter(usable), None), usable[1:]
    return faults


def any_text(row: Row, text: str | None) -> str | None:
    """The fault of a gold where no verifier is there to be asked."""
    return "" if text is None else None
