"""A run whose engine, verifiers and model answer from recorded sizes; all between them is real.

Lengths, scores and what is truncated come from the rollout records of a run, or are drawn. Token ids are
drawn from a large vocabulary, because small numbers would travel in fewer bytes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import torch
from transformers import PretrainedConfig

from rlvr_cli.core import distributed
from rlvr_cli.core.types import Batch, Completion, Elsewhere, Group, Problem, Reason, Verdict
from rlvr_cli.data.sampler import Sampler
from rlvr_cli.engine.attention import PACKED
from rlvr_cli.engine.merge import Merge
from rlvr_cli.engine.metric_sums import MetricSums
from rlvr_cli.engine.optimised import Optimised
from rlvr_cli.engine.pack import Bundle, MicroBatch, select
from rlvr_cli.engine.ulysses import Ulysses
from rlvr_cli.rollout import Request, Sampling
from rlvr_cli.rollout.engine import never
from rlvr_cli.rollout.fingerprints import Receipt
from rlvr_cli.schema import Recipe
from rlvr_cli.schema.derived import needs_old_logprobs
from rlvr_cli.schema.stages import stages_of
from rlvr_cli.tracking import Timer, read_records
from rlvr_cli.tracking.null_tracker import NullTracker
from rlvr_cli.training.parts import Parts
from rlvr_cli.training.stop import Stop
from rlvr_cli.verifiers.user_code.case import Surroundings

VOCABULARY = 152_000
CHARACTERS = 4
"""Of text for each token."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of one group."""

    prompt: int
    """Tokens."""
    samples: tuple[tuple[int, bool, float], ...]
    """Tokens of each response, whether it ended by itself, its score."""


def recorded(run: Path, longer: float = 1.0, prompt: int = 200) -> list[Sizes]:
    """Groups of the rollout records of a run, every length times `longer`.

    `prompt`: tokens of a prompt where the records have no token ids (`tracker.tokens` was off).
    """
    rows = sorted(read_records(run), key=lambda row: (row["step"], row["index"], row["sample"]))
    found = []
    for _, group in groupby(rows, key=lambda row: (row["step"], row["index"])):
        samples = list(group)
        tokens = len(samples[0].get("prompt_tokens", [])) or prompt
        found.append(
            Sizes(
                max(1, round(longer * tokens)),
                tuple(
                    (max(1, round(longer * row["length"])), row["finished"], row["score"]) for row in samples
                ),
            )
        )
    return found


def drawn(groups: int, size: int, *, median: float, most: int, seed: int = 0) -> list[Sizes]:
    """Lognormal lengths with sigma 1, up to `most`: the longest of a few thousand are 30 times the median."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(np.exp(rng.normal(np.log(median), 1.0, (groups, size))).astype(int), 1, most)
    right = rng.random((groups, size)) < rng.random((groups, 1))
    prompts = rng.integers(50, 400, groups)
    return [
        Sizes(int(p), tuple((int(n), bool(n < most), float(r)) for n, r in zip(row, good, strict=True)))
        for p, row, good in zip(prompts, lengths, right, strict=True)
    ]


class Replay:
    """An engine whose samples have the sizes of the request's group; `size` ranks have one together."""

    beside = False

    def __init__(self, sizes: Sequence[Sizes], size: int) -> None:
        self.sizes, self.size = sizes, size
        self.samples = self.tokens = 0
        """Sampled by this rank's engine in all."""

    @property
    def share(self) -> tuple[int, int]:
        return distributed.rank() // self.size, distributed.world_size() // self.size

    @property
    def leader(self) -> bool:
        return distributed.rank() % self.size == 0

    def agreed(self, answer: bool) -> bool:
        return answer  # nobody asks for a stop

    def generate(
        self, requests: list[Request], sampling: Sampling, enough: Any = never
    ) -> Iterator[tuple[int, list[Completion]]]:
        rng = np.random.default_rng(distributed.rank())
        for request in requests:
            samples = self.sizes[request.tokens[0]].samples
            self.samples += request.samples
            self.tokens += sum(length for length, _, _ in samples[: request.samples])
            yield (
                request.key,
                [
                    Completion(
                        tokens=rng.integers(0, VOCABULARY, length, np.int32),
                        logprobs=-rng.random(length, np.float32),
                        text="x" * (CHARACTERS * length) if self.leader else "",
                        finished=finished,
                    )
                    for length, finished, _ in samples[: request.samples]
                ],
            )

    def probe(self, tokens: list[int]) -> list[float]:
        return [-1.0] * (len(tokens) - 1)

    def load(self, weights: Any, version: int = 0) -> Receipt:
        return Receipt()

    def sleep(self) -> None: ...

    def wake(self) -> None: ...


class Verdicts:
    """The verdicts of the records."""

    around = Surroundings()

    def __init__(self, sizes: Sequence[Sizes]) -> None:
        self.sizes = sizes

    def submit_group(
        self, verifier: str, responses: list[str], answer: Any, extra: dict[str, Any], group: Group
    ) -> list[Future[Verdict]]:
        futures: list[Future[Verdict]] = [Future() for _ in responses]
        for future, (_, _, score) in zip(futures, self.sizes[group.problem.tokens[0]].samples, strict=False):
            future.set_result(Verdict(score=score, reason=Reason.correct if score >= 1 else Reason.wrong))
        return futures

    def notice(self) -> None:
        return None


class NoModel(Optimised):
    """A trainer that computes nothing: every score is -1. Dealing, packing and sums are the real ones."""

    scores: ClassVar[tuple[str, ...]] = ("logprobs", "entropies")
    parameters, vocabulary = 1, VOCABULARY
    routing, unbanned = None, staticmethod(nullcontext)

    def __init__(self, recipe: Recipe) -> None:
        self.hf: Any = SimpleNamespace(config=PretrainedConfig(attn_implementation=PACKED))
        self.settings, self.padded, self.merge = recipe.trainer, False, Merge()
        self.tokens_per_microbatch = recipe.batch.tokens_per_microbatch
        size = recipe.trainer.sequence_parallel
        self.ulysses = Ulysses(size, distributed.rank() % size)
        self.cut: list[list[Bundle]] = []
        self.shares: list[list[list[Bundle]]] = []
        """Of each update, this rank's micro-batches."""
        self.held: list[int] = []
        """Of each update, the tokens this rank has: whole sequences."""
        self.dealt = {"samples": 0, "responses": 0}
        """Samples of the newest step that were dealt to ranks, and the tokens of their responses."""

    def forward(self, module: Any, micro: MicroBatch) -> tuple[torch.Tensor, ...]:
        return (-torch.ones(len(micro.targets_n)),) * 3

    def score(self, sequences: Any, trained: Any, *, owners: Any = None, **_: Any) -> tuple[Any, ...]:
        return self.collect(SimpleNamespace(eval=lambda: None), sequences, trained, owners=owners)

    def owners(self, updates: Any, lengths: Sequence[int], prompts: Sequence[bytes]) -> list[int]:
        before = sum(len(prompt) // 4 for prompt in prompts)
        self.dealt = {"samples": len(lengths), "responses": sum(lengths) - before}
        return super().owners(updates, lengths, prompts)

    def share(self, *args: Any, **given: Any) -> list[list[Bundle]]:
        self.cut = super().share(*args, **given)
        return self.cut

    def update(self, batch: Batch, objective: Any, *, lr: float) -> dict[str, float]:
        for micro in self.micro_batches(batch.sequences, batch.trained, batch.owners):
            if len(micro.tokens_n):
                select(batch, micro)
        self.shares.append(self.cut)
        self.held.append(sum(len(s) for s in batch.sequences if not isinstance(s, Elsewhere)))
        return MetricSums().reduced() | {"entropy": 1.0, "grad_norm": 0.0}

    def weights(self) -> Iterator[Any]:
        return iter(())

    def take_hits(self) -> list[Any]:
        return []


def problems(sizes: Sequence[Sizes]) -> list[Problem]:
    """The first token of each says which sizes are its samples'."""
    rng = np.random.default_rng(0)
    return [
        Problem(
            id=f"{n}",
            prompt="x" * (CHARACTERS * each.prompt),
            tokens=[n, *rng.integers(0, VOCABULARY, each.prompt - 1).tolist()],
            answer="",
            source="train",
            verifiers=["replayed"],
        )
        for n, each in enumerate(sizes)
    ]


def replayed(recipe: Recipe, sizes: Sequence[Sizes]) -> Parts:
    """The parts of a run of `recipe`; the timer charges CPU seconds of this process to its phases."""
    stages = stages_of(recipe)
    for stage in stages:
        stage.algorithm.shaping.resolve(stage.rollout.max_tokens)
    model: Any = NoModel(recipe)
    given: dict[str, Any] = {
        "engine": Replay(sizes, recipe.rollout.tensor_parallel),
        "pool": Verdicts(sizes),
        "checkpoints": SimpleNamespace(poll=lambda: None),
    }
    return Parts(
        recipe=stages[0],
        stages=stages,
        out=Path(),
        tokenizer=None,
        trainer=model,
        reference=None,
        critic=None,
        sampler=Sampler({"train": problems(sizes)}, {"train": 1.0}, recipe.seed),
        sampling=Sampling.of(recipe.rollout, logprobs=True),
        tracker=NullTracker(),
        records=None,
        stop=Stop(),
        timer=Timer(clock=time.process_time),
        needs_old=needs_old_logprobs(recipe),
        verifier_weights={"replayed": 1.0},
        probe_tokens=[5, 6, 7],
        watch=None,
        **given,
    )
