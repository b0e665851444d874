"""Runs of a sweep on this machine: some beside each other, each launched by a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, TextIO

from rlvr_cli.core.errors import told
from rlvr_cli.core.stop_signals import taken
from rlvr_cli.launch import apart, rank
from rlvr_cli.sweep.plan import Planned, Sweep, look
from rlvr_cli.sweep.progress import Board, clock, progress, result
from rlvr_cli.sweep.shares import Variables

LOOK_S = 0.2


@dataclass(slots=True, kw_only=True)
class _Started:
    run: Planned
    place: int
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    mistake: Path
    """Where the launcher writes what the user has done wrong."""
    began: float


@dataclass(slots=True)
class Stop:
    """The first SIGINT or SIGTERM goes to every run, which then saves a checkpoint; the second ends them."""

    running: list[_Started] = field(default_factory=list)
    asked: bool = False

    def forward(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        for each in list(self.running):
            with suppress(ProcessLookupError):  # not send_signal: the main loop may be within a poll
                os.kill(each.process.pid, number)


def run_here(sweep: Sweep, places: list[Variables], terminal: TextIO) -> int:
    """Run what is not finished; returns the exit code: 1 where any failed, 130 when interrupted.

    A failure ends no other run.
    """
    waiting = [run for run in sweep.runs if run.entry.state not in ("finished", "running")]
    board, stop = Board(terminal, len(sweep.runs)), Stop()
    with taken(stop.forward):
        try:
            while stop.running or (waiting and not stop.asked):
                free = [n for n in range(len(places)) if n not in {each.place for each in stop.running}]
                while waiting and free and not stop.asked:
                    run, place = waiting.pop(0), free.pop(0)
                    board.say("start", f"{run.entry.name} ({sweep.runs.index(run) + 1} of {len(sweep.runs)})")
                    stop.running.append(_start(sweep, run, place, places[place]))
                    sweep.index.write(sweep.folder)
                for each in [each for each in stop.running if each.process.poll() is not None]:
                    stop.running.remove(each)
                    _ended(sweep, each, board)
                board.running([_line(each) for each in stop.running])
                time.sleep(LOOK_S)
        finally:
            for each in stop.running:  # an error of ours: nothing of it runs on
                each.process.kill()
    return _conclude(sweep, board, stop.asked)


def _start(sweep: Sweep, run: Planned, place: int, variables: Variables) -> _Started:
    log = open(sweep.log_of(run), "ab")  # noqa: SIM115 (closed when the run has ended)
    mistake = sweep.log_of(run).with_suffix(".mistake")
    mistake.unlink(missing_ok=True)
    words = [str(os.getpid()), str(sweep.recipe_of(run)), str(mistake)]
    run.entry.state, run.entry.cause = "running", None
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "rlvr_cli.launch.apart", *words],
        env=os.environ | apart.own_path() | variables,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,  # a Ctrl-C is forwarded; from the terminal it would come twice
    )
    return _Started(run=run, place=place, process=process, log=log, mistake=mistake, began=time.time())


def _line(started: _Started) -> str:
    run = started.run
    return f"{run.entry.name}  {progress(run.out, run.recipe.trainer.steps, time.time() - started.began)}"


def _ended(sweep: Sweep, started: _Started, board: Board) -> None:
    """Take down how a run has ended, and say it in a line."""
    started.log.close()
    run, entry = started.run, started.run.entry
    seconds, code = time.time() - started.began, started.process.returncode
    entry.seconds += seconds
    if code in (rank.OK, rank.STOPPED, rank.INTERRUPTED):
        entry.state = "stopped"
        look(run)
        board.say(entry.state, f"{entry.name}  {clock(seconds)}  {result(run.out)}")
    else:
        said = started.mistake.read_text() if started.mistake.is_file() else None
        entry.state, entry.cause = "failed", told(said or apart.cause_of(run.out, code, started.began))
        board.say("failed", f"{entry.name}  {entry.cause}")
    started.mistake.unlink(missing_ok=True)
    sweep.index.write(sweep.folder)


def _conclude(sweep: Sweep, board: Board, stopped: bool) -> int:
    counts: dict[str, int] = {}
    for run in sweep.runs:
        counts[run.entry.state] = counts.get(run.entry.state, 0) + 1
    said = ", ".join(f"{count} {state}" for state, count in counts.items())
    board.say("sweep", f"{len(sweep.runs)} runs: {said}; index: {sweep.folder / 'sweep.json'}")
    failed = [run for run in sweep.runs if run.entry.state == "failed"]
    for run in failed:
        board.say("failed", f"{run.entry.name}: {run.entry.cause}; log: {sweep.log_of(run)}")
    board.say("next", "the same command continues it" if stopped else following(sweep))
    return rank.INTERRUPTED if stopped else rank.FAILED if failed else rank.OK


def following(sweep: Sweep) -> str:
    """The command that looks at the runs, with their seeds taken together where there are some."""
    keys = list(sweep.runs[0].entry.values)
    others = [key for key in keys if key != "seed"]
    grouped = f" --group-by {','.join(others)}" if "seed" in keys and others else ""
    return f"rlvr report {sweep.folder}{grouped}"
