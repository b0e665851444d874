"""What only a CUDA GPU can show: `make gpu-test`. The same code paths as the CPU tests, on the device."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.gpu


def rlvr(*arguments):
    command = [sys.executable, "-m", "rlvr_cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=580)


@pytest.mark.parametrize("stage", [0, 2])  # 3: gpu_checks/short_run.py
def test_tiny_run_in_bf16_with_sleeping_engine(stage, tmp_path):
    """Sampling, sync after sleep and training share the GPU; a wrong sync would stop the run."""
    out = tmp_path / "run"
    done = rlvr(
        "grpo",
        "smoke",
        "rollout=vllm",
        "trainer.precision=bf16",
        f"trainer.zero_stage={stage}",
        "trainer.steps=4",
        "rollout.gpu_memory_utilization=0.3",
        "model.tiny={hidden_size: 256, layers: 2, heads: 4, kv_heads: 2, max_positions: 512}",
        f"out={out}",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    steps = [row for row in rows if "event" not in row]
    assert len(steps) == 4 and all(row["mismatch/mean_abs"] < 0.1 for row in steps)


def test_the_demo_learns_on_the_gpu(tmp_path):
    sft, rl = tmp_path / "sft", tmp_path / "dapo"
    common = ("trainer.precision=bf16", "tracker.wandb=disabled")
    assert rlvr("sft", "tiny_sft", f"out={sft}", *common).returncode == 0
    done = rlvr("dapo", "tiny_dapo", f"out={rl}", f"model.path={sft}", *common)
    assert done.returncode == 0, done.stdout + done.stderr
    results = [json.loads((rl / "eval" / f"step_{n}" / "addition.json").read_text()) for n in (0, 100)]
    before, after = (result["summary"]["avg@4"] for result in results)
    assert after > before + 0.1
