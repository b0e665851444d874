"""How often each problem of a source comes, by how often it is solved: what a sampler asks at its turn.

Within an epoch every problem has one turn, in the order that sources have anyway, and is taken with a chance
that follows from its pass rate. The coin is made of seed, source, epoch and place: no state, and the same on
every rank. What changes is what is known of the problems, where the run's own groups are counted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from rlvr_cli import schema
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Problem
from rlvr_cli.data.profiles import key_of
from rlvr_cli.schema import DifficultyWeight

UNKNOWN = 0.5
"""Pass rate that a problem counts with of which nothing is known."""
HARD, EASY = 1 / 3, 2 / 3
"""Pass rates below and above which a problem counts as hard and easy."""

Counts = Mapping[str, tuple[float, float]]
"""Problem's key -> (right samples, samples)"""


def weight(rate: float, settings: schema.Difficulty, group_size: int) -> float:
    """Of a problem that is solved with this probability; in [0, 1]."""
    base = {
        DifficultyWeight.uniform: 1.0,
        DifficultyWeight.variance: 4 * rate * (1 - rate),
        DifficultyWeight.signal: 1 - rate**group_size - (1 - rate) ** group_size,
        DifficultyWeight.hard: 1 - rate,
    }[settings.weight]
    return float(max(0.0, base) ** settings.power)


def within(rate: float, band: Sequence[float]) -> bool:
    """Whether a pass rate is in the band, ends included; an empty band has all."""
    return not band or band[0] <= rate <= band[1]


class Pace:
    """What is known of each problem of a source, and the chance of each to be taken at its turn.

    `problems` in their order, `known` what a profile has counted of them, `group_size` that of a step.
    """

    def __init__(
        self,
        name: str,
        settings: schema.Difficulty,
        problems: Sequence[Problem],
        known: Counts,
        *,
        seed: int,
        group_size: int,
    ) -> None:
        self.name, self.settings, self.seed, self.group_size = name, settings, seed, group_size
        self.keys = [key_of(problem) for problem in problems]
        self.rows = {problem.id: row for row, problem in enumerate(problems)}
        self.start = {key: self._start(known.get(key)) for key in self.keys}
        self.counts: dict[str, tuple[float, float]] = {}
        """Of the problems that this run has sampled, with what was known before in it."""
        described = json.dumps(
            [asdict(settings) | {"file": None}, group_size, sorted(self.start.items())], default=str
        )
        self.identity = hashlib.blake2b(described.encode(), digest_size=8).hexdigest()

    def _start(self, known: tuple[float, float] | None) -> tuple[float, float]:
        right, samples = known or (UNKNOWN, 1.0)
        scale = self.settings.prior / samples if self.settings.adapt else 1.0
        return right * scale, samples * scale

    def rate(self, row: int) -> float:
        """What the problem's pass rate is taken to be."""
        key = self.keys[row]
        right, samples = self.counts.get(key) or self.start[key]
        return right / samples

    def chance(self, row: int) -> float:
        """Of the problem to be taken at its turn; at least `floor`, at most 1."""
        rate = self.rate(row)
        # Without `adapt` nothing is outside: what was has been left out.
        inside = within(rate, self.settings.band) or not self.settings.adapt
        return max(self.settings.floor, weight(rate, self.settings, self.group_size) if inside else 0.0)

    def takes(self, epoch: int, row: int) -> bool:
        """Whether the problem is taken at its turn in this epoch."""
        chance = self.chance(row)
        return chance >= 1 or coin(f"{self.seed}/{self.name}/{epoch}/{row}") < chance

    def observe(self, problem: str, correct: Sequence[float]) -> None:
        """Count a group of the problem with this id: 1 right, 0 wrong; NaN, no verdict, is left out."""
        judged = [value for value in correct if value == value]
        if not self.settings.adapt or not judged:
            return
        key = self.keys[self.rows[problem]]
        right, samples = self.counts.get(key) or self.start[key]
        memory = self.settings.memory
        self.counts[key] = memory * right + sum(judged), memory * samples + len(judged)

    def state(self) -> dict[str, list[float]]:
        return {key: list(counts) for key, counts in self.counts.items()}

    def load(self, state: Mapping[str, Sequence[float]]) -> None:
        self.counts = {key: (right, samples) for key, (right, samples) in state.items()}

    def metrics(self) -> dict[str, float]:
        """Shares of hard, medium and easy problems, their mean pass rate, and how many come as if all came
        equally often: (sum of chances)^2 / sum of their squares."""
        rates = [self.rate(row) for row in range(len(self.keys))]
        chances = [self.chance(row) for row in range(len(self.keys))]
        count = len(rates)
        hard, easy = sum(rate < HARD for rate in rates), sum(rate > EASY for rate in rates)
        return {
            f"data/{self.name}/hard_fraction": hard / count,
            f"data/{self.name}/medium_fraction": (count - hard - easy) / count,
            f"data/{self.name}/easy_fraction": easy / count,
            f"data/{self.name}/pass_rate": sum(rates) / count,
            f"data/{self.name}/effective_problems": sum(chances) ** 2 / sum(c * c for c in chances),
        }


def coin(text: str) -> float:
    """A number in [0, 1) that follows from the text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "little") / 2**56


def choose(
    name: str, settings: schema.Difficulty, problems: Sequence[Problem], known: Counts | None
) -> tuple[list[Problem], str]:
    """The problems of a source that may come, and what is to be said of the others.

    `known` is what the profile has counted; None: there is no profile. UserError where it knows none of the
    problems, where nothing is left, and where `unprofiled: fail` meets a problem it does not know.
    """
    where = f"data.{name}.difficulty"
    if known is None:
        return list(problems), f"{name}: pass rates from this run's own groups"
    kept, unknown, outside = [], 0, 0
    for problem in problems:
        counts = known.get(key_of(problem))
        if counts is None:
            unknown += 1
            if settings.unprofiled is schema.Unprofiled.fail:
                raise UserError(
                    f"{where}: {settings.file} does not know problem {problem.id}, and unprofiled is fail; "
                    "profile it (`rlvr profile` adds what is missing), or set unprofiled to keep or drop"
                )
            if settings.unprofiled is schema.Unprofiled.drop:
                continue
        elif not settings.adapt and not within(counts[0] / counts[1], settings.band):
            outside += 1
            continue
        kept.append(problem)
    if unknown == len(problems):
        raise UserError(
            f"{where}: {settings.file} knows none of the {unknown} problems of data.{name}: it is of another "
            "data set; make one with `rlvr profile`"
        )
    if not kept:
        raise UserError(
            f"{where}: nothing is left of {len(problems)} problems: {outside} are outside of the band "
            f"{settings.band}, {unknown} are not in {settings.file}; widen the band"
        )
    said = f"{name}: {len(kept)} of {len(problems)} problems by difficulty"
    said += f", {outside} outside of the band {settings.band}" if outside else ""
    if unknown:
        what = "left out" if settings.unprofiled is schema.Unprofiled.drop else "kept as half solved"
        said += f", {unknown} not in {settings.file} ({what})"
    return kept, said
