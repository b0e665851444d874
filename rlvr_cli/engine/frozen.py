"""A causal language model that only scores, beside the policy: what reference and teacher share."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import deepspeed
import numpy as np
import torch
from torch import Tensor

from rlvr_cli.core import distributed, tensor_files
from rlvr_cli.engine.asleep import Asleep, Sleeper, awake, state_of
from rlvr_cli.engine.deepspeed_config import deepspeed_config
from rlvr_cli.engine.logprobs import Scorer
from rlvr_cli.engine.model import load_sharded
from rlvr_cli.engine.trainer import Trainer, score_with
from rlvr_cli.schema import Lora, Model, Offload


class Frozen(Sleeper):
    """A copy of `model` in the policy's precision and ZeRO stage, without adapters, or none yet (module
    None).

    Where there is none, the policy's own weights without their adapters score in its place.
    """

    def __init__(self, model: Model, trainer: Trainer, *, load: bool) -> None:
        self.trainer = trainer
        self.model = copy.deepcopy(model)
        self.model.lora = Lora()
        self.module: Any = self._load() if load else None

    def sleep(self) -> None:
        """Give the device memory of its weights back; whatever needs them wakes it."""
        if not self.asleep and self.module is not None:
            self._asleep = Asleep(state_of(self.module))

    @awake
    def logprobs(
        self, sequences: list[np.ndarray], trained: list[np.ndarray], *, owners: list[int] | None = None
    ) -> Tensor:
        """Flat _N logprobs of the trained tokens, on the CPU of every rank. `owners`: as in `Batch`."""
        if self.module is not None:
            return score_with(self.trainer, self.module, sequences, trained, owners=owners)[0]
        with self.trainer.hf.disable_adapter():
            return score_with(self.trainer, self.trainer.engine, sequences, trained, owners=owners)[0]

    @awake
    def copies(self) -> dict[str, Tensor]:
        """Copies of its weights, on rank 0. All ranks must call it."""
        state = {}
        for name, parameter in self.scorer.model.named_parameters():
            with self.gathered([parameter]):
                if distributed.rank() == 0:
                    state[name] = parameter.detach().to("cpu", copy=True)
        return state

    def load(self, file: Path) -> None:
        """Become what copies of weights were written to. All ranks must call it."""
        self.become(tensor_files.read(file, mmap=True).items())

    @awake
    def become(self, weights: Iterable[tuple[str, Tensor]], *, first: bool = False) -> None:
        """Take other weights. All ranks in step. `first`: rank 0 alone has the right ones."""
        if self.module is None:
            self.module = self._load()
        own = dict(self.scorer.model.named_parameters())
        for name, weight in weights:
            with self.gathered([own[name]], modifier_rank=0), torch.no_grad():
                if not self.sharded or distributed.rank() == 0:
                    own[name].copy_(weight)
                if first and not self.sharded and distributed.world_size() > 1:
                    torch.distributed.broadcast(own[name].data, 0)

    @property
    def sharded(self) -> bool:
        return self.trainer.settings.zero_stage == 3

    def gathered(self, parameters: list[Any], **how: Any) -> AbstractContextManager[Any]:
        """These parameters whole, within the block."""
        found: AbstractContextManager[Any] = deepspeed.zero.GatheredParameters(
            parameters, enabled=self.sharded, **how
        )
        return found

    @property
    def scorer(self) -> Any:
        return self.module.module if isinstance(self.module, deepspeed.DeepSpeedEngine) else self.module

    def _load(self) -> Any:
        settings = copy.copy(self.trainer.settings)
        if settings.offload is Offload.optimizer:
            settings.offload = Offload.none  # there is no optimizer
        config = deepspeed_config(settings, max_grad_norm=0.0)
        hf = load_sharded(self.model, settings, config)
        scorer: Any = Scorer(hf, fp32_head=self.model.fp32_head, banned=self.trainer.banned)
        scorer.requires_grad_(False)
        if settings.zero_stage != 3:
            return scorer.to(distributed.device())
        return deepspeed.initialize(model=scorer, config=config)[0]
