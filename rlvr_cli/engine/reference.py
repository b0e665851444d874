"""The frozen policy a KL penalty pulls towards; made only when an algorithm asks for it."""

from __future__ import annotations

import copy
from collections.abc import Iterable
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


class Reference(Sleeper):
    """Logprobs under the reference policy: a frozen copy, or with LoRA the model without its adapters.

    A reset copies the policy's weights; after one, LoRA runs need a copy too, so one is made then.
    """

    def __init__(self, model: Model, trainer: Trainer) -> None:
        self.trainer = trainer
        self.model = copy.deepcopy(model)
        self.model.lora = Lora()
        self.adapters = model.lora.rank > 0
        self.module: Any = None if self.adapters else self._load()
        self.renewed = False

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

    def reset(self) -> None:
        """Become the policy as it is now. All ranks must call it."""
        self._become(self.trainer.weights())

    @awake
    def restart(self) -> None:
        """Become the start model again. All ranks must call it."""
        if self.renewed:
            self.module = None if self.adapters else self._load()
            self.renewed = False

    @awake
    def snapshot(self) -> dict[str, Tensor]:
        """Copies of the weights of a reference that was reset, on rank 0; before that it is the start model.

        All ranks must call it.
        """
        if not self.renewed:
            return {}
        sharded = self.trainer.settings.zero_stage == 3
        state = {}
        for name, parameter in self._scorer.model.named_parameters():
            with deepspeed.zero.GatheredParameters([parameter], enabled=sharded):
                if distributed.rank() == 0:
                    state[name] = parameter.detach().to("cpu", copy=True)
        return state

    def load(self, file: Path) -> None:
        """Become what `snapshot` was written to. All ranks must call it."""
        self._become(tensor_files.read(file, mmap=True).items())

    @awake
    def _become(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        if self.module is None:
            self.module = self._load()
        self.renewed = True
        own = dict(self._scorer.model.named_parameters())
        sharded = self.trainer.settings.zero_stage == 3
        for name, weight in weights:
            with (
                deepspeed.zero.GatheredParameters([own[name]], modifier_rank=0, enabled=sharded),
                torch.no_grad(),
            ):
                if not sharded or distributed.rank() == 0:
                    own[name].copy_(weight)

    @property
    def _scorer(self) -> Any:
        return self.module.module if isinstance(self.module, deepspeed.DeepSpeedEngine) else self.module

    def _load(self) -> Any:
        settings = copy.copy(self.trainer.settings)
        if settings.offload is Offload.optimizer:
            settings.offload = Offload.none  # there is no optimizer
        config = deepspeed_config(settings, max_grad_norm=0.0)
        scorer: Any = Scorer(load_sharded(self.model, settings, config), fp32_head=self.model.fp32_head)
        scorer.requires_grad_(False)
        if settings.zero_stage != 3:
            return scorer.to(distributed.device())
        return deepspeed.initialize(model=scorer, config=config)[0]
