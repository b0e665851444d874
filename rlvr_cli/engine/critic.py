"""The critic of PPO: a value for every position that predicts a response token."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rlvr_cli.core import distributed
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Batch
from rlvr_cli.engine.attention import Layout
from rlvr_cli.engine.deepspeed_config import deepspeed_config
from rlvr_cli.engine.interface import Objective
from rlvr_cli.engine.logprobs import hidden_states
from rlvr_cli.engine.model import Head, load_sharded, value_head
from rlvr_cli.engine.optimised import Optimised
from rlvr_cli.engine.pack import MicroBatch
from rlvr_cli.engine.sequence_parallel import cut
from rlvr_cli.schema import Critic as CriticSettings
from rlvr_cli.schema import Model, Schedule
from rlvr_cli.schema import Trainer as Settings


class ValueScorer(nn.Module):
    """The module DeepSpeed wraps: its forward returns the values at chosen positions, fp32 _n."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        base = model.get_base_model() if hasattr(model, "get_base_model") else model  # unwrap peft
        self._decoder = [base.base_model]  # in a list: not registered a second time
        self._head = [value_head(model)]

    def forward(
        self, input_ids: Tensor, position_ids: Tensor, layout: Layout | None, predictors_n: Tensor
    ) -> Tensor:
        """Values of n positions; of one placeholder where there are none (an empty share)."""
        hidden_nD = hidden_states(self._decoder[0], input_ids, position_ids, layout)
        # An empty share must still run the head: with ZeRO-3 its weights are gathered by all ranks.
        chosen_nD = hidden_nD[predictors_n] if len(predictors_n) else hidden_nD[:1]
        values_n: Tensor = self._head[0](chosen_nD)[:, 0].float()
        return values_n


class Valued(Optimised):
    """A model with one value per token in the place of logits."""

    def forward(self, module: Any, micro: MicroBatch) -> tuple[Tensor]:
        piece = cut(micro, self.ulysses)
        predictors_n = piece.micro.predictors_n.to(distributed.device())
        (values_n,) = piece.whole((module(*piece.micro.row(), predictors_n),))
        return (values_n,)


class Critic(Valued):
    """The value model under DeepSpeed ZeRO, on every rank; its optimizer is its own.

    V(s_t) is read at the position that predicts response token t. The head starts at 0 unless `model` is a
    value model already.
    """

    scores = ("value",)

    def __init__(
        self,
        model: Model,
        critic: CriticSettings,
        settings: Settings,
        *,
        tokens_per_microbatch: int,
        vocabulary: int,
        seed: int = 0,
    ) -> None:
        """`settings` are the policy's; ZeRO stage, precision, offload and Adam's constants are taken over.

        Raises UserError when the model's vocabulary is smaller than the policy's.
        """
        self.settings = critic_settings(critic, settings)
        config = deepspeed_config(self.settings, max_grad_norm=critic.max_grad_norm or 0.0)
        torch.manual_seed(seed)  # LoRA's initial weights must not differ between ranks
        hf: Any = load_sharded(model, self.settings, config, head=Head.values)
        found = hf.config.get_text_config().vocab_size
        if found < vocabulary:
            raise UserError(
                f"critic.path: '{model.path}' knows {found} tokens and the policy {vocabulary}; "
                "the critic must read the policy's tokens"
            )
        super().__init__(
            hf, ValueScorer(hf), self.settings, config, tokens_per_microbatch=tokens_per_microbatch
        )

    def values(
        self, sequences: list[np.ndarray], trained: list[np.ndarray], *, owners: list[int] | None = None
    ) -> Tensor:
        """Values of the states in which the trained tokens were chosen, flat _N on the CPU of every rank.

        `owners`: as in `Batch`.
        """
        (values_N,) = self.collect(self.engine, sequences, trained, owners=owners)
        return values_N

    def update(self, batch: Batch, objective: Objective, *, lr: float) -> dict[str, float]:
        """One update; every token of the batch's sequences counts the same, also those the policy skips."""
        tokens = len(batch.weights_N)
        return super().update(replace(batch, weights_N=torch.full((tokens,), 1.0 / tokens)), objective, lr=lr)


def critic_settings(critic: CriticSettings, policy: Settings) -> Settings:
    """The policy's trainer settings with the critic's own in their place."""
    return replace(
        policy,
        lr=critic.rate(policy),
        warmup_steps=critic.warmup_steps,
        schedule=Schedule.constant,
        min_lr=0.0,
        weight_decay=critic.weight_decay,
    )
