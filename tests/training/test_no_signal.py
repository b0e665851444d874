"""Steps that no group is left to train on, by the filter or by the token mask."""

import json
from pathlib import Path

import pytest
from run_helpers import RECIPE, rlvr, steps_of

pytestmark = pytest.mark.slow


def test_no_kept_group_is_said_with_the_rate_seen_and_ends_the_run_in_time(tmp_path: Path) -> None:
    path, out = tmp_path / "always.yaml", tmp_path / "run"
    path.write_text(RECIPE.replace("verifiers.chance: random", "verifiers.chance: always"))
    done = rlvr(
        "train",
        str(path),
        f"out={out}",
        "trainer.steps=9",
        "algorithm/filter=zero_signal",
        "rollout.max_rounds=2",
    )
    assert done.returncode == 1
    # Six prompts are wanted, and two rounds of six sampled.
    assert (
        "3 steps in a row had no group with a signal (the last: 0 of 12 groups)" in done.stdout + done.stderr
    )
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    warned = [e["message"] for e in events if e["kind"] == "warning"]
    assert warned == [
        f"step {n}: 0 of 12 groups sampled passed the filter, 6 are wanted; no update" for n in (1, 2, 3)
    ]
    [error] = [e["message"] for e in events if e["kind"] == "error"]
    assert error.startswith("NoSignal: 3 steps in a row")
    assert [row["group/kept_fraction"] for row in steps_of(out)] == [0, 0, 0]
    assert "Traceback" not in done.stderr


def test_a_step_whose_responses_are_all_truncated_and_dropped_makes_no_update(tmp_path: Path) -> None:
    path, out = tmp_path / "cut.yaml", tmp_path / "run"
    path.write_text(RECIPE)
    done = rlvr(
        "train",
        str(path),
        f"out={out}",
        "trainer.steps=2",
        "rollout.max_tokens=1",
        "algorithm.token_weights.drop_truncated=true",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    cut = [row for row in steps_of(out) if row["response_length/truncated_fraction"] == 1]
    assert cut
    for row in cut:
        assert row["actor/updates"] == 0 and row["actor/trained_token_fraction"] == 0
