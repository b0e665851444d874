"""The policy under DeepSpeed: scores tokens, makes optimizer updates, hands out weights.

Knows nothing of rewards or rollouts. What it shares with the critic is in `optimised.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlvr_cli.core import distributed
from rlvr_cli.engine.deepspeed_config import deepspeed_config
from rlvr_cli.engine.layers import LayerRule
from rlvr_cli.engine.logprobs import Scorer
from rlvr_cli.engine.model import load_sharded
from rlvr_cli.engine.optimised import Optimised, SpikeRule
from rlvr_cli.engine.pack import MicroBatch
from rlvr_cli.schema import Model
from rlvr_cli.schema import Trainer as Settings


class Trainer(Optimised):
    """One policy under DeepSpeed ZeRO, on every rank."""

    scores = ("logprob", "entropy")

    def __init__(
        self,
        model: Model,
        settings: Settings,
        *,
        tokens_per_microbatch: int,
        max_grad_norm: float,
        temperature: float = 1.0,
        entropy_gradient: bool = False,
        row_capacity: int | None = None,
        layer_rule: LayerRule | None = None,
        log_layers: bool = False,
        spikes: SpikeRule | None = None,
        seed: int = 0,
    ) -> None:
        """max_grad_norm is DeepSpeed's global clip (0: none); layer_rule and log_layers: `layers.py`; spikes:
        `localise.py`."""
        self.temperature = temperature
        self.entropy_gradient = entropy_gradient
        config = deepspeed_config(settings, max_grad_norm=max_grad_norm)
        torch.manual_seed(seed)  # LoRA's initial weights must not differ between ranks
        hf: Any = load_sharded(model, settings, config)
        scorer = Scorer(hf)
        self.vocabulary = scorer.vocabulary
        super().__init__(
            hf,
            scorer,
            settings,
            config,
            tokens_per_microbatch=tokens_per_microbatch,
            row_capacity=row_capacity,
            layer_rule=layer_rule,
            log_layers=log_layers,
            spikes=spikes,
        )

    def score(
        self, sequences: list[np.ndarray], trained: list[np.ndarray], *, temperature: float | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logprobs, entropies and greedy hits of all trained tokens, flat _N on the CPU of every rank."""
        return score_with(self, self.engine, sequences, trained, temperature=temperature)

    def forward(
        self, module: Any, micro: MicroBatch, temperature: float | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        device = distributed.device()
        return module(
            micro.input_ids.to(device),
            micro.position_ids.to(device),
            micro.predictors_n.to(device),
            micro.targets_n.to(device),
            self.temperature if temperature is None else temperature,
            self.entropy_gradient,
        )

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
) -> tuple[Tensor, Tensor, Tensor]:
    """Scores of all trained tokens under `module` (policy or reference), gathered on every rank."""

    def forward(module: Any, micro: MicroBatch) -> tuple[Tensor, Tensor, Tensor]:
        return trainer.forward(module, micro, temperature)

    logprobs_N, entropies_N, hits_N = trainer.collect(module, sequences, trained, forward)
    return logprobs_N, entropies_N, hits_N
