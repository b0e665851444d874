"""Whole runs through the command line, with real DeepSpeed and real engines."""

import json
from pathlib import Path

import pytest
from interrupts import interrupt_after
from run_helpers import RECIPE, comparable, rlvr, steps_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "exact.yaml"
    path.write_text(RECIPE)
    return path


def test_two_ranks_zero3_bf16_and_vllm(recipe, tmp_path):
    """The parts of the large runs together: sharded weights, an engine per rank, adapters, checkpointing."""
    done = rlvr(
        "train", str(recipe), f"out={tmp_path / 'run'}", "rollout=vllm", "rollout.kv_cache_gb=0.25",
        "trainer.zero_stage=3", "trainer.ranks=2", "trainer.precision=bf16",
        "model.gradient_checkpointing=true",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = steps_of(tmp_path / "run")
    assert len(rows) == 3 and max(row["mismatch/mean_abs"] for row in rows) < 0.05
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "final")


def test_vllm_and_trainer_agree_in_fp32_after_every_sync(recipe, tmp_path):
    out = tmp_path / "run"
    done = rlvr("train", str(recipe), f"out={out}", "rollout=vllm", "rollout.kv_cache_gb=0.25")
    assert done.returncode == 0, done.stdout + done.stderr
    # step 1 samples from the start weights; later steps from synced ones; their first update is on-policy
    assert all(row["mismatch/mean_abs"] < 1e-4 for row in steps_of(out))


def test_lora_trains_and_exports_merged_weights(recipe, tmp_path):
    out = tmp_path / "run"
    done = rlvr("train", str(recipe), f"out={out}", "model.lora.rank=4", "trainer.zero_stage=2")
    assert done.returncode == 0, done.stdout + done.stderr
    import torch
    from transformers import AutoModelForCausalLM

    start, final = (AutoModelForCausalLM.from_pretrained(out / name) for name in ("start", "final"))
    changed = {
        n
        for (n, a), b in zip(start.named_parameters(), final.parameters(), strict=True)
        if not torch.equal(a, b)
    }
    assert changed and all("proj" in name for name in changed)


def test_ctrl_c_leaves_a_checkpoint_and_the_run_continues_as_if_nothing_had_happened(recipe, tmp_path):
    arguments = ["train", str(recipe), "trainer.steps=8"]
    whole = tmp_path / "whole"
    assert rlvr(*arguments, f"out={whole}").returncode == 0
    out = tmp_path / "cut"
    cut = interrupt_after(out, 2, *arguments, f"out={out}")
    assert cut.returncode == 75, cut.stdout + cut.stderr
    assert f"rlvr train {out}" in cut.stdout + cut.stderr
    done = len(steps_of(out))
    assert 2 <= done < 8 and (out / "checkpoints" / "latest").read_text().strip() == f"step_{done}"
    again = rlvr("train", f"{out}/recipe.yaml")
    assert again.returncode == 0, again.stdout + again.stderr
    rows, wanted = steps_of(out), steps_of(whole)
    assert [row["step"] for row in rows] == list(range(1, 9))
    for got, row in zip(rows, wanted, strict=True):
        assert comparable(got) == pytest.approx(comparable(row), abs=1e-6, rel=1e-6, nan_ok=True)


def test_reference_resets_are_recorded_and_bring_the_kl_to_zero(recipe, tmp_path):
    out = tmp_path / "run"
    done = rlvr(
        "train", str(recipe), f"out={out}", "algorithm/reference=reset", "algorithm.reference.every=2",
        "algorithm.reference.reset_optimizer=true", "trainer.steps=5", "batch.updates_per_step=1",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    kl = [row["actor/ref_kl"] for row in steps_of(out)]
    assert kl[0] == pytest.approx(0, abs=1e-9) and kl[1] > 1e-6
    assert kl[2] == pytest.approx(0, abs=1e-9) and kl[3] > 1e-6 and kl[4] == pytest.approx(0, abs=1e-9)
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    assert sum(event["kind"] == "reference" for event in events) == 2
