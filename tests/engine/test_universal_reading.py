"""What a converted checkpoint puts into the optimizer; the slow tests have real ones of every stage."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn

from rlvr_cli.engine import universal


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
