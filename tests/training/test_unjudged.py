"""Runs whose verifier gives no verdicts: they end with the cause and a checkpoint, and go on from it."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from run_helpers import RECIPE, rlvr, steps_of

from rlvr_cli.schema import Verification
from rlvr_cli.verifiers.match import Match
from rlvr_cli.verifiers.server import serving

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


def test_a_run_whose_reward_server_is_down_waits_stops_and_goes_on_when_it_is_back(tmp_path: Path) -> None:
    """Samples without a verdict have none, which is no score of 0; the same command is the remedy."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path, out = tmp_path / "far.yaml", tmp_path / "run"
    path.write_text(RECIPE.replace("verifiers.chance: random", "verifiers.chance: remote"))
    far = (f"verifiers.chance.url=http://127.0.0.1:{port}", "verifiers.chance.retries=0")
    command = ("train", str(path), f"out={out}", "trainer.steps=2", *far, "verifiers.chance.wait_s=1")
    done = rlvr(*command)
    said = done.stdout + done.stderr
    assert done.returncode == 1 and "Traceback" not in done.stderr, said
    assert f"no sample of step 1 has a verdict: crash: no verdict from http://127.0.0.1:{port}" in said
    assert "(waited for 1 s)" in said and "not restarted: the run itself has given up" in said
    [waiting] = events_of(out, "waiting")
    assert waiting.endswith("waiting up to 1 s for it")
    assert (out / "checkpoints" / "step_0").is_dir() and not (out / "final").exists()
    [row] = steps_of(out)
    assert row["reward/crash_fraction"] == 1 and row["actor/updates"] == 0
    with serving({"match": Match()}, Verification(workers=1), port=port):
        again = rlvr(*command)
    assert again.returncode == 0, again.stdout + again.stderr
    assert [each["step"] for each in steps_of(out)] == [1, 2] and (out / "final").is_dir()
    assert all(each["reward/crash_fraction"] == 0 for each in steps_of(out))
