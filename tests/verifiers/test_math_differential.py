"""Our verdicts beside math-verify's own, on generated answers: they differ in declared classes only."""

from __future__ import annotations

import pytest
from math_rows import rows
from math_verify_alone import MathVerify

from rlvr_cli.core.types import Reason
from rlvr_cli.schema import Verification
from rlvr_cli.verifiers.math import Math
from rlvr_cli.verifiers.pool import Pool

UNREAD = "accented angle based collection complex_number congruence decimal empty inequality integer "
UNREAD += "markup matrix mixed money name ordered outside percentage polynomial quadratic ratio recurring "
UNREAD += "scientific sentence subscript symbols thousands time trigonometric two_surds unicode vector word"
"""Kinds of which math-verify does not read some spelling."""
# Reason -> (kind of answer, why it is right or wrong).
DECLARED: dict[str, set[tuple[str, str]]] = {
    "it drops letters behind a number or formula, as units": {
        *((kind, "letter added") for kind in ("fraction", "integer", "decimal")),
        ("symbols", "letters or operations"),
    },
    "it lowers the case of symbols": {
        *((kind, "letter case") for kind in ("polynomial", "quadratic", "subscript", "name", "rational")),
        *((kind, "letter") for kind in ("inequality", "line")),
        *(("absolute", "entry"), ("accented", "accent")),
    },
    "letters of a word or name are factors to it, in any order": {
        *((kind, "letters swapped") for kind in ("name", "word")),
    },
    "it compares equations by their real solutions, or takes one side of them": {
        *(("quadratic", why) for why in ("entry", "sign", "no real roots", "universal")),
        ("integer", "equation"),
    },
    "it leaves out `thousand` and `million`, am and pm, bases, and degree signs": {
        *((kind, "thousand") for kind in ("integer", "money", "thousands")),
        *(("time", "half of the day"), ("based", "base"), ("trigonometric", "function or angle")),
    },
    "it drops the modulus, and of a vector what follows two entries": {
        *(("congruence", why) for why in ("dropped", "entry", "sign", "universal")),
        ("vector", "entry"),
    },
    "a ratio is a quotient to it": {("fraction", "ratio"), ("ratio", "quotient")},
    "it reads 4.5 e 33 as the number 4.5e33": {("scientific", "e as a number")},
    "it calls a set with the empty set in it empty": {("empty", "not empty")},
    "it does not read all spellings": {(kind, "spelling") for kind in UNREAD.split()},
}


@pytest.mark.slow
def test_verdicts_differ_in_declared_classes_only() -> None:
    """And where they do, ours is the one that the values bear out."""
    chosen = [row for row in rows(2, per_kind=1, cluttered=False) if not row.options][::2]
    declared = set().union(*DECLARED.values())
    verifiers = {"ours": Math(), "theirs": MathVerify()}
    with Pool(verifiers, Verification(workers=2, timeout_s=3)) as pool:
        waiting = [
            (row, *(pool.submit(name, f"\\boxed{{{row.said}}}", row.gold, {}) for name in verifiers))
            for row in chosen
        ]
        judged = [(row, ours.result(300), theirs.result(300)) for row, ours, theirs in waiting]
    differing = [
        (row, ours, theirs)
        for row, ours, theirs in judged
        if theirs.scored and theirs.reason is not Reason.refused and ours.score != theirs.score
    ]
    assert [row for row, _, _ in differing if (row.kind, row.why) not in declared] == []
    assert [row for row, ours, _ in differing if (ours.score == 1) != row.right] == []
    assert 10 < len(differing) < len(judged) / 2 and len(judged) > 250
