"""Benchmarks of training run, at their smallest size: the sides compared do the same. No time is judged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from places import ROOT

sys.path.append(str(ROOT / "benchmarks"))
import long_case

pytestmark = pytest.mark.slow
SMALL = ["--hidden", "64", "--layers", "2"]
ONE_UPDATE = ["--prompts", "1", "--group", "2", "--vocabulary", "300", "--rounds", "1"]


def benchmark(name: str, folder: Path, *arguments: str, code: int | None = 0) -> Any:
    """What `benchmarks/NAME.py` writes as JSON; `code`: its exit code, None where load may decide it."""
    file = folder / f"{name}.json"
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *arguments, "--json", str(file)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=590)
    assert code is None or done.returncode == code, done.stdout[-2000:] + done.stderr[-4000:]
    return json.loads(file.read_text())


def statuses(found: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["status"] for check in found["checks"]}


@pytest.mark.long
def test_the_update_stage_of_gpu_check_can_be_rehearsed(tmp_path: Path) -> None:
    found = benchmark("gpu_check", tmp_path, "--device", "cpu", "--stages", "1")
    assert found["rehearsal"] and found["device"] == "CPU"
    told = statuses(found)
    kinds = [(0, "bf16"), *((n, kind) for n in (1, 2, 3) for kind in ("fp32", "bf16"))]
    stages = [told[f"ZeRO-{n} in {kind} against fp32"] for n, kind in kinds]
    assert stages == ["ok"] * 7
    assert told["end to end against padded, fp32"] == told["end to end against padded, bf16"] == "ok"
    of_a_gpu = [status for name, status in told.items() if name.startswith(("0.5B", "1.5B"))]
    assert of_a_gpu == ["skipped"] * 4  # a CPU's memory and speed are judged by nobody


def test_sides_of_the_fine_tuning_benchmark_compute_the_same(tmp_path: Path) -> None:
    found = benchmark("sft", tmp_path, *SMALL, "--sequences", "4", "--steps", "1", "--row", "400")
    losses = found["losses"]
    assert losses["dense mask"] == pytest.approx(losses["ours"], rel=1e-5)
    assert losses["padding"] == pytest.approx(losses["ours"], rel=1e-5)
    assert losses["ours, twice the tokens"] != losses["ours"]  # after a step
    assert set(found["ratios"]) == {"dense mask", "padding", "ours, twice the tokens"}


def test_scaling_takes_turns_between_two_sizes(tmp_path: Path) -> None:
    [row] = benchmark("scaling", tmp_path, "--cases", "tokens", "--no-memory", *SMALL, *ONE_UPDATE, code=None)
    assert (row["what"], row["unit"], row["limit"]) == ("tokens x2", "s", 2.05)
    assert row["ratio"] == row["larger"] / row["smaller"] > 0


def test_long_responses_have_from_a_few_tokens_to_the_limit() -> None:
    rows = long_case.problems(1000, seed=0)
    lengths = [len(row["completion"]) + 1 for row in rows]  # one token a character, and the end
    assert min(lengths) < 20 and 290 < max(lengths) <= long_case.MAX_TOKENS
    assert max(len(row["prompt"]) for row in rows) <= long_case.MAX_PROMPT
    right = sum(row["answer"] == "1" for row in rows)
    assert 400 < right < 600
    assert all(row["completion"].endswith(f"\\boxed{{{row['answer']}}}") for row in rows)


@pytest.mark.long
def test_all_of_gpu_check_can_be_rehearsed(tmp_path: Path) -> None:
    found = benchmark("gpu_check", tmp_path, "--device", "cpu", "--stages", "2", "3")
    told = statuses(found)
    assert told["a large update moves the engine as the trainer"] == "ok"
    assert told["fingerprints of a sync"] == told["a short GRPO run"] == "ok"
    two_ranks = [status for name, status in told.items() if name.startswith("two ranks")]
    assert two_ranks == ["ok"] * 4


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("step", ["--steps", "1", "--warm-up", "1", "verifier@verifiers.math=random"]),
        ("overlap", ["--steps", "2", "--warm-up", "1", "--verdict-ms", "1"]),
    ],
)
def test_a_step_is_measured(name: str, arguments: list[str], tiny_path: Path, tmp_path: Path) -> None:
    found = benchmark(name, tmp_path, "--model", str(tiny_path), *arguments)
    assert found["ratio"] > 0


@pytest.mark.long
def test_scaling_with_ranks_and_memory(tmp_path: Path) -> None:
    rows = benchmark("scaling", tmp_path, *SMALL, *ONE_UPDATE, code=None)
    grown = ("tokens x2", "group x2", "vocabulary x10")
    expected = [(what, unit) for what in grown for unit in ("s", "bytes")]
    assert [(row["what"], row["unit"]) for row in rows] == [*expected, ("ranks x2", "s")]


@pytest.mark.long
def test_our_side_of_the_long_case(tiny_path: Path, tmp_path: Path) -> None:
    arguments = ["--case", "long", "--no-trl", "--model", str(tiny_path), "--seeds", "1", "--steps", "1"]
    [run] = benchmark("vs_trl", tmp_path, *arguments, "--threads", "1")["runs"]
    assert run["side"] == "rlvr" and run["tokens_per_second"] > 0 and run["peak_gib"] > 0.1
