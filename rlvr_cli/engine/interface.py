"""A model under training as the code that searches its updates sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
from torch import Tensor

from rlvr_cli.engine.masked import Masks
from rlvr_cli.engine.pack import Bundle, MicroBatch
from rlvr_cli.engine.ulysses import Ulysses
from rlvr_cli.schema import Trainer as Settings

Objective = Callable[..., tuple[Tensor, dict[str, Tensor]]]
"""(scores of the module at n tokens ..., the batch's tensors at these tokens) -> (loss, metrics _n)."""


class SpikeRule(Protocol):
    """When a gradient is worth a search (algorithms/localise.py)."""

    localise_budget: int

    def spiked(self, norm: float, tokens: float, micro_batches: int) -> float | None: ...


class ScoringModel(Protocol):
    """What `localise.py` and `nonfinite.py` need of a model: `optimised.Optimised` has it."""

    engine: Any
    """DeepSpeed's."""
    settings: Settings
    scores: ClassVar[tuple[str, ...]]
    """What `forward` returns, for the reader."""
    padded: bool
    """Micro-batches are padded rows of one sequence each."""
    masks: Masks
    """Where some entries of its weights are frozen."""
    ulysses: Ulysses
    """The ranks it shares its micro-batches with."""

    def share(
        self, sequences: list[np.ndarray], trained: list[np.ndarray], owners: list[int] | None = None
    ) -> list[list[Bundle]]:
        """This rank's micro-batches of these sequences; all ranks in step."""

    def forward(self, module: Any, micro: MicroBatch) -> tuple[Tensor, ...]:
        """Scores of the micro-batch's trained tokens under `module`."""

    def collect(
        self,
        module: Any,
        sequences: list[np.ndarray],
        trained: list[np.ndarray],
        forward: Callable[[Any, MicroBatch], Sequence[Tensor]] | None = None,
        owners: list[int] | None = None,
    ) -> tuple[Tensor, ...]:
        """Scores of all trained tokens, each flat _N on the CPU of every rank."""

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """(Hugging Face name, whole tensor) of every weight; all ranks in step."""
