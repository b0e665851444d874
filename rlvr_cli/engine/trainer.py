"""The policy under DeepSpeed: scores tokens, makes optimizer updates, hands out weights.

Knows nothing of rewards or rollouts. What it shares with the critic is in `optimised.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlvr_cli.core import distributed
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Batch
from rlvr_cli.engine.adapters import adapters_of
from rlvr_cli.engine.asleep import awake
from rlvr_cli.engine.deepspeed_config import deepspeed_config
from rlvr_cli.engine.interface import Objective, SpikeRule
from rlvr_cli.engine.layers import LayerRule
from rlvr_cli.engine.logprobs import Compare, Scorer
from rlvr_cli.engine.merge import Merge
from rlvr_cli.engine.model import load_sharded
from rlvr_cli.engine.optimised import Optimised
from rlvr_cli.engine.pack import MicroBatch, alone, collate
from rlvr_cli.engine.routing_replay import Replay, replay_for
from rlvr_cli.engine.sequence_parallel import cut
from rlvr_cli.engine.ulysses import ALONE
from rlvr_cli.schema import Model, Precision, RoutingReplay, Vision
from rlvr_cli.schema import Trainer as Settings
from rlvr_cli.vision.processor import Processor, load_processor
from rlvr_cli.vision.shown import Shown, blank, show


class Trainer(Optimised):
    """One policy under DeepSpeed ZeRO, on every rank."""

    scores = ("logprob", "entropy", "greedy hit", "divergence from the teacher", "teacher's logprob")
    beside: Callable[[Tensor], Compare] | None = None
    """During updates with a teacher: index of tokens in the update -> what their logits are compared with."""
    processor: Processor | None = None
    """Of a model that sees."""
    routing: Replay | None = None
    """Of a mixture of experts that is told what to choose."""

    def __init__(
        self,
        model: Model,
        settings: Settings,
        *,
        tokens_per_microbatch: int,
        max_grad_norm: float,
        temperature: float = 1.0,
        entropy_gradient: bool = False,
        layer_rule: LayerRule | None = None,
        log_layers: bool = False,
        spikes: SpikeRule | None = None,
        seed: int = 0,
        routing: RoutingReplay = RoutingReplay.none,
    ) -> None:
        """max_grad_norm is DeepSpeed's global clip (0: none); layer_rule and log_layers: `layers.py`; spikes:
        `localise.py`."""
        self.temperature = temperature
        self.entropy_gradient = entropy_gradient
        config = deepspeed_config(settings, max_grad_norm=max_grad_norm)
        torch.manual_seed(seed)  # LoRA's initial weights must not differ between ranks
        hf: Any = load_sharded(model, settings, config)
        self.routing = replay_for(hf, routing)
        self.processor = load_processor(model, hf.config)
        self.banned = self.processor.banned if self.processor is not None else ()
        scorer = Scorer(hf, fp32_head=model.fp32_head, banned=self.banned)
        # Where a rank's tower takes part in what all ranks do together, it must run whatever the rank shows.
        self.looks_always = settings.zero_stage == 3 or model.vision is Vision.train
        self.vocabulary = scorer.vocabulary
        super().__init__(
            hf,
            scorer,
            settings,
            config,
            tokens_per_microbatch=tokens_per_microbatch,
            layer_rule=layer_rule,
            log_layers=log_layers,
            spikes=spikes,
            mask=model.mask,
        )
        self.demand_apart()

    def score(
        self,
        sequences: list[np.ndarray],
        trained: list[np.ndarray],
        *,
        temperature: float | None = None,
        owners: list[int] | None = None,
        routes: list[np.ndarray] | None = None,
        records: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logprobs, entropies and greedy hits of all trained tokens, flat _N on the CPU of every rank.

        `owners`: as in `Batch`. `routes`: what a mixture of experts follows; `records`: what it chooses is
        recorded in `routing`.
        """
        with self._following(routes, records=records):
            return score_with(self, self.engine, sequences, trained, temperature=temperature, owners=owners)

    def update(self, batch: Batch, objective: Objective, *, lr: float) -> dict[str, float]:
        with self._following(batch.routes):
            return super().update(batch, objective, lr=lr)

    def _following(
        self, routes: list[np.ndarray] | None, *, records: bool = False
    ) -> AbstractContextManager[None]:
        return nullcontext() if self.routing is None else self.routing.of(routes, records=records)

    def micro_batches(
        self, sequences: list[np.ndarray], trained: list[np.ndarray], owners: list[int] | None = None
    ) -> list[MicroBatch]:
        """As of any model; the images of what comes first are begun with."""
        found = super().micro_batches(sequences, trained, owners)
        if self.processor is not None:
            self.processor.coming(micro.input_ids.flatten().numpy() for micro in found)
        return found

    def forward(self, module: Any, micro: MicroBatch, temperature: float | None = None) -> tuple[Tensor, ...]:
        device, piece = distributed.device(), cut(micro, self.ulysses)
        told: dict[str, Any] = {} if self.beside is None else {"compare": self.beside(piece.micro.tokens_n)}
        targets = None if self.routing is None else self.routing.targets(micro)
        if targets is not None:
            told["routes"] = targets
        seen, shown = self.seen(piece.micro)
        scores = module(
            *seen.row(),
            seen.predictors_n.to(device),
            seen.targets_n.to(device),
            self.temperature if temperature is None else temperature,
            self.entropy_gradient,
            **told,
            **shown,
        )
        if self.routing is not None and targets is not None:
            self.routing.close(targets, micro)
        return piece.whole(scores)

    def states(self, module: Any, micro: MicroBatch) -> Tensor:
        """Hidden states that predict the micro-batch's trained tokens, under `module`: [n, D]."""
        device = distributed.device()
        micro, shown = self.seen(micro)
        predictors_n, targets_n = micro.predictors_n.to(device), micro.targets_n.to(device)
        hidden_nD: Tensor = module(*micro.row(), predictors_n, targets_n, 1.0, states=True, **shown)[0]
        return hidden_nD[: len(predictors_n)]

    def seen(self, micro: MicroBatch) -> tuple[MicroBatch, dict[str, Shown]]:
        """The micro-batch with the model's own tokens and positions, and its images by `Scorer`'s name.

        Itself, and nothing, for a model that reads text alone.
        """
        if self.processor is None:
            return micro, {}
        ids, positions, shown = show(micro.input_ids, micro.position_ids, self.processor)
        if shown is None and self.looks_always:
            shown = blank(self.processor)
        targets_n = micro.targets_n.where(micro.targets_n >= 0, self.processor.pad)
        own = replace(micro, input_ids=ids, position_ids=positions, targets_n=targets_n)
        return own, {} if shown is None else {"shown": shown.to(distributed.device())}

    @contextmanager
    def unbanned(self) -> Iterator[None]:
        """Scores are of all tokens meanwhile, as an engine scores a prompt: no token is kept from being
        sampled."""
        head = self.engine.module.head
        banned, head.banned = head.banned, []
        try:
            yield
        finally:
            head.banned = banned

    @awake
    def demand_apart(self) -> None:
        """UserError where sequences of one row see each other, as in a model that is more than attention.

        And where a row that is cut over ranks gives other scores than a whole one. All ranks must call it.
        """
        if self.padded:
            return
        allowed = 1e-5 if self.settings.precision is Precision.fp32 else 0.05
        after = np.arange(1, 9, dtype=np.int32) % self.vocabulary
        found = [self._after(before, after) for before in (after, after[::-1].copy())]
        gap = float((found[0] - found[1]).abs().max())
        if not gap <= allowed:
            raise UserError(
                f"model.attention: in this model a sequence sees the one before it in its row (logprobs "
                f"change by {gap:.1e}); set model.attention=sdpa, which gives each a padded row of its own"
            )
        gap = self._cut_gap(after)
        if not gap <= allowed:
            raise UserError(
                f"trainer.sequence_parallel: in this model more than attention looks at other tokens "
                f"(logprobs change by {gap:.1e} where a row is cut); set trainer.sequence_parallel=1"
            )

    def _cut_gap(self, after: np.ndarray) -> float:
        """Largest difference of logprobs in a row that is cut, also within a sequence, to a whole one's."""
        shared, before = self.ulysses, after[:5]
        if shared.size == 1:
            return 0.0
        cut_n = self._after(before, after)
        self.ulysses = ALONE
        try:
            return float((cut_n - self._after(before, after)).abs().max())
        finally:
            self.ulysses = shared

    def _after(self, before: np.ndarray, sequence: np.ndarray) -> Tensor:
        """Logprobs of a sequence that lies after another in one row."""
        both, trained = [before, sequence], [np.zeros(len(before), bool), np.arange(len(sequence)) > 0]
        self.engine.eval()
        with torch.no_grad():
            micro = collate(alone(both, [0, 1]), both, trained, np.zeros(2, np.int64))
            return self.forward(self.engine, micro, 1.0)[0].cpu()

    @awake
    def adapters(self) -> Iterator[tuple[str, Tensor]]:
        """`adapters.adapters_of`: read them before the next update, never write. All ranks in step."""
        self.merge = Merge()  # nothing is merged
        return adapters_of(self.hf, sharded=self.settings.zero_stage == 3)

    def reset_optimizer(self) -> None:
        """Forget Adam's moments and step counts (ProRL's reference reset)."""
        inner = getattr(self.engine.optimizer, "optimizer", self.engine.optimizer)
        for state in inner.state.values():
            for value in state.values():
                if isinstance(value, Tensor):
                    value.zero_()


def score_with(
    trainer: Trainer,
    module: Any,
    sequences: list[np.ndarray],
    trained: list[np.ndarray],
    *,
    temperature: float | None = None,
    owners: list[int] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Scores of all trained tokens under `module` (policy or reference), gathered on every rank."""

    def forward(module: Any, micro: MicroBatch) -> tuple[Tensor, ...]:
        return trainer.forward(module, micro, temperature)

    logprobs_N, entropies_N, hits_N = trainer.collect(module, sequences, trained, forward, owners)
    return logprobs_N, entropies_N, hits_N
