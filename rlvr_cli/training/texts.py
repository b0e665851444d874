"""Metrics of what the step's responses say, and of whether longer ones earn more."""

from __future__ import annotations

import math

from rlvr_cli.core.types import Group
from rlvr_cli.sampling.wording import Sums, Text, sums_of


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
    rewards, lengths, both = 0.0, 0.0, 0.0
    for group in sampled:
        pairs = [
            (reward, float(completion.response_length))
            for reward, completion in zip(group.rewards, group.completions, strict=True)
            if not math.isnan(reward)
        ]
        if len(pairs) > 1:
            middle = [math.fsum(side) / len(pairs) for side in zip(*pairs, strict=True)]
            off = [(reward - middle[0], length - middle[1]) for reward, length in pairs]
            rewards += sum(r * r for r, _ in off)
            lengths += sum(n * n for _, n in off)
            both += sum(r * n for r, n in off)
    if not rewards > 1e-12 or not lengths > 1e-12:
        return {}
    return {"reward/length_correlation": both / math.sqrt(rewards * lengths)}


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
