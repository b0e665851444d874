"""A sweep that is interrupted, killed, goes on, and has a run that fails."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
from run_helpers import SFT_RECIPE, rlvr, started, steps_of

from rlvr_cli.commands.main import main

pytestmark = pytest.mark.slow
STEPS = "trainer.steps=60"


def entries(folder: Path) -> dict[str, dict[str, object]]:
    return {row["name"]: row for row in json.loads((folder / "sweep.json").read_text())["runs"]}


def stopped_after(rows: int, file: Path, said: Path, words: list[str]) -> int:
    """Exit code of a sweep that gets a SIGINT once `file` has so many lines; `said` takes its output."""
    with said.open("wb") as output:
        process = started(output.fileno(), output.fileno(), *words)
        end = time.monotonic() + 120
        while not file.is_file() or file.read_bytes().count(b"\n") < rows:
            assert process.poll() is None and time.monotonic() < end, said.read_text()
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGINT)
        return process.wait(timeout=120)


def test_a_sweep_goes_on_where_it_was_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.yaml").write_text(SFT_RECIPE)
    folder = tmp_path / "sweep"
    words = ["sweep", str(tmp_path / "mine.yaml"), "trainer.lr=1e-3,2e-3", STEPS, f"out={folder}"]
    code = stopped_after(5, folder / "lr1e-3" / "metrics.jsonl", tmp_path / "said", words)
    said = (tmp_path / "said").read_text()
    assert code == 130 and "the same command continues it" in said, said
    states = {name: row["state"] for name, row in entries(folder).items()}
    assert states == {"lr1e-3": "stopped", "lr2e-3": "not begun"}
    assert main([*words, "--dry-run"]) == 0
    listed = capsys.readouterr().out
    assert "lr1e-3  stopped " in listed and "lr2e-3  not begun" in listed
    assert main([*words, "batch.examples_per_step=4"]) == 2
    assert (
        "lr1e-3 holds a run with another recipe: batch.examples_per_step (8 -> 4)" in capsys.readouterr().err
    )

    # The second run cannot start: its place is taken by a file. The first one is finished nevertheless.
    (folder / "lr2e-3").write_text("in the way\n")
    again = rlvr(*words)
    assert again.returncode == 1, again.stdout + again.stderr
    assert [row["step"] for row in steps_of(folder / "lr1e-3")] == list(
        range(1, 61)
    )  # no step twice, none lost
    states = {name: row["state"] for name, row in entries(folder).items()}
    assert states == {"lr1e-3": "finished", "lr2e-3": "failed"}
    lines = [line for line in again.stdout.splitlines() if line.split()[1] != "running"]  # one a minute
    assert [line.split()[1] for line in lines] == [
        "start",
        "finished",
        "start",
        "failed",
        "sweep",
        "failed",
        "next",
    ]
    assert "loss" in lines[1] and "1 finished, 1 failed" in lines[4] and "lr2e-3.log" in lines[5]

    (folder / "lr2e-3").unlink()
    last = rlvr(*words)
    assert last.returncode == 0 and "tried again, as they failed before: lr2e-3" in last.stderr
    assert [line.split()[1] for line in last.stdout.splitlines()] == ["start", "finished", "sweep", "next"]
    assert main(words) == 0 and "nothing to start: finished" in capsys.readouterr().err
    assert main(["report", str(folder), "--table", str(tmp_path / "t.csv")]) == 0
    assert (folder / "report.html").is_file()
    assert (tmp_path / "t.csv").read_text().count("\n") == 3
