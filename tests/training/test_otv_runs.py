"""Runs of `rlvr otv`: what they leave, that they go on exactly, and that ranks change nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from run_helpers import comparable, rlvr, steps_of
from safetensors.torch import load_file

from rlvr_cli.data.progression import continued, progression
from rlvr_cli.engine.tiny import make_tiny
from rlvr_cli.otv import folder
from rlvr_cli.schema import TinyModel

TERMS = 10
RECIPE = """
defaults:
  - algorithm: otv
  - trainer: zero0
  - _self_
name: probe
model: {{path: {model}}}
data: {{train: {{path: {data}, holdout: 0.2}}}}
batch: {{examples_per_step: 8, tokens_per_microbatch: 400}}
algorithm: {{max_length: 64, rank: 4, probes: 8}}
trainer: {{steps: 6, lr: 3e-3, precision: fp32}}
eval: {{every: 3}}
tracker: {{wandb: disabled}}
"""


def recorded(path: Path, prompts: int, seed: int, shuffled: bool = False) -> list[dict[str, Any]]:
    """Right and wrong solutions of each prompt, two of each; errors are planted at any digit."""
    rows, rng = [], Random(seed)
    for _ in range(prompts):
        prompt, _, clean = progression(rng, TERMS, 0)
        sides: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
        while min(map(len, sides.values())) < 2:
            text = continued(rng, [int(x) for x in prompt[3:5]], TERMS, 8)
            said = f"{text} \\boxed{{{text[-2:]}}}"
            row = {"id": prompt, "prompt": prompt, "response": said, "correct": said == clean}
            sides[said == clean].append(row | {"tokens": len(said) + 1, "truncated": False})
        rows += [*sides[True][:2], *sides[False][:2]]
    if shuffled:
        outcomes = [row["correct"] for row in rows]
        rng.shuffle(outcomes)
        rows = [row | {"correct": ok} for row, ok in zip(rows, outcomes, strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base") / "tiny"
    make_tiny(path, TinyModel(hidden_size=32, layers=2, heads=2, kv_heads=1, max_positions=64), 0)
    return path


@pytest.fixture(scope="module")
def recipe(base: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    place = tmp_path_factory.mktemp("recipes")
    recorded(place / "rows.jsonl", 30, 0)
    (place / "probe.yaml").write_text(RECIPE.format(model=base, data=place / "rows.jsonl"))
    return str(place / "probe.yaml")


@pytest.fixture(scope="module")
def trained(recipe: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    done = rlvr("otv", recipe, f"out={out}", "checkpoint.every=3", "checkpoint.keep=3")
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def evaluations(out: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row.get("event") == "eval"]


@pytest.mark.slow
def test_what_a_run_leaves_is_small_and_knows_its_base(trained: Path, base: Path) -> None:
    from transformers import AutoModelForCausalLM

    assert {"eval/auroc", "eval/loss", "eval/confidence_right"} <= evaluations(trained)[-1].keys()
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    place = folder.find(str(trained))
    note = json.loads((place / folder.NOTE).read_text())
    assert note["base"] == str(base) and note["fingerprint"] == folder.fingerprint(model)
    assert note["measured"]["auroc"] == evaluations(trained)[-1]["eval/auroc"]
    verifier = folder.load(place, model)
    assert sum(p.numel() for p in verifier.parameters()) < sum(p.numel() for p in model.parameters())
    assert verifier.head.abs().sum() > 0 and all(a.b.abs().sum() > 0 for a in verifier.adapters.values())
    events = (trained / "events.jsonl").read_text()
    assert "pairs of a right and a wrong sample" in events and "held out" in events


@pytest.mark.slow
def test_a_run_that_was_cut_off_goes_on_exactly(recipe: str, trained: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(trained, cut)
    shutil.rmtree(cut / "final")
    shutil.rmtree(cut / "checkpoints" / "step_6")
    (cut / "checkpoints" / "latest").write_text("step_3")
    done = rlvr("train", recipe, f"out={cut}", "checkpoint.every=3", "checkpoint.keep=3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [comparable(row) for row in steps_of(cut)] == [comparable(row) for row in steps_of(trained)]
    first, second = (load_file(out / "final" / folder.WEIGHTS) for out in (trained, cut))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_two_ranks_and_zero_change_nothing_but_rounding(recipe: str, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "two"
    done = rlvr("otv", recipe, "trainer.ranks=2", "trainer.zero_stage=2", f"out={out}")
    assert done.returncode == 0, done.stdout + done.stderr
    for row, other in zip(steps_of(out), steps_of(trained), strict=True):
        for name in ("train/loss", "train/grad_norm"):
            assert row[name] == pytest.approx(other[name], rel=2e-3, abs=2e-4), (row["step"], name)
    one, two = (evaluations(each)[-1]["eval/auroc"] for each in (trained, out))
    assert one == pytest.approx(two, abs=0.02)
