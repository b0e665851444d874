"""One process at a time in a run directory, also where a machine is lost without a word."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import TextIO

from rlvr_cli.core.errors import UserError

NAME = ".lock"
"""Its text names the process that holds the directory, its time stamp is that one's last sign of life."""
BEAT_S = 60.0
"""Between two signs of life."""
QUIET_S = 180.0
"""Without a sign of life, after which a process of another machine counts as lost."""
LOOK_S = 1.0
SETTLE_S = 2.0
"""After a takeover, for another one of the same moment to show."""


@contextmanager
def lock(out: Path) -> Iterator[None]:
    """Hold `out` for this process; UserError: another one does.

    A process of another machine that shows no sign of life is waited for, then replaced. If it was only
    suspended, it finds out when it goes on, and ends.
    """
    made = not out.exists()
    with writable(out):
        out.mkdir(parents=True, exist_ok=True)
        file = _take(out / NAME)
    ended = Event()
    beats = Thread(target=_beat, args=(out / NAME, file, ended), name="lock", daemon=True)
    beats.start()
    with file:
        try:
            yield
        except UserError:  # nothing half-written: bad data, say, is only found once the tokenizer is loaded
            if made and not (out / "checkpoints").exists() and not has_content(out / "metrics.jsonl"):
                shutil.rmtree(out)
            raise
        finally:
            ended.set()
            beats.join()
            file.truncate(0)


@contextmanager
def writable(out: Path) -> Iterator[None]:
    """UserError where the block finds that `out` cannot be written."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"out={out} cannot be written: {error.strerror} ({error.filename or out}); set out= to another "
            "directory"
        ) from None


def has_content(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0


def _me() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _in_use(path: Path, owner: str) -> UserError:
    return UserError(f"{path.parent} is in use by {owner or 'another process'}; wait for it or set out=")


def _take(path: Path) -> TextIO:
    """The open lock file with this process's name in it."""
    file = open(path, "a+")  # noqa: SIM115 (the caller closes it)
    file.seek(0)
    owner = file.read().strip()
    elsewhere = owner != "" and not owner.endswith(f" on {socket.gethostname()}")
    free = _locked(file)
    # The kernel drops the lock of a dead process of this machine. A network file system may not know the
    # locks of other machines, or keep those of a lost one for ever: there only signs of life tell.
    if elsewhere:
        file.close()
        _watch(path, owner)
        return _replace(path)
    if not free:
        file.close()
        raise _in_use(path, owner)
    file.truncate(0)
    file.write(_me())
    file.flush()
    return file


def _locked(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _watch(path: Path, owner: str) -> None:
    """Return when `owner` has let go, or has given no sign of life for QUIET_S; UserError: it lives."""
    _, last = _read(path)
    if (quiet := _now(path.parent) - last) < QUIET_S:
        _say(f"{path.parent} is in use by {owner}; waiting up to {QUIET_S - quiet:.0f} s for a sign of life")
    while (quiet := _now(path.parent) - last) < QUIET_S:
        time.sleep(LOOK_S)
        text, beat = _read(path)
        if not text:
            return
        if (text, beat) != (owner, last):
            raise _in_use(path, text)
    _say(f"{owner} has given no sign of life for {quiet:,.0f} s: {path.parent} is taken over")


def _read(path: Path) -> tuple[str, float]:
    """Owner and last sign of life. Opened anew, as network file systems ask the server then."""
    try:
        with open(path) as file:
            return file.read().strip(), os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:  # somebody has removed it
        return "", 0.0


def _now(folder: Path) -> float:
    """The time by the clock that gives files their stamps: of machines, no two agree."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=f"{NAME}.") as probe:
        return os.fstat(probe.fileno()).st_mtime


def _replace(path: Path) -> TextIO:
    """A new lock file in the place of one whose owner is gone; what holds the old one holds nothing."""
    aside = path.with_name(f"{NAME}.{socket.gethostname()}.{os.getpid()}")
    file = open(aside, "w+")  # noqa: SIM115 (the caller closes it)
    assert _locked(file)
    file.write(_me())
    file.flush()
    os.replace(aside, path)
    time.sleep(SETTLE_S)
    owner, _ = _read(path)
    if owner != _me():
        file.close()
        raise _in_use(path, owner)
    return file


def _beat(path: Path, file: TextIO, ended: Event) -> None:
    """Give signs of life until `ended`; end this process, and so its ranks, where it has been replaced."""
    while not ended.wait(BEAT_S):
        with suppress(OSError):  # of a network file system: the next beat may be written
            os.utime(file.fileno())
        with suppress(OSError):
            owner, _ = _read(path)
            if owner not in ("", _me()):
                _say(f"{path.parent} was taken over by {owner}: this process gave no sign of life, and ends")
                os._exit(1)


def _say(line: str) -> None:
    print(f"rlvr: {line}", file=sys.stderr, flush=True)
