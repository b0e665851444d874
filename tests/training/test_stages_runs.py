"""Long runs: stages and resets as they happen, and going on after a kill as if nothing had."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from benches import BENCH
from run_helpers import RECIPE as EXACT
from run_helpers import comparable, rlvr, run_entries, steps_of
from staged_recipes import RECIPE, load

from rlvr_cli.schema.stages import describe

pytestmark = pytest.mark.slow


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "staged.yaml").write_text(RECIPE)
    return str(tmp_path / "staged.yaml")


def events_of(out: Path, *kinds: str) -> list[tuple[str, str]]:
    rows = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    return [(row["kind"], row["message"]) for row in rows if row["kind"] in kinds]


def sources_of(out: Path, step: int) -> dict[str, int]:
    """Samples a step drew of each source."""
    count: dict[str, int] = {}
    for line in (out / "rollouts" / f"step_{step:06d}.rank0.jsonl").read_text().splitlines():
        row = json.loads(line)
        count[row["source"]] = count.get(row["source"], 0) + 1
    return count


def prompts_of(out: Path, step: int) -> list[tuple[str, str]]:
    rows = map(json.loads, (out / "rollouts" / f"step_{step:06d}.rank0.jsonl").read_text().splitlines())
    return [(row["source"], row["prompt"]) for row in rows if row["sample"] == 0]


def kill_after(out: Path, step: int, *arguments: str) -> None:
    """Start a run and kill it with SIGKILL once `step` steps are recorded."""
    process = subprocess.Popen(
        [sys.executable, "-m", "rlvr_cli", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        if (out / "metrics.jsonl").exists() and len(steps_of(out)) >= step:
            os.kill(process.pid, signal.SIGKILL)
            break
        time.sleep(0.02)
    process.wait(timeout=60)


@pytest.mark.long
def test_two_stages_three_resets_and_a_kill(path: str, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    done = rlvr("train", path, f"out={whole}")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = steps_of(whole)
    assert [row["stage/number"] for row in rows] == [0, 0, 1, 1, 1, 2, 2]
    assert [row["reference/age"] for row in rows] == [0, 1, 0, 1, 2, 3, 0]
    # Warm-up over two steps, again after the optimizer's reset; half the rate in the last stage.
    assert [row["actor/lr"] for row in rows] == pytest.approx([5e-4, 1e-3, 5e-4, 1e-3, 1e-3, 5e-4, 5e-4])
    kl = [row["actor/ref_kl"] for row in rows]
    assert all((kl[n] < 1e-9) == (n in (0, 2, 6)) for n in range(7)), kl
    assert [
        row["response_length/max"] <= limit
        for row, limit in zip(rows, [8] * 2 + [12] * 3 + [16] * 2, strict=True)
    ]
    assert max(row["response_length/max"] for row in rows[5:]) > 12
    assert [set(sources_of(whole, step)) for step in range(1, 8)] == [{"sum"}] * 2 + [
        {"sum", "product"}
    ] * 3 + [{"product"}] * 2
    sums = [p for step in range(1, 6) for p in prompts_of(whole, step) if p[0] == "sum"]
    assert len(set(sums[:24])) == len(sums[:24])  # the mix changed, the order went on
    assert events_of(whole, "stage", "reference", "optimizer") == [
        ("stage", f"stage mixed begins after step 2: {describe(load(path).stages['mixed'])}"),
        ("reference", "reference reset after step 2: stage mixed"),
        ("optimizer", "optimizer reset after step 2: stage mixed"),
        ("stage", f"stage long begins after step 5: {describe(load(path).stages['long'])}"),
        ("reference", "reference reset after step 6: 4 steps since the last"),
    ]

    # Right where a stage has begun: its resets are part of the checkpoint, and are recorded once.
    kill_after(cut, 3, "train", path, f"out={cut}")
    assert (cut / "checkpoints" / "latest").read_text().strip() == "step_2"
    again = rlvr("train", str(cut))
    assert again.returncode == 0, again.stdout + again.stderr
    assert events_of(cut, "stage", "reference", "optimizer") == events_of(
        whole, "stage", "reference", "optimizer"
    )
    for got, wanted in zip(steps_of(cut), rows, strict=True):
        assert comparable(got) == pytest.approx(comparable(wanted), abs=1e-6, rel=1e-6, nan_ok=True)


def test_resets_of_reference_and_optimizer_under_every_zero_stage(tiny_path: Path, tmp_path: Path) -> None:
    results = run_entries("reset_entries.py", 1, tiny_path, tmp_path)
    assert set(results) == {"0", "1", "2", "3"}
    for found in results.values():
        start, first, second, after_reset, third = found["kl"]
        assert start == after_reset == 0.0  # exactly
        assert min(first, second, third) > 1e-3
        # Adam's first update moves every weight by lr; a later one in another direction by less.
        assert found["size"][0] == pytest.approx(1, abs=0.02)
        assert found["size"][1] < 0.6
        assert found["size"][2] == pytest.approx(1, abs=0.02)


def test_a_bench_that_stands_still_resets_the_reference_and_a_budget_ends_the_run(tmp_path: Path) -> None:
    """A policy that does not move gets the same score each time: best at step 0, stalled at 2, 4, ..."""
    path, out = tmp_path / "still.yaml", tmp_path / "run"
    path.write_text(EXACT + BENCH.replace("every: 1, keep: 1, best: chance/avg@2", "keep: 1"))
    done = rlvr(
        "train", str(path), f"out={out}", "trainer.lr=0", "trainer.steps=30", "trainer.response_tokens=1200",
        "algorithm/reference=reset", "algorithm.reference.every=null", "algorithm.reference.patience=2",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = steps_of(out)
    spent = [row["perf/total_response_tokens"] for row in rows]
    assert spent[-1] >= 1200 > spent[-2] and 4 < len(rows) < 30
    assert (out / "final" / "config.json").exists()
    resets = [message for _, message in events_of(out, "reference")]
    assert len(resets) == (len(rows) - 1) // 2  # none after the last step
    best = json.loads((out / "eval" / "step_0" / "chance.json").read_text())["summary"]["avg@2"]
    for n, message in enumerate(resets):
        cause = f"chance has not improved on {best:.4g} in 2 evaluations"
        assert message == f"reference reset after step {2 * n + 2}: {cause}"
    assert [row["reference/age"] for row in rows] == [n % 2 for n in range(len(rows))]
