"""Which answer a group of traces gives. No torch.

Traces vote with their answers; None does not vote. The right answer is `RIGHT` whatever its form, as in
maj@k: only then do weighted and plain votes differ by their weights alone. Each function gives the chance
that the right answer wins: of t answers that tie, each wins with 1/t.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

RIGHT = ("right",)
Answer = tuple[str, ...] | None
"""RIGHT, ("wrong", text), or None: no vote."""


def answers_of(correct: Sequence[bool | None], extracted: Sequence[str | None]) -> list[Answer]:
    """What each sample of a problem votes for."""
    pairs = zip(correct, extracted, strict=True)
    return [RIGHT if right else None if said is None else ("wrong", said) for right, said in pairs]


def weighted_vote(answers: Sequence[Answer], weights: Sequence[float]) -> float:
    """argmax over answers of the sum of the weights of those who give it; with equal weights the majority."""
    totals: dict[tuple[str, ...], float] = {}
    for answer, weight in zip(answers, weights, strict=True):
        if answer is not None:
            totals[answer] = totals.get(answer, 0.0) + weight
    return _won(totals)


def majority_vote(answers: Sequence[Answer]) -> float:
    """The commonest answer."""
    return weighted_vote(answers, [1.0] * len(answers))


def best_of_n(answers: Sequence[Answer], scores: Sequence[float]) -> float:
    """The answer of the trace with the highest score; a trace without an answer can be the best and loses."""
    best = max(scores)
    first = [answer for answer, score in zip(answers, scores, strict=True) if score == best]
    return sum(answer == RIGHT for answer in first) / len(first)


def filtered_vote(answers: Sequence[Answer], scores: Sequence[float], keep: float) -> float:
    """A weighted vote of the share `keep` of the traces with the highest scores, rounded up."""
    count = max(1, math.ceil(round(keep * len(scores), 9)))
    chosen = sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:count]
    return weighted_vote([answers[i] for i in chosen], [scores[i] for i in chosen])


def _won(totals: dict[tuple[str, ...], float]) -> float:
    if not totals:
        return 0.0
    most = max(totals.values())
    first = [answer for answer, total in totals.items() if math.isclose(total, most, abs_tol=1e-12)]
    return (RIGHT in first) / len(first)
