"""A KL coefficient that changes, in runs: what is recorded, and that a resumed run has the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from run_helpers import RECIPE, comparable, rlvr, steps_of
from safetensors.torch import load_file

pytestmark = pytest.mark.slow

GROUP = 4
"""Samples of a prompt in RECIPE."""

ADAPTIVE = (
    "algorithm/kl=loss",
    "algorithm.kl.coef=0.01",
    "algorithm.kl.schedule=adaptive",
    "algorithm.kl.target_kl=1e-4",
    "algorithm.kl.horizon=100",
    "checkpoint.every=1",
)


def trained(recipe: Path, out: Path, *more: str) -> list[dict[str, float]]:
    done = rlvr("train", str(recipe), f"out={out}", *ADAPTIVE, *more)
    assert done.returncode == 0, done.stdout + done.stderr
    return steps_of(out)


def test_an_adaptive_coefficient_is_resumed_exactly(tmp_path: Path) -> None:
    recipe = tmp_path / "kl.yaml"
    recipe.write_text(RECIPE)
    whole = trained(recipe, tmp_path / "whole", "trainer.steps=3")
    trained(recipe, tmp_path / "cut", "trainer.steps=2")
    cut = trained(recipe, tmp_path / "cut", "trainer.steps=3", "resume=changed")
    coefs = [row["actor/kl_coef"] for row in whole]
    # The controller's own rule, from what the run has recorded: it moves by at most a fifth of n / horizon.
    for row, before, after in zip(whole, coefs, coefs[1:], strict=False):
        error = min(max(row["actor/ref_kl"] / 1e-4 - 1, -0.2), 0.2)
        assert after == pytest.approx(before * (1 + error * row["group/trained"] * GROUP / 100))
        assert after != before
    assert coefs[0] == 0.01
    assert [comparable(row) for row in cut] == [comparable(row) for row in whole]
    one, two = (load_file(tmp_path / name / "final" / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_stage_cannot_set_what_a_schedule_changes(tmp_path: Path) -> None:
    recipe = tmp_path / "kl.yaml"
    recipe.write_text(RECIPE)
    out = tmp_path / "run"
    done = rlvr("train", str(recipe), f"out={out}", *ADAPTIVE, "+stages.two={after: 1, kl_coef: 0.1}")
    assert done.returncode == 2 and not out.exists()
    assert "stages.two: kl_coef: algorithm.kl.schedule=adaptive changes the coefficient" in done.stderr
