"""A whole run that samples ahead, cut and continued: no prompt is lost or doubled, nothing is different."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch
from run_helpers import RECIPE, comparable, rlvr, steps_of
from safetensors.torch import load_file

from rlvr_cli.core import tensor_files
from rlvr_cli.tracking import read_records

pytestmark = pytest.mark.slow
AHEAD = (
    "rollout.max_staleness=2", "rollout.max_tokens=40", "rollout.stop=[a,b,c,d,e,f,g,h,i,j]",
    "algorithm/mismatch=truncate",
    "trainer.steps=5", "checkpoint.every=1", "checkpoint.keep=9",
)  # fmt: skip


def in_flight(out: Path, step: int) -> list[dict]:
    files = sorted((out / "checkpoints" / f"step_{step}").glob("flights_rank*.pt"))
    return [row for file in files for row in tensor_files.read(file)]


def test_a_run_cut_with_prompts_in_flight_goes_on_to_the_bit(tmp_path: Path) -> None:
    recipe, whole, cut = tmp_path / "ahead.yaml", tmp_path / "whole", tmp_path / "cut"
    recipe.write_text(RECIPE)
    done = rlvr("train", str(recipe), f"out={whole}", *AHEAD)
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.copytree(whole, cut)
    shutil.rmtree(cut / "final")
    for step in (3, 4, 5):
        shutil.rmtree(cut / "checkpoints" / f"step_{step}")
    assert any(partial for row in in_flight(cut, 2) for _, _, partial in row["samples"])
    again = rlvr("train", str(recipe), f"out={cut}", *AHEAD)
    assert again.returncode == 0, again.stdout + again.stderr

    assert [comparable(row) for row in steps_of(cut)] == [comparable(row) for row in steps_of(whole)]
    first, second = (load_file(out / "final" / "model.safetensors") for out in (whole, cut))
    assert all(torch.equal(first[name], second[name]) for name in first)
    rows = list(read_records(cut))
    indices = Counter(row["index"] for row in rows if row["sample"] == 0)
    left = [row["index"] for row in in_flight(cut, 5)]
    assert len(indices) == 5 * 6 and indices + Counter(left) == Counter(range(5 * 6 + len(left)))
    ages = [(row["step"] - 1 - row["policy_version"], row["newest_version"] < row["step"]) for row in rows]
    assert {age for age, _ in ages} >= {0, 1} and max(ages)[0] <= 2 and all(known for _, known in ages)
    last = steps_of(cut)[-1]
    assert 0 < last["staleness/mean"] <= last["staleness/max"] <= 2
    assert last["staleness/in_flight"] == len(left)

    refused = rlvr("train", str(recipe), f"out={cut}", *AHEAD, "rollout.max_staleness=0", "resume=changed",
                   "trainer.steps=6")  # fmt: skip
    assert refused.returncode == 2 and "prompts in flight, which rollout.max_staleness=0" in refused.stderr
    warned = [json.loads(line) for line in (whole / "events.jsonl").read_text().splitlines()]
    assert not [row for row in warned if row["kind"] == "dropped"]
