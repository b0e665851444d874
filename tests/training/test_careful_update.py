"""Updates that are left out, and how many of them end a run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rlvr_cli.core.types import Batch
from rlvr_cli.engine.nonfinite import NonFinite
from rlvr_cli.schema import Faults
from rlvr_cli.schema import NonFinite as Policy
from rlvr_cli.tracking.null_tracker import NullTracker
from rlvr_cli.training.careful_update import careful_update, skipped_metrics


class Fails:
    """A model of which every update that is not in `fine` meets a number that is none."""

    def __init__(self, fine: list[int]) -> None:
        self.fine, self.number = fine, 0

    def update(self, batch: Batch, objective: Any, *, lr: float) -> dict[str, float]:
        self.number += 1
        if self.number not in self.fine:
            raise NonFinite("the loss is nan", {"what": "loss"})
        return {"loss": 1.0}

    def take_hits(self) -> list[Any]:
        return []


def test_three_updates_left_out_in_a_row_end_a_run_and_three_in_all_do_not() -> None:
    run = SimpleNamespace(tracker=NullTracker(), tokenizer=None, step=0, state={})
    faults, model = Faults(nonfinite=Policy.skip), Fails(fine=[3, 6])
    batch = Batch(sequences=[], trained=[], weights_N=torch.zeros(0))

    def update() -> dict[str, float]:
        return careful_update(run, faults, model, batch, None, lr=1.0)  # type: ignore[arg-type]

    made = [bool(update()) for _ in range(8)]
    assert made == [False, False, True, False, False, True, False, False]
    assert skipped_metrics(run.state, faults) == {"actor/skipped_updates": 6.0}
    with pytest.raises(NonFinite, match="3 updates in a row were not finite"):
        update()
