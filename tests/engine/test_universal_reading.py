"""What a converted checkpoint puts into the optimizer; the slow tests have real ones of every stage."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from deepspeed.runtime.fp16.loss_scaler import LossScaler
from deepspeed.runtime.zero.config import ZeroStageEnum
from deepspeed.utils.tensor_fragment import fragment_address
from torch import nn

from rlvr_cli.core.errors import UserError
from rlvr_cli.engine import universal
from rlvr_cli.engine.snapshot import Snapshots


def test_a_converted_optimizer_has_its_own_count_of_updates(tmp_path: Path) -> None:
    """Of five updates of the run two came after the optimizer's reset: Adam's corrections need the two."""
    weight, moments = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.1, 0.2, 0.3]])
    state = {"step": torch.tensor(2.0), "exp_avg": moments, "exp_avg_sq": moments**2}
    head = {
        "dp_world_size": 2,
        "ds_config": {"zero_optimization": {"stage": 0}},
        "global_steps": 5,
        "module": {"weight": weight},
        "optimizer": {"state": {0: state}},
    }
    torch.save(head, tmp_path / "mp_rank_00_model_states.pt")
    module = nn.Linear(3, 1, bias=False)
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1)
    engine = SimpleNamespace(module=module, optimizer=optimizer, global_steps=0)
    universal.load(engine, universal.Saved(tmp_path), zero_stage=0)
    found = optimizer.state[module.weight]
    assert float(found["step"]) == 2 and engine.global_steps == 5
    assert torch.equal(module.weight, weight)
    assert torch.equal(found["exp_avg"], moments) and torch.equal(found["exp_avg_sq"], moments**2)
    # The next update is the third: m / (1 - .9^3) over sqrt(v / (1 - .999^3)), with a gradient of 0.
    module.weight.grad = torch.zeros_like(module.weight)
    optimizer.step()
    ratio = 0.9 / (1 - 0.9**3) / (0.999 / (1 - 0.999**3)) ** 0.5
    torch.testing.assert_close(module.weight.detach(), 0.999 * weight - 0.1 * ratio)


def test_neither_reader_of_a_trainers_state_runs_what_it_holds(tmp_path: Path) -> None:
    file, done = tmp_path / "mp_rank_00_model_states.pt", tmp_path / "PWNED"

    class Attack:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {done}",)

    torch.save({"dp_world_size": 1, "module": Attack()}, file)
    for read in (universal.Saved, lambda _: Snapshots().load(str(file), map_location="cpu")):
        with pytest.raises(UserError, match=r"holds posix\.system"):
            read(tmp_path)
    assert not done.exists()


def test_what_deepspeed_keeps_besides_tensors_is_read(tmp_path: Path) -> None:
    kept = {"scaler": LossScaler(1.0), "stage": ZeroStageEnum(2), "at": fragment_address(start=3, numel=4)}
    torch.save(kept | {"weight": torch.ones(2)}, tmp_path / "optim_states.pt")
    found = universal.read(tmp_path / "optim_states.pt")
    assert found["scaler"].cur_scale == 1.0 and found["stage"] == 2 and found["at"].numel == 4
    assert Snapshots().load(str(tmp_path / "optim_states.pt"))["at"].start == 3
