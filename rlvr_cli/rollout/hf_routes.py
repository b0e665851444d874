"""Which experts the transformers engine sends each token through."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlvr_cli.core.routers import Router, routers_of
from rlvr_cli.core.routes import numbers_for


class HFRoutes:
    """Hooks on the routers of a model that decodes a batch: `begin`, after each forward pass `keep`, then
    `of`."""

    def __init__(self, model: Any, key: str = "rollout.routing_replay") -> None:
        """UserError where a router of the model is not known."""
        self.routers = routers_of(model, key)
        self._now: list[Tensor | None] = [None] * len(self.routers)
        self._steps: list[np.ndarray] = []
        self._type = numbers_for(int(self.routers[0].module.num_experts))
        for number, router in enumerate(self.routers):
            router.module.register_forward_hook(self._notes(number, router))

    def begin(self) -> None:
        """A batch of new sequences."""
        self._steps = []

    def keep(self, rows: int) -> None:
        """Of the last forward pass over so many rows of equal length."""
        stacked = torch.stack([choice for choice in self._now if choice is not None], 1)
        found = stacked.cpu().numpy().astype(self._type)
        self._steps.append(found.reshape(rows, -1, *found.shape[1:]))

    def of(self, row: int, prompt: int, tokens: int) -> np.ndarray:
        """[prompt + tokens - 1, L, k] of a row: so many tokens of its prompt, and so many sampled ones."""
        first = self._steps[0][row]
        later = [step[row] for step in self._steps[1:tokens]]
        return np.concatenate([first[len(first) - prompt :], *later])

    def _notes(self, number: int, router: Router) -> Any:
        def hook(module: Any, args: Any, output: tuple[Any, ...]) -> None:
            self._now[number] = router.read(output)[2]

        return hook
