"""A model that lies in CPU memory and is on its device while it computes, and no longer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


class Offloaded:
    """The weights and buffers of a frozen model, whose CPU copies are the ones that count.

    They are in page-locked memory where the device is a GPU, so that it can fetch them at full speed. Nothing
    is copied back: scoring changes no weight.
    """

    def __init__(self, model: Any, device: str) -> None:
        self.device, self._gpu = device, device.startswith("cuda")
        self._tensors: list[Tensor] = [*model.parameters(), *model.buffers()]
        self._homes = [x.data.pin_memory() if self._gpu else x.data for x in self._tensors]
        self._settle()

    @contextmanager
    def there(self) -> Iterator[None]:
        """Within the block the model is on the device; afterwards that memory is free again."""
        try:
            for x, home in zip(self._tensors, self._homes, strict=True):
                x.data = home.to(self.device, non_blocking=True, copy=True)
            yield
        finally:
            self._settle()
            if self._gpu:
                import torch

                torch.cuda.empty_cache()  # or the allocator would keep it, unseen by the trainer's process

    def _settle(self) -> None:
        for x, home in zip(self._tensors, self._homes, strict=True):
            x.data = home
