"""A run's parts without a model: engine, verifier and trainer answer by rule, the rest is real."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from f1 import algorithm

from rlvr_cli.core.types import Completion, Problem, Reason, Verdict
from rlvr_cli.data.sampler import Sampler
from rlvr_cli.engine.merge import Merge
from rlvr_cli.engine.shares import owners_of
from rlvr_cli.rollout import Request, Sampling
from rlvr_cli.rollout.engine import OnOneRank
from rlvr_cli.rollout.fingerprints import Receipt
from rlvr_cli.schema import Batch, Precision, Recipe, Rollout, Source, Trainer
from rlvr_cli.schema.stages import stages_of
from rlvr_cli.tracking import Timer
from rlvr_cli.tracking.null_tracker import NullTracker
from rlvr_cli.training.parts import Parts
from rlvr_cli.verifiers.user_code.case import Surroundings


class Counts(OnOneRank):
    """An engine whose s-th sample is the text s; keeps what it was asked, answers last first."""

    def __init__(self) -> None:
        self.asked: list[Request] = []

    def generate(self, requests: list[Request], sampling: Sampling) -> Iterator[tuple[int, list[Completion]]]:
        self.asked += requests
        for r in reversed(requests):
            yield r.key, [two_tokens(s) for s in range(r.samples)]

    def probe(self, tokens: list[int]) -> list[float]:
        return [-1.0] * (len(tokens) - 1)

    def load(self, weights: Any, version: int = 0) -> Receipt:
        return Receipt()

    def sleep(self) -> None: ...

    def wake(self) -> None: ...


def two_tokens(sample: int, *, finished: bool = True) -> Completion:
    return Completion(
        tokens=np.array([4 + sample, 1], np.int32),
        logprobs=np.array([-1.0, -1.0], np.float32),
        text=str(sample),
        finished=finished,
    )


class Even:
    """Verifiers for which an even number is right."""

    around = Surroundings()

    def submit_group(
        self, verifier: str, responses: list[str], answer: str, extra: dict[str, Any], group: Any = None
    ) -> list[Future[Verdict]]:
        futures: list[Future[Verdict]] = [Future() for _ in responses]
        for response, future in zip(responses, futures, strict=True):
            right = int(response) % 2 == 0
            future.set_result(Verdict(score=float(right), reason=Reason.correct if right else Reason.wrong))
        return futures


class Still:
    """A trainer that never moves: every logprob is -1. Keeps the learning rates it was given."""

    parameters, vocabulary, merge, routing = 10, 100, Merge(), None
    unbanned = staticmethod(nullcontext)

    def __init__(self) -> None:
        self.rates: list[float] = []

    def score(self, sequences: list[Any], trained: list[Any], **_: Any) -> tuple[torch.Tensor, ...]:
        scores_N = -torch.ones(sum(int(mask.sum()) for mask in trained))
        return scores_N, -scores_N, scores_N + 2

    def owners(self, updates: Any, lengths: list[int], prompts: list[bytes]) -> list[int]:
        return owners_of(updates, lengths, tokens_per_microbatch=64, prompts=prompts)

    def update(self, batch: Any, objective: Any, *, lr: float) -> dict[str, float]:
        self.rates.append(lr)
        return {"loss": 0.0, "entropy": 1.0, "grad_norm": 0.0}

    def weights(self) -> Iterator[Any]:
        return iter(())

    def take_hits(self) -> list[Any]:
        return []


def problem(n: int) -> Problem:
    return Problem(id=f"{n}", prompt=f"p{n}", tokens=[9, n], answer="", source="train", verifiers=["even"])


def recipe(**sections: Any) -> Recipe:
    """Four prompts a step, two samples of each."""
    return Recipe(
        **{
            "name": "small",
            "algorithm": algorithm(),
            "data": {"train": Source(path="here")},
            "verifiers": {"even": SimpleNamespace()},
            "batch": Batch(prompts_per_step=4, group_size=2),
            "rollout": Rollout(max_prompt_tokens=4, max_tokens=4),
            "trainer": Trainer(steps=9, precision=Precision.fp32),
            **sections,
        }
    )


def small_parts(of: Recipe, **given: Any) -> Parts:
    """The parts of a run of `of` over 20 problems; `given`: other parts than those of this file."""
    never = SimpleNamespace(asked=False, agreed=lambda: False, check=lambda: None)
    ready: dict[str, Any] = {
        "out": Path("nowhere"),
        "tokenizer": None,
        "trainer": Still(),
        "reference": None,
        "critic": None,
        "engine": Counts(),
        "pool": Even(),
        "sampler": Sampler({"train": [problem(n) for n in range(20)]}, {"train": 1.0}, seed=0),
        "sampling": Sampling.of(of.rollout, logprobs=True),
        "tracker": NullTracker(),
        "records": None,
        "checkpoints": SimpleNamespace(poll=lambda: None),
        "stop": never,
        "timer": Timer(),
        "needs_old": False,
        "verifier_weights": {"even": 1.0},
        "probe_tokens": [5, 6, 7],
        "watch": None,
    }
    stages = stages_of(of)
    return Parts(recipe=stages[0], stages=stages, **ready | given)
