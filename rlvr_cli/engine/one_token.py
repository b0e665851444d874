"""A one-token verifier under DeepSpeed: adapters, token and head are trained, the base is read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlvr_cli.core import distributed
from rlvr_cli.core.errors import UserError
from rlvr_cli.engine.deepspeed_config import deepspeed_config
from rlvr_cli.engine.model import AUTO, load_sharded
from rlvr_cli.engine.optimised import Optimised
from rlvr_cli.engine.pack import MicroBatch
from rlvr_cli.otv.verifier import OneTokenVerifier
from rlvr_cli.schema import OTV, Model, Precision
from rlvr_cli.schema import Trainer as Settings


class VerifierTrainer(Optimised):
    """Scores are logits of the confidence, one for each "trained" token: after the token before it."""

    scores = ("confidence",)

    def __init__(
        self, model: Model, settings: Settings, section: OTV, *, tokens_per_microbatch: int, seed: int = 0
    ) -> None:
        """UserError for a model whose cache cannot be read at any position."""
        config = deepspeed_config(settings, max_grad_norm=section.max_grad_norm)
        padded = replace(model, attention="sdpa") if model.attention == AUTO else model
        hf: Any = load_sharded(padded, settings, config).to(distributed.device())
        torch.manual_seed(seed)  # token and adapters must not differ between ranks
        self.verifier = OneTokenVerifier(hf, rank=section.rank, alpha=section.alpha)
        super().__init__(hf, self.verifier, settings, config, tokens_per_microbatch=tokens_per_microbatch)
        self._demand_equal()

    def forward(self, module: Any, micro: MicroBatch) -> tuple[Tensor]:
        ids_RL, positions_RL, _ = micro.row()
        places_n = micro.predictors_n.to(distributed.device())
        if not len(places_n):  # an empty share still runs: DeepSpeed counts every rank's backward pass
            places_n = places_n.new_zeros(1)
        return (module(ids_RL, positions_RL, places_n),)

    def confidence(self, sequences: list[np.ndarray], probed: list[np.ndarray]) -> Tensor:
        """Of all probes, flat _N in [0, 1] on the CPU of every rank; all ranks must call it."""
        (logits_N,) = self.collect(self.engine, sequences, probed)
        return logits_N.sigmoid()

    @torch.no_grad()
    def _demand_equal(self) -> None:
        """UserError where all probes in one pass say something else than one at a time, after its own tokens
        alone: the model looks at other tokens by another way than attention, or does not heed its mask."""
        device, verifier = distributed.device(), self.verifier
        ids_1L = torch.arange(1, 9, device=device)[None] % self.hf.config.get_text_config().vocab_size
        places_n = torch.tensor([2, 5], device=device)
        verifier.head.data += 0.01  # at 0 it says the same of everything
        together = verifier(ids_1L, torch.arange(8, device=device)[None], places_n).sigmoid()
        alone = [
            verifier.verify(verifier.read(ids_1L[:, : n + 1]), torch.ones_like(ids_1L[:, : n + 1]).bool())
            for n in places_n.tolist()
        ]
        verifier.head.data -= 0.01
        gap = float((together - torch.cat(alone)).abs().max())
        if not gap <= (1e-5 if self.settings.precision is Precision.fp32 else 0.05):
            raise UserError(
                f"one-token verification: with this model a probe's confidence changes by {gap:.1e} with "
                "what comes after it; it needs a model whose layers are softmax attention with a mask"
            )
