"""An engine that goes token by token as told, for what runs ahead of the training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from small_parts import Counts, recipe, small_parts

from rlvr_cli.core.types import Completion
from rlvr_cli.rollout import Request, Sampling
from rlvr_cli.rollout.engine import never
from rlvr_cli.rollout.fingerprints import Receipt
from rlvr_cli.schema import Rollout
from rlvr_cli.tracking.null_tracker import NullTracker
from rlvr_cli.training.ahead import Ahead
from rlvr_cli.training.parts import Parts


class Ticking(Counts):
    """One token of every unfinished sample a step; `length(number of the problem)` of them."""

    beside = True

    def __init__(self, length: Callable[[int], int], step: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.length, self.step = length, step
        self.version = self.steps = 0

    def text(self, tokens: list[int]) -> str:
        return str(tokens[0] - 4)

    def load(self, weights: Any, version: int = 0) -> Receipt:
        self.version = version
        return Receipt()

    def generate(
        self, requests: list[Request], sampling: Sampling, enough: Callable[[], bool] = never
    ) -> Iterator[tuple[int, list[Completion]]]:
        self.asked += requests
        samples = {r.key: list(r.begun) or [grown(None, 0, s) for s in range(r.samples)] for r in requests}
        waiting = {r.key: self.length(r.tokens[-1]) for r in requests}
        while True:
            for key in [key for key, length in waiting.items() if len(samples[key][0].tokens) >= length]:
                del waiting[key]
                yield key, [ended(c) for c in samples[key]]
            if not waiting or enough():
                break
            self.steps += 1
            self.step()
            for key in waiting:
                samples[key] = [grown(c, self.version, s) for s, c in enumerate(samples[key])]
        for key in waiting:
            yield key, samples[key]


def grown(before: Completion | None, version: int, sample: int) -> Completion:
    """With a token more; None: nothing of it yet."""
    length = 0 if before is None else len(before.tokens) + 1
    versions = [] if before is None else [*before.versions, version]
    return Completion(
        tokens=np.full(length, 4 + sample, np.int32),
        logprobs=np.full(length, -1.0, np.float32),
        versions=np.array(versions, np.int32),
        text="",
        finished=False,
        partial=True,
    )


def ended(c: Completion) -> Completion:
    return Completion(
        tokens=c.tokens,
        logprobs=c.logprobs,
        versions=c.versions,
        text=str(c.tokens[0] - 4),
        finished=True,
    )


class Heard(NullTracker):
    """Keeps the events and the metrics of the steps."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[str, str, dict[str, Any]]] = []
        self.rows: list[dict[str, float]] = []

    def event(self, kind: str, message: str, **fields: Any) -> None:
        self.events.append((kind, message, fields))

    def step(self, step: int, row: dict[str, float], *more: Any) -> None:
        self.rows.append(row)


def parts_ahead(engine: Ticking, staleness: int, **sections: Any) -> Parts:
    """The parts of a run that samples ahead; `sections`: of the recipe, or further keys of `rollout`."""
    keys = {k: sections.pop(k) for k in list(sections) if k in Rollout.__dataclass_fields__}
    rollout = Rollout(max_prompt_tokens=4, max_tokens=99, max_staleness=staleness, **keys)
    of = recipe(rollout=rollout, **sections)
    tracker = Heard()
    return small_parts(of, engine=engine, tracker=tracker, ahead=Ahead(of.rollout, engine, tracker))
