"""Gradients of segments of an update, to find the tokens that make it large or not finite.

A probe differentiates a segment's part of the loss with autograd alone: nothing reaches DeepSpeed's buffers,
so the gradient that waits there for the optimizer step stays as it is. It needs memory for one whole
gradient. Each rank probes its own micro-batches, before anything is averaged over ranks; ranks that share
theirs make the same search and add up what each has. Under ZeRO-3 all must take part in every forward and
backward, so a rank that has finished runs empty ones with the others.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from rlvr_cli.core import distributed
from rlvr_cli.core.heartbeat import heart
from rlvr_cli.core.types import Batch
from rlvr_cli.engine.gradient_search import LARGEST, Found, Segment, culprits, threshold
from rlvr_cli.engine.interface import Objective, ScoringModel
from rlvr_cli.engine.layers import group_of
from rlvr_cli.engine.metric_sums import OF_KNOWN, OF_MANY
from rlvr_cli.engine.pack import alone, collate, select

T = TypeVar("T")
Row = dict[str, Any]
"""What is known of a token or segment: see `Probes.row`."""


def localise(
    model: ScoringModel, batch: Batch, objective: Objective, *, spike: float | None, budget: int
) -> list[Row]:
    """The tokens behind a large gradient, or with spike None one that is not finite; largest first.

    spike: scale of the gradient of an ordinary token (`gradient_search.threshold`). Where no single token is
    responsible the row is of the smallest segment found. All ranks must call it and get the same.
    """
    notes = None if batch.notes is None else batch.notes.clone()
    probes = Probes(model, batch, objective)

    def limit(segment: Segment) -> float:
        return LARGEST if spike is None else threshold(spike, probes.tokens(segment))

    mine = culprits(probes.micro_batches, probes.counts, limit, budget)
    rows = [probes.row(found) for found in probes.run(mine) or [] if model.ulysses.leads]
    if notes is not None:
        batch.notes = notes  # the update's own, not those of a probe
    every = [row for share in distributed.gather(rows) for row in share]
    return sorted(every, key=lambda row: -row["norm"] if math.isfinite(row["norm"]) else -math.inf)


class Probes:
    """Norms of mean gradients of segments: |sum_t w_t grad loss_t| / sum_t w_t over the segment's tokens."""

    def __init__(self, model: ScoringModel, batch: Batch, objective: Objective) -> None:
        self.model, self.batch, self.objective = model, batch, objective
        self.counts = batch.lengths_B
        self.starts = np.concatenate([[0], np.cumsum(self.counts)[:-1]]).astype(np.int64)
        share = model.share(batch.sequences, batch.trained, batch.owners)
        self.micro_batches = [[b for bundle in bundles for b in bundle.members] for bundles in share]
        named = model.engine.module.named_parameters()
        self.parameters = {name: p for name, p in named if p.requires_grad}
        self.facts: dict[Segment, Row] = {}

    def run(self, search: Generator[Segment, float, T]) -> T | None:
        """What this rank's search finds, in step with those of the other ranks."""
        result: T | None = None
        wanted: Segment | None = None
        module = self.model.engine.module
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices=devices):  # dropout draws from it
            module.train()
            norm: float | None = None
            while True:
                try:
                    wanted = None if result is not None else search.send(norm)  # type: ignore[arg-type]
                except StopIteration as end:
                    result, wanted = end.value, None
                if not float(distributed.max_over_ranks(torch.tensor([float(wanted is not None)]))):
                    return result
                norm = self.norm(wanted)

    def tokens(self, segment: Segment) -> float:
        """How many tokens the mean is over: (sum w)^2 / sum w^2, their number where all weigh the same."""
        weights = self._weights(segment).double()
        squares = float(weights.square().sum())
        return float(weights.sum()) ** 2 / squares if squares else 0.0

    def norm(self, segment: Segment | None) -> float:
        """Of the segment's mean gradient; None: take part in the other ranks' probes."""
        heart.beat()
        chosen = () if segment is None else segment.sequences
        sequences = self.batch.sequences
        micro = collate(
            alone(sequences, chosen), sequences, self.batch.trained, self.starts, padded=self.model.padded
        )
        scores = self.model.forward(self.model.engine.module, micro)
        if segment is None:
            self._gradients(scores[0].sum() * 0.0)
            return 0.0
        at = select(self.batch, micro)
        for name in ("weights", "teacher_weights"):
            if (whole := at.get(name)) is not None:
                at[name] = torch.zeros_like(whole)
                at[name][segment.first : segment.last] = whole[segment.first : segment.last]
        loss, metrics = self.objective(*scores, at)
        total = float(self._weights(segment).double().abs().sum())
        squares: dict[str, float] = {}
        for name, gradient in zip(self.parameters, self._gradients(loss), strict=True):
            if gradient is not None:
                gradient = self.model.masks.of_gradient(self.parameters[name], gradient)
                size = float(torch.linalg.vector_norm(gradient, dtype=torch.float32))
                squares[group_of(name)] = squares.get(group_of(name), 0.0) + size * size
        if segment.last - segment.first == 1:
            self.facts[segment] = self._facts(segment, micro.targets_n, scores, at, metrics) | {
                "layers": {group: math.sqrt(x) / max(total, 1e-45) for group, x in squares.items()}
            }
        return math.sqrt(sum(squares.values())) / total if total else 0.0

    def row(self, found: Found) -> Row:
        """Place in the batch (of a token also its facts), norm, limit and tokens of what was found."""
        segment = found.segment
        row: Row = {"sequences": list(segment.sequences), "tokens": segment.last - segment.first}
        row |= {"norm": found.norm, "limit": found.limit}
        return row | self.facts.get(segment, {})

    def _weights(self, segment: Segment) -> Tensor:
        spans = [torch.arange(self.starts[b], self.starts[b] + self.counts[b]) for b in segment.sequences]
        return self.batch.weights_N[torch.cat(spans)[segment.first : segment.last]]

    def _gradients(self, loss: Tensor) -> tuple[Tensor | None, ...]:
        parameters = tuple(self.parameters.values())
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        if self.model.settings.zero_stage == 3:  # what DeepSpeed does itself after a backward of its own
            self.model.engine.optimizer.parameter_offload.release_backward_leftovers()
        if self.model.ulysses.size == 1:
            return gradients
        return tuple(self._whole(p, part) for p, part in zip(parameters, gradients, strict=True))

    def _whole(self, parameter: Any, part: Tensor | None) -> Tensor:
        """A gradient of which each rank that shares the micro-batch has the part of its own tokens."""
        if part is None:
            shape = getattr(parameter, "ds_shape", parameter.shape)
            part = torch.zeros(shape, dtype=parameter.dtype, device=distributed.device())
        return self.model.ulysses.summed(part)

    def _facts(
        self,
        segment: Segment,
        targets_n: Tensor,
        scores: tuple[Tensor, ...],
        at: dict[str, Tensor],
        metrics: dict[str, Tensor],
    ) -> Row:
        place = segment.first
        names = ("rollout_logprobs", "old_logprobs", "ref_logprobs", "advantages", "values", "returns")
        known = {name.removesuffix("s"): float(at[name][place]) for name in names if name in at}
        own = {name: value_n for name, value_n in metrics.items() if name not in OF_MANY}
        measured = {name: float(value_n.detach()[place]) for name, value_n in own.items()}
        measured = {n: x for n, x in measured.items() if n not in OF_KNOWN or not math.isnan(x)}
        scored = zip(self.model.scores, scores, strict=False)
        return {
            "position": place,
            "token": int(targets_n[place]),
            "length": self.counts[segment.sequences[0]],
            **{name: float(score_n.detach()[place]) for name, score_n in scored},
            **known,
            **measured,
        }
