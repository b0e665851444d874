"""A one-token verifier that is really trained: it finds planted errors, and only after they are there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from run_helpers import comparable, rlvr, steps_of
from safetensors.torch import load_file

from rlvr_cli.data.progression import continued, first_error, progression
from rlvr_cli.engine.tiny import make_tiny, tiny_tokenizer
from rlvr_cli.otv import folder
from rlvr_cli.otv.trace_score import auroc
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


def confidences(place: Path, base: Path, rows: list[dict[str, Any]], *, adapters: bool = True) -> list[Any]:
    """Of each row (right, where its first error is there, confidence after each token)."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    verifier, tokenizer = folder.load(place, model), tiny_tokenizer(64)
    if not adapters:
        for adapter in verifier.adapters.values():
            adapter.b.zero_()
    found = []
    for row in rows:
        start, ids = len(row["prompt"]), tokenizer(row["prompt"] + row["response"])["input_ids"]
        line = torch.tensor([[*ids, tokenizer.eos_token_id]])
        with torch.no_grad():
            places = torch.arange(start, line.shape[1])
            said = verifier(line, torch.arange(line.shape[1])[None], places).sigmoid().numpy()
        found.append((row["correct"], first_error(row["prompt"], row["response"]), said))
    return found


def ends(found: list[Any]) -> float:
    area = auroc(*([float(c[-1]) for ok, _, c in found if ok is side] for side in (True, False)))
    assert area is not None
    return area


@pytest.mark.long
def test_planted_errors_are_found_after_they_are_there(tmp_path: Path) -> None:
    """A base that knows the rule, outcomes of whole traces alone: AUROC above .9, the gap from the error on;
    chance with shuffled labels, and worse without the adapters."""
    sft = tmp_path / "sft.yaml"
    sft.write_text(SFT)
    done = rlvr("sft", str(sft), f"out={tmp_path / 'base'}", timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    base = tmp_path / "base" / "final"
    held_out = recorded(tmp_path / "held_out.jsonl", 60, 999)
    areas = {}
    for name in ("true", "shuffled"):
        recorded(tmp_path / f"{name}.jsonl", 400, 1, shuffled=name == "shuffled")
        (tmp_path / f"{name}.yaml").write_text(
            RECIPE.format(model=base, data=tmp_path / f"{name}.jsonl").replace("rank: 4", "rank: 16")
        )
        settings = ("trainer.steps=100", "trainer.lr=2e-3", "batch.examples_per_step=32", "eval.every=50")
        run = ("otv", str(tmp_path / f"{name}.yaml"), f"out={tmp_path / name}", *settings)
        done = rlvr(*run, timeout=1200)
        assert done.returncode == 0, done.stdout + done.stderr
        found = confidences(tmp_path / name / "final", base, held_out)
        areas[name] = ends(found)
        if name == "true":
            clean = np.mean([c[len(c) // 2] for ok, _, c in found if ok])
            before = np.mean([c[at - 2] for _, at, c in found if at is not None and at >= 5])
            after = np.mean([c[-1] for ok, _, c in found if not ok])
            assert abs(before - clean) < 0.2 and after < before - 0.3, (clean, before, after)
            areas["without adapters"] = ends(
                confidences(tmp_path / name / "final", base, held_out, adapters=False)
            )
    assert areas["true"] > 0.9, areas
    assert 0.35 < areas["shuffled"] < 0.65, areas
    assert areas["without adapters"] < areas["true"] - 0.15, areas


SFT = """
defaults:
  - algorithm: sft
  - model: tiny
  - data@data.train: progression
  - trainer: zero0
  - _self_
name: base
model: {tiny: {hidden_size: 64, layers: 2, heads: 2, kv_heads: 1, max_positions: 64}}
data: {train: {options: {terms: 10, errors: 4, size: 8192}}}
batch: {examples_per_step: 64}
algorithm: {max_length: 64}
trainer: {steps: 150, lr: 3e-3, warmup_steps: 20, schedule: cosine, precision: fp32}
tracker: {wandb: disabled}
"""
