"""Whole runs with engines on several ranks: the samples of a step are those of one rank."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from run_helpers import RECIPE, rlvr, steps_of

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.usefixtures("own_environment")]
WAYS = {
    "one": ["trainer.ranks=1"],
    "two ranks, one engine": ["trainer.ranks=2", "rollout.tensor_parallel=2"],
    "four ranks, two engines": ["trainer.ranks=4", "rollout.tensor_parallel=2"],
}


def sampled(out: Path, step: int) -> dict[tuple[int, int], str]:
    """(prompt, sample) -> response, of all ranks."""
    rows: list[dict[str, Any]] = []
    for file in sorted((out / "rollouts").glob(f"step_{step:06d}.rank*.jsonl")):
        rows += [json.loads(line) for line in file.read_text().splitlines()]
    found = {(row["index"], row["sample"]): row["response"] for row in rows}
    assert len(found) == len(rows), "no group is there twice"
    return found


def test_samples_do_not_depend_on_ranks_or_engines(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text(RECIPE)
    found = {}
    for number, (name, given) in enumerate(WAYS.items()):
        out = tmp_path / f"run{number}"
        bench = ["+bench@eval.benches.addition=addition", "eval.benches.addition.source.limit=8"]
        bench += ["eval.benches.addition.max_tokens=40"]
        done = rlvr(
            "train", str(tmp_path / "my.yaml"), f"out={out}", "rollout=vllm", *bench, *given, timeout=900
        )
        assert done.returncode == 0, done.stderr
        found[name] = sampled(out, 1)
        assert len(steps_of(out)) == 3 and (out / "final").is_dir()
        result = json.loads((out / "eval" / "addition.json").read_text())
        assert len(result["problems"]) == 8
    assert len(found["one"]) == 24
    assert found["two ranks, one engine"] == found["four ranks, two engines"] == found["one"]


def test_adapters_alone_train_as_merged_ones_do(tmp_path: Path) -> None:
    """In fp32 both are the same policy to within rounding: the first steps sample the same."""
    (tmp_path / "my.yaml").write_text(RECIPE)
    found = {}
    for way in ("merged", "adapter"):
        out = tmp_path / way
        given = ["rollout=vllm", "model.lora.rank=4", f"rollout.lora={way}", f"out={out}"]
        done = rlvr("train", str(tmp_path / "my.yaml"), *given, timeout=900)
        assert done.returncode == 0, done.stderr
        found[way] = [sampled(out, step) for step in (1, 2)]
        assert all(row["mismatch/max"] < 1e-3 for row in steps_of(out))
    assert found["adapter"] == found["merged"]
