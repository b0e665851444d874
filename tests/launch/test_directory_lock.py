"""Who may work in a run directory, where machines are lost, suspended and come back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Timer

import pytest

from rlvr_cli.core.errors import UserError
from rlvr_cli.launch import directory_lock
from rlvr_cli.launch.directory_lock import NAME, lock

HOLDER = Path(__file__).parents[1] / "support" / "lock_holder.py"
QUIET_S = 2.0
"""Where processes live side by side: a busy machine may hold up a beat of theirs."""
ME = f"process {os.getpid()} on {os.uname().nodename}"


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run directory; what takes minutes takes a moment."""
    for name, seconds in {"BEAT_S": 0.1, "QUIET_S": 0.6, "LOOK_S": 0.05, "SETTLE_S": 0.05}.items():
        monkeypatch.setattr(directory_lock, name, seconds)
    return tmp_path / "run"


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def holder(started: list[subprocess.Popen[str]], out: Path, host: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    command = [sys.executable, str(HOLDER), str(out), host, f"{QUIET_S}"]
    started.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True))
    return started[-1]


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_one_process_at_a_time(out: Path) -> None:
    with lock(out), pytest.raises(UserError, match=f"run is in use by {ME}; wait for it"), lock(out):
        pass
    assert (out / NAME).read_text() == ""
    with lock(out):  # released
        assert (out / NAME).read_text() == ME


def test_nothing_is_left_of_a_refused_start(tmp_path: Path) -> None:
    with pytest.raises(UserError), lock(tmp_path / "run"):
        raise UserError
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError), lock(tmp_path / "run"):  # a mistake found late keeps what was measured
        (tmp_path / "run" / "metrics.jsonl").write_text("{}")
        raise UserError
    assert (tmp_path / "run" / "metrics.jsonl").exists()


def test_a_killed_process_of_this_machine_holds_nothing(out: Path) -> None:
    out.mkdir()
    (out / NAME).write_text(f"process 1 on {os.uname().nodename}")
    with lock(out):
        assert (out / NAME).read_text() == ME


@pytest.mark.parametrize("age", [1000.0, 0.0], ids=["long lost", "lost a moment ago"])
def test_a_lost_machine_is_replaced(age: float, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At once where its last sign of life is old, else after a wait; nothing is left of the takeover."""
    out.mkdir()
    (out / NAME).write_text("process 7 on lost")
    os.utime(out / NAME, (time.time() - age,) * 2)
    began = time.monotonic()
    with lock(out):
        assert (out / NAME).read_text() == ME
        stamp = (out / NAME).stat().st_mtime_ns
        time.sleep(0.3)
        assert (out / NAME).stat().st_mtime_ns > stamp  # it lives
    assert os.listdir(out) == [NAME]
    text = capsys.readouterr().err
    assert "process 7 on lost has given no sign of life for" in text
    if age == 0:
        assert time.monotonic() - began > 0.9 and "waiting up to 1 s for a sign of life" in text
    else:
        assert "waiting" not in text


@pytest.mark.slow
def test_a_machine_that_lives_is_left_alone_and_one_that_was_suspended_gives_way(
    out: Path, started: list[subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never do two hold the directory: the one that comes back finds that it was replaced, and ends."""
    monkeypatch.setattr(directory_lock, "QUIET_S", QUIET_S)
    other = holder(started, out, "node1")
    assert said(other) == "held"
    with pytest.raises(UserError, match=f"in use by process {other.pid} on node1; wait for it"), lock(out):
        pass
    os.kill(other.pid, signal.SIGSTOP)
    with lock(out):
        os.kill(other.pid, signal.SIGCONT)
        assert other.wait(10) == 1
        assert other.stderr is not None
        assert f"was taken over by {ME}: this process gave no sign of life, and ends" in other.stderr.read()
        assert (out / NAME).read_text() == ME


@pytest.mark.slow
def test_one_of_two_takes_over(out: Path, started: list[subprocess.Popen[str]]) -> None:
    out.mkdir()
    (out / NAME).write_text("process 7 on lost")
    both = [holder(started, out, host) for host in ("node1", "node2")]
    lines = sorted(said(process) for process in both)
    assert lines[0] == "held" or lines[1] == "held"
    assert sum(line == "held" for line in lines) == 1, lines
    assert any("is in use by process" in line for line in lines)


def test_a_directory_that_is_let_go_while_it_is_watched_is_free(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out.mkdir()
    (out / NAME).write_text("process 7 on node1")
    monkeypatch.setattr(directory_lock, "QUIET_S", 60.0)
    Timer(0.2, (out / NAME).write_text, [""]).start()
    with lock(out):
        assert (out / NAME).read_text() == ME
