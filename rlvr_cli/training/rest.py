"""`trainer.sleep`: the models that train off the device while the engine samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from rlvr_cli.engine.trainer import Trainer
from rlvr_cli.schema import Trainer as Settings
from rlvr_cli.training.parts import Parts


class Sleeping(Protocol):
    """What can give its memory back."""

    def sleep(self) -> None: ...


def rest(
    settings: Settings, trainer: Trainer, others: Sequence[Sleeping | None], probe_tokens: list[int]
) -> np.ndarray | None:
    """All models to CPU memory, where the recipe wants it; else None.

    First the policy says what it makes of the probe: the engine answers when there is no room for both.
    """
    if not settings.sleep:
        return None
    logprobs = probe_logprobs(trainer, probe_tokens)
    for model in (trainer, *others):
        if model is not None:
            model.sleep()
    return logprobs


def probe_logprobs(trainer: Trainer, probe_tokens: list[int]) -> np.ndarray:
    """Logprobs (temperature 1) of the tokens after the first."""
    sequence = np.asarray(probe_tokens, np.int32)
    with trainer.unbanned():  # as an engine scores a prompt
        logprobs_N, _, _ = trainer.score([sequence], [np.arange(len(sequence)) > 0], temperature=1.0)
    return logprobs_N.numpy()


def make_room(parts: Parts) -> bool:
    """Before a sleeping trainer is used: the engine, which fills the device, sleeps instead. Whether it does.

    It must be synced before it samples again.
    """
    if not parts.recipe.trainer.sleep or not parts.trainer.asleep:
        return False
    parts.engine.sleep()
    return True
