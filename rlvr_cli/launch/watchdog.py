"""Who has given no sign of life for too long, who waits for whom, and where they are in the code."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rlvr_cli.core.heartbeat import START, Beat, heart

DUMP = signal.SIGUSR2
"""A rank that gets it writes the stacks of all its threads to its log."""
START_FACTOR = 4
"""A rank that loads, compiles or downloads gives no sign of life; it may take so many times as long."""
DUMP_S = 3.0
"""Time for the stacks to be written."""
COLLECTIVES = ("torch/distributed/", "deepspeed/comm/")
"""Code in which a rank waits for the others."""


@dataclass(frozen=True, slots=True)
class Hang:
    """One rank that holds the run up, and where every rank is."""

    rank: int
    cause: str
    where: str
    """Place in the code: `collect.py:97 in verified`."""
    ranks: list[str]
    """A sentence on each rank."""


def late(beat: Beat, hang_s: float, now: float) -> bool:
    """Whether a rank has been silent for longer than it may."""
    return now - beat.time > hang_s * (START_FACTOR if beat.phase == START else 1)


def hung(beats: Mapping[int, Beat], hang_s: float, now: float) -> list[int]:
    """Ranks that hold the run up: silent for too long, and not because they wait for another one.

    All of them, when every rank is silent and waits.
    """
    silent = [number for number, beat in beats.items() if late(beat, hang_s, now)]
    guilty = [number for number in silent if not beats[number].waits]
    return guilty or (silent if len(silent) == len(beats) else [])


def examine(beats: Mapping[int, Beat], stacks: Mapping[int, list[str]], hang_s: float, now: float) -> Hang:
    """The verdict on a run that stands still; `stacks` are the ranks' main threads, innermost frame first.

    A rank inside a collective of DeepSpeed says nothing of it in its beats; its stack does.
    """
    suspects = hung(beats, hang_s, now)
    guilty = [number for number in suspects if not in_collective(stacks[number])] or suspects
    sentences = []
    for number, beat in beats.items():
        if number in guilty:
            state = f"no sign of life for {now - beat.time:,.0f} s"
        elif beat.waits or in_collective(stacks[number]):
            state = f"waits for the others in {beat.waits or 'a collective'}"
        else:
            state = "goes on"
        place = place_of(stacks[number])
        sentences.append(f"rank {number}: {state}; {activity(beat, now)}" + (f" ({place})" if place else ""))
    first = guilty[0]
    cause = f"no sign of life for {now - beats[first].time:,.0f} s in {phase(beats[first])}"
    return Hang(first, cause, place_of(stacks[first]) or phase(beats[first]), sentences)


def phase(beat: Beat) -> str:
    """`rollout of step 12`"""
    if beat.phase == START:
        return "the start"
    return f"{beat.phase or 'between phases'} of step {beat.done + 1}"


def activity(beat: Beat, now: float) -> str:
    """`verify of step 12 for 63 s, 8 verdicts missing`"""
    missing = f", {beat.missing} verdicts missing" if beat.missing else ""
    return f"{phase(beat)} for {now - beat.since:,.0f} s{missing}"


def in_collective(stack: list[str]) -> bool:
    """Whether the innermost frames wait in torch's or DeepSpeed's communication."""
    return any(code in frame for frame in stack[:3] for code in COLLECTIVES)


def place_of(stack: list[str]) -> str:
    """The innermost frame of ours, else the innermost: `collect.py:97 in verified`; empty: unknown."""
    package = str(Path(__file__).parents[1]) + os.sep
    ours = [
        frame
        for frame in stack
        if f'"{package}' in frame and f'"{Path(__file__).with_name("rank.py")}"' not in frame
    ]
    found = re.search(r'File "(.+)", line (\d+) in (\S+)', (ours or stack or [""])[0])
    return f"{Path(found[1]).name}:{found[2]} in {found[3]}" if found else ""


def main_stack(dump: str) -> list[str]:
    """Frames of the main thread in what faulthandler wrote, innermost first; empty: not found.

    Threads come youngest first, so it is the last one. (The one the signal reached is marked, not it.)
    """
    blocks = re.findall(r"^(?:Current thread|Thread) .*\n((?:  File .*\n)+)", dump, re.MULTILINE)
    return [line.strip() for line in blocks[-1].splitlines()] if blocks else []


def dump(logs: Mapping[int, Path], ask: Callable[[], None]) -> dict[int, list[str]]:
    """Have the ranks write their stacks (`ask` sends DUMP) and read the main threads' from their logs."""
    sizes = {number: log.stat().st_size if log.exists() else 0 for number, log in logs.items()}
    ask()
    end = time.monotonic() + DUMP_S
    before, dumps = None, dict.fromkeys(logs, "")
    while time.monotonic() < end and not (before == dumps and all(dumps.values())):  # not half of one
        before = dict(dumps)
        time.sleep(0.2)
        for number in [number for number, log in logs.items() if log.exists()]:
            with open(logs[number], "rb") as file:
                file.seek(sizes[number])
                dumps[number] = file.read().decode("utf-8", "replace")
    return {number: main_stack(text) for number, text in dumps.items()}


def watch_own_rank(hang_s: float, end: Callable[[str, str], None]) -> None:
    """For a rank without a launcher of ours: a thread that calls end(cause, phase) when it is silent.

    It cannot see the other ranks, so one that waits for them is left alone: the collective's own time
    limit, or the launcher, ends it when another rank has ended.
    """

    def look() -> None:
        while not hung({0: (beat := heart.read())}, hang_s, time.monotonic()) or beat.waits:
            time.sleep(min(1.0, hang_s / 4))
        end(f"no sign of life for {time.monotonic() - beat.time:,.0f} s in {phase(beat)}", phase(beat))

    heart.beat()
    threading.Thread(target=look, name="watchdog", daemon=True).start()
