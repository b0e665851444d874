"""Runs that go on: from damaged checkpoints, in time, with another recipe, on a full disk."""

import json
import os
import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
import torch
from run_helpers import RECIPE, SFT_RECIPE, comparable, rlvr, started, steps_of
from safetensors.torch import load_file

pytestmark = pytest.mark.slow

SFT = SFT_RECIPE + "checkpoint: {every: 1, keep: 2}\nfaults: {max_restarts: 0}\n"


@pytest.fixture(scope="module")
def sft(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("recipes") / "small.yaml"
    path.write_text(SFT)
    return str(path)


def events(out: Path, kind: str) -> list[str]:
    rows = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    return [row["message"] for row in rows if row["kind"] == kind]


@pytest.mark.long
def test_dropout_and_unseeded_sampling_go_on_exactly_from_the_last_good_checkpoint(tmp_path):
    """Two ranks; the newest two checkpoints are damaged. What was recorded after the third is done again."""
    recipe, whole, cut = tmp_path / "exact.yaml", tmp_path / "whole", tmp_path / "cut"
    recipe.write_text(RECIPE)
    common = (
        "train", str(recipe), "trainer.ranks=2", "trainer.zero_stage=2", "trainer.steps=4",
        "checkpoint.every=1", "checkpoint.keep=4", "model.lora={rank: 4, dropout: 0.3}",
        "rollout.seeded=false",
    )  # fmt: skip
    done = rlvr(*common, f"out={whole}")
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.copytree(whole, cut)
    shutil.rmtree(cut / "final")
    os.truncate(cut / "checkpoints" / "step_4" / "rng_rank1.pt", 100)
    shard = cut / "checkpoints" / "step_3" / "trainer" / "zero_pp_rank_1_mp_rank_00_optim_states.pt"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)

    again = rlvr(*common, f"out={cut}")
    assert again.returncode == 0, again.stdout + again.stderr
    warnings = "\n".join(events(cut, "warning"))
    assert "set aside" in warnings and "step_4: rng_rank1.pt has 100 bytes" in warnings
    assert f"step_3: trainer/{shard.name} is not as it was written" in warnings
    assert events(cut, "resume") == ["continuing after step 2"]
    kept = {path.name for path in (cut / "checkpoints").iterdir()}
    assert kept >= {"step_3", "step_4", "step_3.corrupt", "step_4.corrupt"}
    assert [comparable(row) for row in steps_of(cut)] == [comparable(row) for row in steps_of(whole)]
    first, second = (load_file(out / "final" / "model.safetensors") for out in (whole, cut))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_stops_in_time_and_goes_on_with_another_recipe_if_told_to(sft, tmp_path, monkeypatch):
    out = tmp_path / "run"
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 25))
    done = rlvr("train", sft, f"out={out}")
    assert done.returncode == 75, done.stdout + done.stderr
    (said,) = events(out, "stop")
    assert "to be saved by" in said and f"to continue: rlvr train {out}/recipe.yaml" in said
    assert not (out / "final").exists()
    step = int((out / "checkpoints" / "latest").read_text().strip().removeprefix("step_"))
    assert step == (len(steps_of(out)) if (out / "metrics.jsonl").exists() else 0)

    monkeypatch.delenv("SLURM_JOB_END_TIME")
    changed = (
        "train",
        sft,
        f"out={out}",
        "trainer.lr=1e-4",
        "data.train.limit=32",
        f"trainer.steps={step + 1}",
    )
    refused = rlvr(*changed)
    assert refused.returncode == 2 and "trainer.lr (0.001 -> 0.0001)" in refused.stderr
    assert "resume=changed" in refused.stderr and len(refused.stderr.splitlines()) == 1
    assert rlvr("train", str(out), "resume=never").returncode == 2
    done = rlvr(*changed, "resume=changed")
    assert done.returncode == 0, done.stdout + done.stderr
    assert events(out, "recipe") == [
        f"changed after step {step}: data.train.limit (64 -> 32), trainer.lr (0.001 -> 0.0001)"
    ]
    assert (out / f"recipe.{step}.yaml").exists() and (out / "final").exists()
    assert steps_of(out)[-1]["train/lr"] == pytest.approx(1e-4)


def test_a_run_without_time_for_a_step_saves_and_says_so(tmp_path):
    recipe, out = tmp_path / "exact.yaml", tmp_path / "run"
    recipe.write_text(RECIPE)
    done = rlvr("train", str(recipe), f"out={out}", "checkpoint.must_save_by=0.0001")
    assert done.returncode == 75, done.stdout + done.stderr
    assert events(out, "stop")[0].startswith("stopped after step 0 to be saved by")
    assert (out / "checkpoints" / "step_0" / "manifest.json").exists()


def limited(size: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A run none of whose files can grow past `size` bytes."""
    with tempfile.TemporaryFile() as shown, tempfile.TemporaryFile() as said:
        process = started(shown.fileno(), said.fileno(), *arguments)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, size))  # its ranks will have it too
        code = process.wait(timeout=300)
        texts = [os.pread(file.fileno(), 1 << 24, 0).decode() for file in (shown, said)]
    return subprocess.CompletedProcess(arguments, code, *texts)


def test_checkpoints_that_cannot_be_written_end_the_run_with_the_cause(sft, tiny_path, tmp_path):
    out = tmp_path / "run"
    done = limited(300_000, "train", sft, f"out={out}", f"model.path={tiny_path}")
    assert done.returncode == 1
    assert "CheckpointFailed: the checkpoint of step 2 could not be written" in done.stderr
    assert "File too large" in done.stderr
    (first, second) = events(out, "warning")
    assert first.startswith("the checkpoint of step 1 could not be written: File too large")
    assert second.startswith("the checkpoint of step 2")
    assert list((out / "checkpoints").iterdir()) == []
