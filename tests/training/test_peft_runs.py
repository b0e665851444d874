"""Whole runs with PiSSA, DoRA, rank-stabilised adapters and masks: vLLM, references, restarts, exports."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_helpers import RECIPE, comparable, rlvr, steps_of
from safetensors.torch import load_file

pytestmark = pytest.mark.long

PISSA = "model.lora={rank: 4, init: pissa, dora: true}"
KINDS = {
    "pissa and dora": [PISSA, "trainer.zero_stage=3"],
    "rank_stabilised": ["model.lora={rank: 4, rank_stabilised: true}", "rollout.lora=adapter"],
    "masked": [
        "model.mask={kind: off_principal, rank: 8}",
        "trainer.zero_stage=2",
        "trainer.weight_decay=0.1",
    ],
}


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "my.yaml"
    path.write_text(RECIPE)
    return str(path)


@pytest.mark.parametrize("kind", KINDS)
def test_the_engine_has_what_is_trained_and_the_reference_is_the_start_model(
    kind: str, recipe: str, tmp_path: Path
) -> None:
    """In fp32 vLLM agrees with the trainer to within rounding; before the first update the KL is 0."""
    out = tmp_path / "run"
    done = rlvr(
        "train", recipe, f"out={out}", "rollout=vllm", "rollout.kv_cache_gb=0.25", *KINDS[kind], timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = steps_of(out)
    assert all(row["mismatch/mean_abs"] < 1e-4 for row in rows)
    one_update = rlvr(
        "train",
        recipe,
        f"out={tmp_path / 'first'}",
        "trainer.steps=1",
        "batch.updates_per_step=1",
        *KINDS[kind][:1],
    )
    assert one_update.returncode == 0, one_update.stderr
    assert abs(steps_of(tmp_path / "first")[0]["actor/ref_kl"]) < 1e-6
    start, final = (load_file(out / name / "model.safetensors") for name in ("start", "final"))
    assert start.keys() == final.keys()
    changed = {name: float((start[name] != final[name]).float().mean()) for name in start}
    if kind == "masked":
        share = rows[-1]["actor/mask_share"]
        projections = [name for name in start if "proj.weight" in name]
        total = sum(start[name].numel() for name in projections)
        found = sum(changed[name] * start[name].numel() for name in projections) / total
        assert 0.5 < share < 0.75 and found == pytest.approx(share, abs=0.01)
    else:
        assert all(("proj.weight" in name) == (share > 0.5) for name, share in changed.items())


@pytest.mark.parametrize("kind", ["pissa and dora", "masked"])
def test_a_run_that_is_cut_is_the_whole_run(kind: str, recipe: str, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for out, steps in ((whole, 3), (cut, 2), (cut, 3)):
        done = rlvr("train", recipe, *KINDS[kind], f"out={out}", f"trainer.steps={steps}")
        assert done.returncode == 0, done.stdout + done.stderr
    for got, wanted in zip(steps_of(cut), steps_of(whole), strict=True):
        assert comparable(got) == pytest.approx(comparable(wanted), abs=1e-6, rel=1e-6, nan_ok=True)
    ours, theirs = (load_file(out / "final" / "model.safetensors") for out in (cut, whole))
    assert all(bool((ours[name] == theirs[name]).all()) for name in theirs)
