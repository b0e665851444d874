"""A reward model under training: a score for every sequence, read at its last token."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlvr_cli.core import distributed
from rlvr_cli.core.errors import UserError
from rlvr_cli.engine.critic import Valued, ValueScorer
from rlvr_cli.engine.deepspeed_config import deepspeed_config
from rlvr_cli.engine.model import Head, load_sharded
from rlvr_cli.schema import Model, Precision
from rlvr_cli.schema import Trainer as Settings


class RewardModel(Valued):
    """A sequence classifier with one output under DeepSpeed ZeRO, on every rank."""

    scores = ("score",)

    def __init__(
        self,
        model: Model,
        settings: Settings,
        *,
        tokens_per_microbatch: int,
        max_grad_norm: float,
        seed: int = 0,
    ) -> None:
        """max_grad_norm is DeepSpeed's global clip (0: none)."""
        config = deepspeed_config(settings, max_grad_norm=max_grad_norm)
        torch.manual_seed(seed)  # LoRA's initial weights and the head must not differ between ranks
        hf: Any = load_sharded(model, settings, config, head=Head.score)
        super().__init__(hf, ValueScorer(hf), settings, config, tokens_per_microbatch=tokens_per_microbatch)
        self._demand_apart(hf.config.get_text_config().vocab_size)

    def score(self, sequences: list[np.ndarray]) -> Tensor:
        """One score a sequence, [B] on the CPU of every rank; all ranks must call it."""
        (scores_B,) = self.collect(self.engine, *read_at_the_end(sequences))
        return scores_B

    def _demand_apart(self, vocabulary: int) -> None:
        """UserError where sequences of one row see each other, as in a model that is more than attention."""
        if self.padded:
            return
        rows = [np.arange(n, n + 8, dtype=np.int32) % vocabulary for n in range(2 * distributed.world_size())]
        alone = torch.cat([self.score([row]) for row in rows])
        gap = float((self.score(rows) - alone).abs().max())
        if not gap <= (1e-4 if self.settings.precision is Precision.fp32 else 0.1):
            raise UserError(
                f"model.attention: in this model a sequence sees others in its row (scores change by "
                f"{gap:.1e}); set model.attention=sdpa, which gives each a padded row of its own"
            )


def read_at_the_end(sequences: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(sequences, trained) such that the position that predicts the only trained token is the last one.

    Scores are read where a token is predicted, so each sequence gets one more, which nothing looks at.
    """
    longer = [np.append(sequence, sequence[-1]) for sequence in sequences]
    return longer, [np.arange(len(sequence)) == len(sequence) - 1 for sequence in longer]
