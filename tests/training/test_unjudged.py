"""Runs whose verifier gives no verdicts: they end with the cause and a checkpoint, and go on from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from run_helpers import RECIPE, rlvr, steps_of

pytestmark = pytest.mark.slow
DEAD = "http://127.0.0.1:9/v1"
JUDGE = f"verifiers.chance.base_url={DEAD} verifiers.chance.model=m verifiers.chance.retries=0".split()


def events_of(out: Path, kind: str) -> list[str]:
    rows: list[dict[str, Any]] = [
        json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()
    ]
    return [row["message"] for row in rows if row["kind"] == kind]


def test_training_with_a_judge_that_is_down_ends_at_its_first_step(tmp_path: Path) -> None:
    path, out = tmp_path / "judged.yaml", tmp_path / "run"
    path.write_text(RECIPE.replace("verifiers.chance: random", "verifiers.chance: judge"))
    wait = "verifiers.chance.wait_s=2"
    done = rlvr("train", str(path), f"out={out}", "trainer.steps=3", *JUDGE, wait)
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert (
        "no sample of step 1 has a verdict: crash: the judge at http://127.0.0.1:9/v1: ConnectError" in said
    )
    assert "Connection refused (waited for 2 s)" in said and "Traceback" not in done.stderr
    assert "not restarted: the run itself has given up" in said
    [waiting] = events_of(out, "waiting")
    assert waiting.endswith("waiting up to 2 s for it")
    assert not (out / "final").exists() and (out / "checkpoints" / "step_0").is_dir()
    [row] = steps_of(out)
    assert row["reward/crash_fraction"] == 1 and row["actor/updates"] == 0
    rows = [
        json.loads(line) for line in (out / "rollouts" / "step_000001.rank0.jsonl").read_text().splitlines()
    ]
    assert {(each["correct"], each["score"]) for each in rows} == {(None, None)}
    path.write_text(RECIPE)  # the same run with a verifier that works
    again = rlvr("train", str(path), f"out={out}", "trainer.steps=3", "resume=changed")
    assert again.returncode == 0, again.stdout + again.stderr
    assert [each["step"] for each in steps_of(out)] == [1, 2, 3] and (out / "final").is_dir()
    ended = (out / "events.jsonl").read_bytes()
    done = rlvr("train", str(path), f"out={out}", "trainer.steps=3")
    assert done.returncode == 0 and "is finished (3 steps)" in done.stderr
    assert (out / "events.jsonl").read_bytes() == ended, "nothing is loaded and nothing written"
