"""Which traces of a problem are sampled on, and which end early. No torch, no engine.

The engine and the replay of recorded confidences run the same `Race`, so that what a rule would have saved on
full traces is what it saves while they are sampled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from rlvr_cli.core.probes import Probes

UNKNOWN = 0.5
"""Confidence in a trace before its first probe."""


class Rule(Protocol):
    """One family of early pruning."""

    def __call__(self, race: Race, tokens: int) -> list[int]:
        """Traces that are dropped after so many tokens."""


@dataclass(kw_only=True)
class Race:
    """The traces of one problem, sampled side by side: each live one has as many tokens as the others."""

    traces: int
    ema: float
    """Weight of what was before, in the moving mean of a trace's confidences."""
    rule: Rule | None
    """None: all are sampled to their end."""
    means: dict[int, float] = field(default_factory=dict)
    lengths: dict[int, int] = field(default_factory=dict)
    """Tokens of the traces that have ended by themselves or were dropped."""
    dropped: set[int] = field(default_factory=set)

    def see(self, tokens: int, confidences: Mapping[int, float], ended: Sequence[int]) -> list[int]:
        """Take in the probes after so many tokens and who has ended there; who is dropped now.

        A trace that has ended is dropped too where the rule says so: it has no vote then.
        """
        for trace, found in confidences.items():
            before = self.means.get(trace)
            self.means[trace] = found if before is None else self.ema * before + (1 - self.ema) * found
        for trace in ended:
            self.lengths[trace] = tokens
        out = [] if self.rule is None else [i for i in self.rule(self, tokens) if i not in self.dropped]
        for trace in out:
            self.dropped.add(trace)
            self.lengths.setdefault(trace, tokens)
        return out

    @property
    def left(self) -> list[int]:
        """Those that are not dropped, the best first; of equals the earlier."""
        return sorted(set(range(self.traces)) - self.dropped, key=lambda i: (-self.mean(i), i))

    @property
    def over(self) -> bool:
        return len(self.lengths) == self.traces

    @property
    def tokens(self) -> int:
        """Sampled in all, once it is over."""
        return sum(self.lengths.values())

    def mean(self, trace: int) -> float:
        return self.means.get(trace, UNKNOWN)


@dataclass(kw_only=True)
class Halving:
    """At each milestone the lower half is dropped, until one trace is left."""

    milestones: list[int]
    passed: int = 0

    def __call__(self, race: Race, tokens: int) -> list[int]:
        reached = sum(tokens >= milestone for milestone in self.milestones)
        now, self.passed = reached - self.passed, max(self.passed, reached)
        left = race.left
        for _ in range(now):
            left = left[: -(-len(left) // 2)]
        return race.left[len(left) :]


@dataclass(kw_only=True)
class Threshold:
    """From `min_tokens` on a trace is dropped whose mean is below `below`; the best one always stays."""

    below: float
    min_tokens: int

    def __call__(self, race: Race, tokens: int) -> list[int]:
        if tokens < self.min_tokens:
            return []
        return [trace for trace in race.left[1:] if race.mean(trace) < self.below]


@dataclass(kw_only=True)
class Winner:
    """The first trace that has ended with a mean above `above` stops all others."""

    above: float

    def __call__(self, race: Race, tokens: int) -> list[int]:
        ended = [i for i in race.left if i in race.lengths and race.mean(i) > self.above]
        return [] if not ended else [i for i in race.left if i != ended[0]]


def default_milestones(traces: int, longest: int) -> list[int]:
    """One for each halving, the last at half of the longest response: L/8, L/4, L/2 for eight traces."""
    halvings = (traces - 1).bit_length()
    return [max(1, longest // 2**i) for i in range(halvings, 0, -1)]


def replayed(race: Race, traces: Sequence[Probes], lengths: Sequence[int]) -> Race:
    """The race as it would have gone with these traces, all of them recorded to their end."""
    seen = [dict(zip(each.tokens, each.confidences, strict=True)) for each in traces]
    events = sorted({n for each in seen for n in each} | set(lengths))
    for n in events:
        live = [i for i in range(race.traces) if i not in race.lengths]
        found = {i: seen[i][n] for i in live if n in seen[i]}
        ended = [i for i in live if lengths[i] == n]
        if found or ended:  # as the engine, which has no eyes for those that are dropped
            race.see(n, found, ended)
    return race
