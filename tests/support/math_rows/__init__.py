"""Answers to mathematical problems beside gold answers, with the verdict that is right for them.

Made from values, each in many spellings, and not with the package's reader: it is that reader which is
tested with them. The same seed gives the same rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

from math_rows.algebra import ALGEBRA
from math_rows.functions import FUNCTIONS
from math_rows.further import FURTHER
from math_rows.numbers import NUMBERS
from math_rows.quantities import QUANTITIES
from math_rows.shapes import SHAPES
from math_rows.spelling import Case
from math_rows.words import WORDING

KINDS: dict[str, Callable[[Random], Case]] = (
    NUMBERS | QUANTITIES | WORDING | SHAPES | ALGEBRA | FUNCTIONS | FURTHER
)
UNIVERSAL = ["1=1", "0=0", "x=x", "x^2+1=0", "0x=0", r"\infty", r"(-\infty,\infty)", r"\mathbb{R}", "x"]
UNIVERSAL += [r"\frac{0}{0}", "?", "...", r"\square", "nan", r"\text{any}", r"x \ne x+1", "1<2", r"\pm\infty"]
"""What an answer might be written as to be equal to any gold answer."""
_CLUTTER = ["{}"] * 3 + ["${}$", " {} ", "{}.", r"\displaystyle {}", r"\({}\)", "{{{}}}", r"\ {}", r"$ {} $."]
_PROSE = ["{}", "{}", " {} ", "{}."]


@dataclass(frozen=True)
class Row:
    kind: str
    said: str
    """The answer, without the box around it."""
    gold: str
    right: bool
    why: str
    """`spelling`, or the class of the mistake."""
    options: dict[str, str] = field(default_factory=dict, hash=False)
    """Of the verifier."""


def rows(seed: int, per_kind: int = 12, cluttered: bool = True) -> Iterator[Row]:
    """Of every kind so many gold answers, each with its right and its wrong answers.

    `cluttered`: dollars, spaces, a full stop and the like may stand around an answer.
    """
    for kind, make in KINDS.items():
        for n in range(per_kind):
            rng = Random(f"{seed} {kind} {n}")
            yield from _of_case(kind, make(rng), rng, cluttered)


def _of_case(kind: str, case: Case, rng: Random, cluttered: bool) -> Iterator[Row]:
    clutter = ["{}"] if not cluttered else _PROSE if case.prose else _CLUTTER
    gold = rng.choice(case.golds)
    right = dict.fromkeys(rng.sample(case.same, min(5, len(case.same))))
    for said in right:
        yield Row(kind, rng.choice(clutter).format(said), gold, True, "spelling", case.options)
    wrong = [(why, said) for why, answers in case.wrong.items() for said in answers]
    wrong += [("universal", said) for said in rng.sample(UNIVERSAL, 2)]
    for why, said in wrong:
        yield Row(kind, rng.choice(clutter).format(said), gold, False, why, case.options)
