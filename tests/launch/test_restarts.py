"""Ranks that fail and are started again, ranks that hang, and what is said and recorded of it."""

from __future__ import annotations

import json
import mmap
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from kills import kill
from run_helpers import RECIPE

from rlvr_cli import compose
from rlvr_cli.core.heartbeat import Heart, heart, shared_memory
from rlvr_cli.launch import rank, start, supervise, watchdog
from rlvr_cli.schema import ConsoleMode, Recipe, WandbMode
from rlvr_cli.schema import Tracker as Settings
from rlvr_cli.tracking import Timer, Tracker

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_environment")]
MODULE = "tests.support.launch_entries"


def make(out: Path, *overrides: str) -> Recipe:
    recipe = compose.load("smoke", [f"out={out}", "trainer.ranks=2", *overrides])
    assert isinstance(recipe, Recipe)
    return recipe


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "PAUSE_S", 0.1)


def failures(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "restarts.jsonl").read_text().splitlines()]


# --- restarts -------------------------------------------------------------------------------


def test_all_ranks_start_again_until_the_run_is_through(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert start.launch(make(out, "faults.max_restarts=3"), f"{MODULE}:climbing") == 0
    shown, said = capfd.readouterr()
    assert shown.splitlines() == [f"attempt {number}" for number in (1, 2, 3, 4)]
    cause = "killed by SIGKILL (out of memory?) (rollout of step 8, rank 1)"
    assert said.splitlines()[1:4] == [
        f"rlvr: failed: {cause}",
        f"rlvr: log: {out}/logs/rank1.log",
        "rlvr: restart 1 of 3 from step 1",
    ]
    rows = failures(out)
    assert [(row["restart"], row["checkpoint"]) for row in rows] == [(1, 1), (2, 2), (3, 3)]
    assert all((row["rank"], row["code"], row["where"]) == (1, -9, "rollout of step 8") for row in rows)
    ports = [(out / f"notes{number}").read_text().split() for number in (0, 1)]
    assert ports[0] == ports[1] and len(set(ports[0]) - {"port"}) == 4


def test_restarts_are_limited(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    recipe = make(out, "trainer.ranks=1", "faults.max_restarts=2")
    assert start.launch(recipe, f"{MODULE}:unlucky") == 1
    said = capfd.readouterr().err.splitlines()
    assert said[-3].startswith("rlvr: failed: MemoryError: of chance (launch_entries.py:")
    assert said[-1] == "rlvr: not restarted: faults.max_restarts is 2"
    assert [row["restart"] for row in failures(out)] == [1, 2, None]
    assert len((out / "notes0").read_text().splitlines()) == 3


def test_a_run_that_has_given_up_is_left_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert start.launch(make(out, "trainer.ranks=1"), f"{MODULE}:hopeless") == 1
    assert capfd.readouterr().err.endswith("rlvr: not restarted: the run itself has given up\n")
    assert [row["cause"] for row in failures(out)] == ["Hopeless: all is lost"]


def test_ctrl_c_between_two_attempts_ends_the_run(tmp_path: Path) -> None:
    out = tmp_path / "run"
    code = (
        "import sys; from rlvr_cli import compose; from rlvr_cli.launch import start;"
        f"r = compose.load('smoke', ['out={out}']); sys.exit(start.launch(r, '{MODULE}:unlucky'))"
    )
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while not process.stderr.readline().startswith("rlvr: restart 1 of 3"):
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == rank.INTERRUPTED
    assert process.stderr.read() == f"rlvr: stopped; to continue: rlvr train {out}\n"
    assert len((out / "notes0").read_text().splitlines()) == 1


def test_failures_are_events_that_no_rewinding_loses(tmp_path: Path) -> None:
    rows = [
        {"time": 1.5 * n, "rank": 1, "cause": "ValueError: x", "where": "a.py:1 in f", "code": 1}
        | {"checkpoint": 4, "restart": n}
        for n in (1, 2)
    ]

    def resumed(step: int | None, count: int) -> list[tuple[int, float]]:
        text = "".join(json.dumps(row) + "\n" for row in rows[:count])
        (tmp_path / "restarts.jsonl").write_text(text)
        settings = Settings(console=ConsoleMode.plain, wandb=WandbMode.disabled)
        with open(os.devnull, "w") as terminal:
            tracker = Tracker(
                settings, tmp_path, terminal=terminal, total_steps=9, run_name="r", recipe={}, kind="rl"
            )
            tracker.resume_at(step)
            tracker.close("finished")
        events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
        return [(row["step"], row["failed"]) for row in events if row["kind"] == "restart"]

    assert resumed(4, 1) == [(4, 1.5)]
    assert resumed(4, 2) == [(4, 1.5), (4, 3.0)]
    assert resumed(2, 2) == [(2, 1.5), (2, 3.0)]  # the checkpoint of step 4 was damaged
    assert resumed(None, 2) == [(0, 1.5), (0, 3.0)]


# --- the watchdog -----------------------------------------------------------------------------


def test_a_heart_is_read_from_another_process() -> None:
    memory = shared_memory()
    theirs = Heart(memory)
    before = time.monotonic()
    code = (
        "from rlvr_cli.core.heartbeat import heart\n"
        f"heart.attach({memory}); heart.step(3); heart.enter('verify'); heart.verdicts(8)\n"
        "with heart.waiting('gather'): pass"
    )
    subprocess.run([sys.executable, "-c", code], pass_fds=[memory], check=True)
    beat = theirs.read()
    assert (beat.done, beat.phase, beat.missing, beat.waits) == (3, "verify", 8, "")
    assert before < beat.since <= beat.time < time.monotonic()
    assert watchdog.activity(beat, beat.since + 63) == "verify of step 4 for 63 s, 8 verdicts missing"


@pytest.mark.parametrize("act", ["beat()", "verdicts(8)"])
def test_a_sign_of_life_in_the_making_is_never_none(act: str) -> None:
    """`struct.pack_into` writes zeros first: a rank that loses its core there looked dead since the machine's
    start, and a run of 2,000 steps was ended for it."""
    memory = shared_memory()
    mapped = mmap.mmap(memory, mmap.PAGESIZE)
    code = (
        "import time; from rlvr_cli.core.heartbeat import heart\n"
        f"heart.attach({memory}); end = time.monotonic() + 1\n"
        f"while time.monotonic() < end: [heart.{act} for _ in range(1000)]"
    )
    child = subprocess.Popen([sys.executable, "-c", code], pass_fds=[memory])
    while not any(mapped[:8]):
        time.sleep(0.01)
    seen = set()
    while child.poll() is None:
        seen |= {mapped[:8] for _ in range(1000)}
    assert len(seen) > 10 and b"\0" * 8 not in seen
    os.close(memory)


def test_a_timer_tells_the_heart_its_phase() -> None:
    timer = Timer()
    with timer("eval"):
        with timer("rollout"):
            assert heart.read().phase == "rollout"
        assert heart.read().phase == "eval"
    assert heart.read().phase == ""


WATCHED: dict[str, tuple[list[str], dict[str, str]]] = {
    "asleep": (["hung", "trainer.ranks=2", "faults.hang_s=3", "faults.max_restarts=0", "seed=0"], {}),
    "stopped": (["hung", "trainer.ranks=2", "faults.hang_s=3", "faults.max_restarts=0", "seed=1"], {}),
    "slow": (["slow", "trainer.ranks=2", "faults.hang_s=3"], {}),
    "joined": (
        ["hung", "faults.hang_s=1.5"],
        {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
        | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"},
    ),
}
"""Entry point and overrides, and the variables of a launcher of others."""
LAUNCH = (
    "import sys; from rlvr_cli import compose; from rlvr_cli.launch import start;"
    f"sys.exit(start.launch(compose.load('smoke', sys.argv[2:]), '{MODULE}:' + sys.argv[1]))"
)


@dataclass
class Launched:
    out: Path
    code: int
    shown: str
    said: str


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Launched]:
    """All at once: they wait far more than they compute."""
    folder, root = tmp_path_factory.mktemp("watched"), str(Path(__file__).parents[2])
    processes = {}
    for name, ([entry, *overrides], joined) in WATCHED.items():
        words = [sys.executable, "-c", LAUNCH, entry, f"out={folder / name}", *overrides]
        with (folder / f"{name}.out").open("wb") as out, (folder / f"{name}.err").open("wb") as err:
            variables = os.environ | joined | {"PYTHONPATH": root}
            processes[name] = subprocess.Popen(words, env=variables, stdout=out, stderr=err)
    codes = {name: process.wait(120) for name, process in processes.items()}
    return {
        name: Launched(
            folder / name, code, *((folder / f"{name}.{end}").read_text() for end in ("out", "err"))
        )
        for name, code in codes.items()
    }


@pytest.mark.parametrize("name", ["asleep", "stopped"])
def test_a_hung_rank_is_found_named_and_ended(name: str, watched: dict[str, Launched]) -> None:
    """Asleep in Python, or so far gone that it does not even write its stack."""
    run, stopped = watched[name], name == "stopped"
    assert run.code == 1
    cause, first, second = run.said.splitlines()[1:4]
    place = "rollout of step 12" if stopped else "launch_entries.py:"
    assert cause.startswith("rlvr: failed: no sign of life for ") and place in cause
    assert " s in rollout of step 12 (" in cause and cause.endswith("rank 1)")
    assert first.startswith("rlvr: rank 0: waits for the others in gather; rollout of step 12 for ")
    assert second.startswith("rlvr: rank 1: no sign of life for ")
    for number in (0, 1):
        text = (run.out / "logs" / f"rank{number}.log").read_text()
        assert ("in hung" in text) == (number == 0 or not stopped)
    (row,) = failures(run.out)
    assert row["rank"] == 1 and len(row["ranks"]) == 2


def test_a_slow_rank_is_left_alone(watched: dict[str, Launched]) -> None:
    run = watched["slow"]
    assert run.code == 0 and not (run.out / "restarts.jsonl").exists()


def test_a_joined_rank_watches_itself(watched: dict[str, Launched]) -> None:
    run = watched["joined"]
    assert run.code == 1
    assert "rlvr: failed: no sign of life for " in run.shown and "rollout of step 12" in run.shown
    assert "in hung" in (run.out / "logs" / "rank0.log").read_text()


# --- a whole run --------------------------------------------------------------------------------


def kill_in_rollout(process: subprocess.Popen[bytes], done: int) -> None:
    """SIGKILL to rank 1 in the middle of the rollout of the first step after `done` finished ones."""
    end = time.monotonic() + 300
    while time.monotonic() < end:
        assert process.poll() is None, "the run has ended before"
        try:
            [_, (number, theirs)] = kill.hearts(process).items()
        except (psutil.Error, OSError, ValueError):  # they come and go
            continue
        while psutil.pid_exists(number) and (now := theirs.read()).done >= done and now.phase == "rollout":
            if time.monotonic() - now.since > 0.02:
                psutil.Process(number).kill()
                while psutil.pid_exists(number):  # or the next call would see it as it was, and kill it again
                    time.sleep(0.002)
                return
        time.sleep(0.002)
    raise AssertionError("no rollout was seen")


KILLS = [2, 5]


@pytest.mark.long
@pytest.mark.parametrize("kills", KILLS)
def test_a_run_whose_ranks_are_killed_comes_to_its_end_unattended(kills: int, tmp_path: Path) -> None:
    recipe = tmp_path / "exact.yaml"
    recipe.write_text(RECIPE)
    overrides = [
        "trainer.ranks=2",
        "trainer.zero_stage=2",
        f"trainer.steps={kills + 2}",
        "checkpoint.every=1",
    ]
    overrides += [f"faults.max_restarts={kills}", "rollout.max_tokens=32"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    kill.finish(kill.start(recipe, whole, overrides), whole)
    process = kill.start(recipe, killed, overrides)
    for done in range(1, kills + 1):
        kill_in_rollout(process, done)
    kill.finish(process, killed)
    assert kill.differences(whole, killed) == []
    rows = failures(killed)
    assert [row["restart"] for row in rows] == list(range(1, kills + 1))
    assert all(row["rank"] == 1 and row["code"] == -9 and "rollout" in row["where"] for row in rows)
    events = [json.loads(line) for line in (killed / "events.jsonl").read_text().splitlines()]
    told = [row for row in events if row["kind"] == "restart"]
    assert [row["failed"] for row in told] == [row["time"] for row in rows]
