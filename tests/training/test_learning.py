"""The demo in small."""

import json
import math
from pathlib import Path

import pytest
from run_helpers import rlvr

pytestmark = pytest.mark.slow


TINIER = ["hidden_size=64", "layers=2", "heads=2", "kv_heads=1"]
SFT = [
    *(f"model.tiny.{key}" for key in TINIER),
    "data.train.options.digits=1",
    "eval.source.options.digits=1",
]
SFT += ["trainer.lr=5e-3", "eval.stop_at=0.9"]
BENCH = ["source.split=train", "source.options.digits=1", "source.options.size=70", "k=8"]
DAPO = [*(f"eval.benches.addition.{key}" for key in BENCH), "data.train.options.digits=1"]
DAPO += ["trainer.lr=1e-3", "trainer.steps=45"]


def test_sft_then_dapo_learns_addition_with_vllm(tmp_path):
    """Partial skill from SFT, visibly more after DAPO, and a folder others can load.

    The recipes of `make demo`, with one digit less and a smaller model.
    """
    sft, rl = tmp_path / "sft", tmp_path / "dapo"
    first = rlvr("sft", "tiny_sft", f"out={sft}", "tracker.wandb=disabled", *SFT, timeout=500)
    assert first.returncode == 0, first.stdout + first.stderr
    second = rlvr(
        "dapo", "tiny_dapo", f"out={rl}", f"model.path={sft}", "tracker.wandb=disabled", *DAPO, timeout=500
    )
    assert second.returncode == 0, second.stdout + second.stderr
    before, after = (
        json.loads((rl / "eval" / f"step_{n}" / "addition.json").read_text())["summary"] for n in (0, 45)
    )
    assert after["avg@8"] - before["avg@8"] > 0.1
    assert after["ci95_low"] > before["ci95_high"]
    check_export(rl / "final")
    events = [json.loads(line) for line in (rl / "events.jsonl").read_text().splitlines()]
    assert [e["message"] for e in events if e["kind"] == "diagnosis"] == []  # a healthy run
    for name in ("recipe.yaml", "environment.json", "metrics.jsonl", "curves.png", "checkpoints/latest"):
        assert (rl / name).stat().st_size > 0
    records = [
        json.loads(line) for line in (rl / "rollouts" / "step_000001.rank0.jsonl").read_text().splitlines()
    ]
    assert len(records) >= 32 * 8
    trained = [r for r in records if r["kept"]]
    assert len(trained) == 32 * 8 and all(math.isfinite(r["advantage"]) for r in trained)


def check_export(folder: Path) -> None:
    """Plain transformers loads the folder and answers the task."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    right = 0
    for a, b in ((3, 5), (7, 2), (1, 4), (6, 1), (8, 5), (4, 3)):
        prompt = tokenizer(f"{a}+{b}=", return_tensors="pt")
        ids = model.generate(**prompt, max_new_tokens=40, do_sample=False)[0]
        right += f"\\boxed{{{a + b}}}" in tokenizer.decode(ids)
    assert right >= 2
