"""Run the ranks to their end: watch them, and start them again from the newest checkpoint when one fails."""

from __future__ import annotations

import json
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlvr_cli.checkpoints import manifest
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.files import write_atomically
from rlvr_cli.launch import rank, watchdog
from rlvr_cli.launch.rank_processes import Ranks, Signals
from rlvr_cli.schema import Faults

PAUSE_S = 2.0
"""Before a restart: a moment for the memory of killed processes to be free, and for the user to step in."""
GRACE_S = 1.0
"""Longest wait for the reports of ranks that fail together."""
LOOK_S = 0.1
REWATCH_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an attempt ended before the run did."""

    rank: int
    cause: str
    kind: str
    """What it has in common with another failure of its kind: an exception's name, a signal's, `hang`."""
    where: str
    code: int
    """Exit code of the rank; negative: the signal that killed it."""
    time: float
    final: bool = False
    """The run itself has decided to end: starting again would end the same way."""
    details: list[str] = field(default_factory=list)


def supervise(out: Path, entry: str, count: int, faults: Faults) -> int:
    """Run `entry` on `count` ranks until it has ended, or has failed for good; returns the exit code.

    Raises UserError where a rank did.
    """
    signals = Signals()
    before: tuple[Failure, int] | None = None
    with signals.handled():
        for attempt in range(faults.max_restarts + 1):
            ended = run_once(out, entry, count, faults.hang_s, signals)
            if (code := exit_code(ended, signals)) is not None:
                return code
            assert ended is not None  # exit_code
            step = newest_checkpoint(out)
            why_not = reason_to_end(ended, step, before, bool(signals.received))
            if attempt == faults.max_restarts:
                why_not = why_not or f"faults.max_restarts is {attempt}"
            note(out, ended, step, None if why_not else attempt + 1)
            tell(out, ended)
            if why_not:
                say(f"not restarted: {why_not}")
                return rank.FAILED
            source = f"step {step}" if step else "the beginning"
            say(f"restart {attempt + 1} of {faults.max_restarts} from {source}")
            if not pause(signals):
                say(f"stopped; to continue: rlvr train {out}")
                return rank.INTERRUPTED
            before = ended, step
    raise AssertionError("the last attempt returns")


def run_to_end(out: Path, entry: str, count: int) -> int:
    """Run `entry` once, without a watchdog; returns the exit code. Raises UserError where a rank did."""
    signals = Signals()
    with signals.handled():
        ended = run_once(out, entry, count, None, signals)
    if (code := exit_code(ended, signals)) is not None:
        return code
    assert ended is not None  # exit_code
    tell(out, ended)
    return rank.FAILED


def exit_code(ended: Failure | None, signals: Signals) -> int | None:
    """Of an attempt that has ended or was asked to; None: it failed. Raises UserError where a rank did."""
    if ended is None:
        return rank.OK
    if ended.code == rank.STOPPED:
        return rank.STOPPED
    # Asked to end before the entry point had handlers of its own, a rank is ended by the signal.
    by_signal = -ended.code in (signal.SIGINT, signal.SIGTERM)
    if ended.code == rank.INTERRUPTED or (signals.received and by_signal):
        return rank.INTERRUPTED
    if ended.code == rank.USER_ERROR:
        raise UserError(ended.cause)
    return None


def run_once(out: Path, entry: str, count: int, hang_s: float | None, signals: Signals) -> Failure | None:
    """One attempt; None: every rank has returned. Nothing of it runs on when this returns."""
    ranks = Ranks(out, entry, count)
    try:
        signals.go_to(ranks)
        return wait(out, ranks, hang_s)
    finally:
        signals.go_to(None)
        ranks.kill()
        if sys.stdout.isatty():  # the live view of a killed rank 0 has hidden the cursor
            print("\x1b[?25h", end="", flush=True)


def wait(out: Path, ranks: Ranks, hang_s: float | None) -> Failure | None:
    """None when all ranks have returned; otherwise how one ended before, as soon as it failed."""
    looked = time.time()
    watched = time.monotonic()
    while True:
        codes = ranks.codes()
        if any(code not in (None, rank.OK, rank.STOPPED) for code in codes):
            let_report(ranks)
            return first_failure(out, ranks, codes, looked)
        if None not in codes:
            return first_failure(out, ranks, codes, looked) if rank.STOPPED in codes else None
        looked = time.time()
        if hang_s is not None and time.monotonic() - watched >= min(REWATCH_S, hang_s / 4):
            watched = time.monotonic()
            if found := find_hang(out, ranks, hang_s):
                return found
        time.sleep(LOOK_S)


def let_report(ranks: Ranks) -> None:
    """Return when every rank has ended, or has had its time to."""
    end = time.monotonic() + GRACE_S
    while None in ranks.codes() and time.monotonic() < end:
        time.sleep(LOOK_S)


def first_failure(out: Path, ranks: Ranks, codes: list[int | None], looked: float) -> Failure:
    """The cause among the failures of several ranks: the earliest is it, the others are its echo.

    `codes` are those of the moment the first one was seen, `looked` when all were last seen running: a rank
    that was killed left no report, and has ended right after it.
    """
    found = []
    for number, code in enumerate(codes):
        if report := rank.read_report(out, number):
            found.append(of_report(report))
        elif code:
            found.append(of_exit(number, code, ranks, looked))
    return min(found, key=lambda failure: (failure.code != rank.USER_ERROR, failure.time))


def of_report(report: rank.Report) -> Failure:
    return Failure(
        rank=report.rank,
        cause=report.cause,
        kind=report.cause.partition(":")[0],
        where=report.where,
        code=report.code,
        time=report.time,
        final=report.final,
    )


def of_exit(number: int, code: int, ranks: Ranks, looked: float) -> Failure:
    """A rank that ended without a report: by a signal, or by leaving Python at once."""
    where = watchdog.phase(ranks.hearts[number].read())
    kind = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    cause = f"killed by {kind}" if code < 0 else f"ended with {kind}"
    cause += " (out of memory?)" if code == -signal.SIGKILL else ""
    return Failure(rank=number, cause=cause, kind=kind, where=where, code=code, time=looked)


def find_hang(out: Path, ranks: Ranks, hang_s: float) -> Failure | None:
    """The hang there is, with the stacks of all ranks in their logs; None: somebody is at work."""
    running = [number for number, code in enumerate(ranks.codes()) if code is None]
    beats = {number: ranks.hearts[number].read() for number in running}
    if not watchdog.hung(beats, hang_s, now := time.monotonic()):
        return None
    logs = {number: rank.log_path(out, number) for number in running}
    stacks = watchdog.dump(logs, lambda: ranks.send(watchdog.DUMP))
    found = watchdog.examine(beats, stacks, hang_s, now)
    return Failure(
        rank=found.rank,
        cause=found.cause,
        kind="hang",
        where=found.where,
        code=-signal.SIGKILL,
        time=time.time(),
        details=found.ranks,
    )


def reason_to_end(failure: Failure, step: int, before: tuple[Failure, int] | None, asked: bool) -> str | None:
    """Why another attempt would be no use; None: it may help."""
    if asked:
        return "it failed while it was being stopped"
    if failure.final:
        return "the run itself has given up"
    if before is None or step > before[1]:
        return None
    same = (failure.kind, failure.where) == (before[0].kind, before[0].where)
    return "the same failure has come twice with no checkpoint in between" if same else None


def newest_checkpoint(out: Path) -> int:
    """Step of the newest checkpoint there seems to be, also of one a rank died over; 0: none."""
    manifest.recover(out / "checkpoints")
    return next(iter(manifest.steps(out / "checkpoints")), 0)


def tell(out: Path, failure: Failure) -> None:
    """The cause first, the log second."""
    said = [f"failed: {failure.cause} ({failure.where}, rank {failure.rank})", *failure.details]
    for line in [*said, f"log: {rank.log_path(out, failure.rank)}"]:
        say(line)


def say(line: str) -> None:
    print(f"rlvr: {line}", file=sys.stderr, flush=True)


def note(out: Path, failure: Failure, step: int, restart: int | None) -> None:
    """Add the failure to `restarts.jsonl`; a full disk is no reason to give up."""
    row: dict[str, Any] = {
        "time": round(failure.time, 3),
        "rank": failure.rank,
        "cause": failure.cause,
        "where": failure.where,
        "code": failure.code,
        "checkpoint": step,
        "restart": restart,
    } | ({"ranks": failure.details} if failure.details else {})
    path = out / "restarts.jsonl"
    try:
        written = path.read_text(encoding="utf-8") if path.is_file() else ""
        write_atomically(path, written + json.dumps(row, ensure_ascii=False) + "\n")
    except OSError as error:
        say(f"{path} could not be written: {error}")


def pause(signals: Signals) -> bool:
    """Whether to go on after it: nobody has asked to stop."""
    end = time.monotonic() + PAUSE_S
    while not signals.received and time.monotonic() < end:
        time.sleep(LOOK_S)
    return not signals.received
