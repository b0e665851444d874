"""How a rubric grows beside its policy: what a judge is asked, what is read of it, and what stays.

DR Tulu's evolving rubrics (Shao et al. 2025, 2511.19399): a judge contrasts responses to a problem and
writes criteria that the rubric lacks; of those it has written, the ones on which all responses agree are
retired, and a bounded number stays. The row's own criteria stay whatever happens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from rlvr_cli.verifiers.chat_server import fill, question
from rlvr_cli.verifiers.rubric import FULFILLED, Criterion, Rubric, added, criteria

HEAVIEST = 10
"""Of a criterion's weight."""
LONGEST = 300
"""Characters of its text."""
_LINE = re.compile(r"^[ \t>*]{0,4}(?:- )?([+-]?[0-9]{1,3})[*_]{0,2}[ \t]?:[*_ \t]{0,4}(\S.*)$", re.MULTILINE)
_NOTHING = re.compile(r"^\W{0,8}none\W{0,8}$", re.IGNORECASE | re.MULTILINE)


def prompt_for(verifier: Rubric, extra: dict[str, Any], better: str, worse: str) -> str:
    """The judge is shown two responses, of which the rubric prefers the first, and the rubric."""
    known = criteria(extra, verifier.column) + added(extra, verifier.column)
    shown = [verifier.answer_in(each).text.strip()[-verifier.max_chars :] for each in (better, worse)]
    values = {
        "question": question(extra),
        "better": shown[0],
        "worse": shown[1],
        "criteria": "\n".join(f"{each.weight:g}: {each.text}" for each in known),
        "most": str(verifier.evolve_most),
    }
    return fill(verifier.evolve_template, values)


def proposed(said: str, known: Sequence[Criterion], most: int) -> list[Criterion] | None:
    """The criteria in a judge's answer that are not known yet, the first `most`; None where it has none and
    does not say `none`."""
    lines = [(float(number), text.strip().strip("*_").strip()) for number, text in _LINE.findall(said)]
    usable = [(w, text) for w, text in lines if 0 < abs(w) <= HEAVIEST and 0 < len(text) <= LONGEST]
    if not usable:
        return [] if _NOTHING.search(said) else None
    found: list[Criterion] = []
    seen = {_plain(each.text) for each in known}
    for weight, text in usable:
        if _plain(text) not in seen:
            found.append(Criterion(text, weight))
        seen.add(_plain(text))
    return found[:most]


def grown(
    own: int, before: Sequence[Criterion], new: Sequence[Criterion], marks: Sequence[str], most: int
) -> list[Criterion]:
    """What of the added criteria stays, at most `most`: the new ones, then those that tell responses apart
    best.

    `own`: how many are the row's, which come first in `marks`: of each response a 1 or 0 for every criterion.
    Marks of another number of criteria are of an earlier rubric, and count for none.
    """
    seen = [mark for mark in marks if len(mark) == own + len(before)]
    spreads = [_spread([mark[own + n] for mark in seen]) for n in range(len(before))]
    alive = [(spread, each) for spread, each in zip(spreads, before, strict=True) if spread or not seen]
    alive.sort(key=lambda pair: -pair[0])
    return [*new, *(each for _, each in alive)][:most]


def marks_of(more: dict[str, float | str]) -> str:
    """Which criteria a verdict has found fulfilled; "" where it says nothing of it."""
    found = more.get(FULFILLED, "")
    return found if isinstance(found, str) else ""


def _spread(column: Sequence[str]) -> float:
    """Variance of ones and zeros; 0 where there are none."""
    share = column.count("1") / len(column) if column else 0.0
    return share * (1 - share)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".")
