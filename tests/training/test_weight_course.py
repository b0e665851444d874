"""Looks at the weights during training: the numbers of `rlvr inspect weights`, whatever ranks and stage."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from run_helpers import RECIPE, SFT_RECIPE, rlvr, steps_of
from safetensors.torch import load_file

from rlvr_cli.core.errors import UserError
from rlvr_cli.inspect.measured import mean_of, relative
from rlvr_cli.inspect.spectra import Options
from rlvr_cli.inspect.weights import inspect
from rlvr_cli.schema import Model, Trainer
from rlvr_cli.training.weight_course import course_of

LOOKS = "trainer.inspect_weights_every=2"


def inspected(start: Path, final: Path) -> dict[str, float]:
    """What the command says of both folders, by the names of the metrics."""
    found = inspect(str(start), [str(final)], Options())
    total = found.total()
    row = {
        "weights/sparsity": total.sparsity(0),
        "weights/relative_change": relative(total.weights, 0),
        "weights/principal": total.mean(0, lambda each: each.principal),
        "weights/low": total.mean(0, lambda each: each.low),
    }
    for kind, part in found.groups():
        if part.weights[0].counted:
            row[f"weights/{kind}/sparsity"] = part.sparsity(0)
            row[f"weights/{kind}/relative_change"] = relative(part.weights, 0)
    return row


def looked(row: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name.startswith("weights/")}


def trained(recipe: str, tmp_path: Path, out: Path, *more: str) -> list[dict[str, float]]:
    path = tmp_path / "my.yaml"
    path.write_text(recipe)
    done = rlvr("train", str(path), f"out={out}", *more)
    assert done.returncode == 0, done.stdout + done.stderr
    return steps_of(out)


@pytest.mark.slow
def test_numbers_are_the_commands_and_training_is_what_it_is_without(tmp_path: Path) -> None:
    """In bf16 under ZeRO-3 on two ranks; the run that is looked at is also cut and goes on."""
    cluster = ("trainer.ranks=2", "trainer.zero_stage=3", "trainer.precision=bf16", "trainer.lr=1e-4")
    whole, out = tmp_path / "whole", tmp_path / "looked"
    trained(SFT_RECIPE, tmp_path, whole, *cluster, "trainer.steps=3")
    trained(SFT_RECIPE, tmp_path, out, *cluster, "trainer.steps=2", LOOKS)
    rows = trained(SFT_RECIPE, tmp_path, out, *cluster, "trainer.steps=3", LOOKS)
    assert [bool(looked(row)) for row in rows] == [False, True, True]
    assert looked(rows[2]) == inspected(out / "start", out / "final")
    assert all(0 < row["weights/sparsity"] < 0.9 for row in rows[1:])
    assert mean_of([rows[2]["weights/principal"], rows[2]["weights/low"]]) == pytest.approx(0.5, abs=0.05)
    ours, theirs = (load_file(folder / "final" / "model.safetensors") for folder in (out, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.slow
def test_of_adapters_the_merged_weights_are_looked_at(tmp_path: Path) -> None:
    out = tmp_path / "run"
    adapters = ("model.lora={rank: 4, init: pissa}", "trainer.zero_stage=2", "trainer.precision=bf16")
    rows = trained(RECIPE, tmp_path, out, *adapters, "trainer.steps=1", LOOKS, "trainer.sleep=false")
    assert looked(rows[0]) == inspected(out / "start", out / "final")
    assert rows[0]["actor/lora_merge_error"] > 0


@pytest.mark.slow
def test_experts_in_one_tensor_are_compared_with_those_of_the_files(tmp_path: Path) -> None:
    out = tmp_path / "run"
    moe = "model={path: builtin:tiny_moe, tiny: {experts: 4, experts_per_token: 2}}"
    rows = trained(SFT_RECIPE, tmp_path, out, moe, "trainer.steps=1", LOOKS)
    assert looked(rows[0]) == inspected(out / "start", out / "final")
    assert rows[0]["weights/experts.gate_proj/sparsity"] < 1


def test_a_start_model_without_safetensors_is_refused_before_the_first_step(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    settings = Trainer(inspect_weights_every=1)
    with pytest.raises(UserError, match=r"inspect_weights_every: .* has neither model\.safetensors"):
        course_of(Model(path=str(tmp_path)), settings, print)
    assert course_of(Model(path=str(tmp_path)), Trainer(), print) is None
