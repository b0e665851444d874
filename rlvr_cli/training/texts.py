"""Metrics of what the step's responses say, and of whether longer or more repetitive ones earn more."""

from __future__ import annotations

import math

from rlvr_cli.core.types import Group
from rlvr_cli.sampling.wording import Sums, Text, add, repeated, sums_of


def text_sums(mine: list[Group]) -> Sums:
    """What `text/*` are the means of; those of ranks add up."""
    return sums_of((group.problem.prompt, texts(group)) for group in mine)


def texts(group: Group) -> list[Text]:
    """Of an episode the last turn."""
    return [
        Text(
            response=completion.text,
            tokens=completion.response_length,
            correct=None if math.isnan(correct) else correct,
            source=group.problem.source,
        )
        for completion, correct in zip(group.completions, group.correct, strict=True)
    ]


def length_correlation(sampled: list[Group]) -> dict[str, float]:
    """Pearson's correlation of reward and length within groups: deviations from the group's means, of all
    groups together. Absent where one of the two never differs."""
    found = [
        _products(group.rewards, [float(each.response_length) for each in group.completions])
        for group in sampled
    ]
    return _pearson("reward/length_correlation", [math.fsum(each) for each in zip(*found, strict=True)])


def repetition_sums(mine: list[Group]) -> Sums:
    """The same of reward and repetition (`text/repetition`), for `repetition_correlation`; those of ranks add
    up."""
    found: Sums = {}
    for group in (each for each in mine if each.rewards):
        said = [repeated(completion.text) for completion in group.completions]
        values = [math.nan if share is None else share for share in said]
        for name, value in zip(PRODUCTS, _products(group.rewards, values), strict=True):
            add(found, name, value)
    return found


def repetition_correlation(sums: Sums) -> dict[str, float]:
    """Of all ranks' sums."""
    return _pearson("reward/repetition_correlation", [sums.get(name, (0.0, 0))[0] for name in PRODUCTS])


PRODUCTS = ("rewards", "others", "both")


def _products(rewards: list[float], others: list[float]) -> tuple[float, float, float]:
    """Sums of squares of both and of their products, as deviations from their means; NaN is left out."""
    pairs = [pair for pair in zip(rewards, others, strict=True) if not any(map(math.isnan, pair))]
    if len(pairs) < 2:
        return 0.0, 0.0, 0.0
    middle = [math.fsum(side) / len(pairs) for side in zip(*pairs, strict=True)]
    off = [(reward - middle[0], other - middle[1]) for reward, other in pairs]
    return sum(r * r for r, _ in off), sum(n * n for _, n in off), sum(r * n for r, n in off)


def _pearson(name: str, products: list[float]) -> dict[str, float]:
    rewards, others, both = products or (0.0, 0.0, 0.0)
    if not rewards > 1e-12 or not others > 1e-12:
        return {}
    return {name: both / math.sqrt(rewards * others)}


def lengths_by_outcome(sampled: list[Group]) -> dict[str, float]:
    """Mean length of responses that ended by themselves, of right and of wrong ones; absent without any."""
    found: dict[str, list[int]] = {}
    for group in sampled:
        for completion, correct in zip(group.completions, group.correct, strict=True):
            length = completion.response_length
            if completion.finished:
                found.setdefault("stopped", []).append(length)
            if not math.isnan(correct):
                found.setdefault("correct" if correct >= 1 else "wrong", []).append(length)
    return {f"response_length/{name}_mean": sum(x) / len(x) for name, x in sorted(found.items())}
