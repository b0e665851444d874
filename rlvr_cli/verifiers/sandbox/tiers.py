"""Which tiers work here: each is tried with a small program that reports what it can see and do."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from time import monotonic

from rlvr_cli.core.errors import UserError
from rlvr_cli.verifiers.sandbox import landlock
from rlvr_cli.verifiers.sandbox.box_process import Box, SandboxError
from rlvr_cli.verifiers.sandbox.limits import Isolation, Limits
from rlvr_cli.verifiers.sandbox.running import Program

TRIAL = """
import errno, json, os, sys
def refused(action):
    try:
        action()
    except OSError as error:
        return error.errno in (errno.EPERM, errno.EACCES, errno.EROFS, errno.ENOENT)
    return False
import socket
ours = sys.stdin.readline().strip()
try:
    import subprocess, encodings.idna
    library = True
except ImportError:
    library = False
print(json.dumps({
    "cannot read the standard library (a Python of root's own?)": not library,
    "runs as root": os.getuid() == 0 or os.geteuid() == 0,
    "can open a socket": not refused(socket.socket),
    "can start other programs": not refused(lambda: os.execv(sys.executable, [sys.executable, "-V"])),
    "sees other processes": os.getpid() != 1 or os.path.exists("/proc/1"),
    "sees the host's files": os.path.exists(ours),
    "can read the host's files": not refused(lambda: open(ours)),
    "can write to the system": not refused(lambda: open("/usr/rlvr", "w")),
    "has no place to write": refused(lambda: open("/tmp/rlvr", "w")),
}))
"""
UNBOXED = ("sees other processes", "sees the host's files", "has no place to write")
"""What rlimit does by nature; without Landlock also the next."""
READS = "can read the host's files"


@dataclass(frozen=True, kw_only=True)
class Tier:
    name: str
    available: bool
    detail: str
    """What it gives, or why it does not work."""


GIVES = {
    "bwrap": "no network, no files but a read-only Python, no other processes, private uid",
    "userns": "as bwrap, by our own system calls",
    "rlimit": "limits and a system call filter; only by name",
}


def trial(tier: str) -> str:
    """Empty if the tier does what it claims, else what is wrong."""
    if not sys.platform.startswith("linux"):
        return f"needs Linux, this is {sys.platform}"
    if tier == "bwrap" and shutil.which("bwrap") is None:
        return "bubblewrap is not installed (apt install bubblewrap, dnf install bubblewrap)"
    if tier == "rlimit" and not landlock.version() and os.geteuid() != 0:
        return "needs Landlock, or root: a program could write to this user's other processes"
    with tempfile.NamedTemporaryFile() as ours:
        os.chmod(ours.name, 0o644)  # so that not its mode is what keeps others out
        try:
            box = Box(tier, Limits())
            try:
                program = Program(box, {"mode": "script", "source": TRIAL}, ours.name.encode() + b"\n")
                outcome = program.finish(monotonic() + 10)
                program.close()
            finally:
                box.stop()
            seen: dict[str, bool] = json.loads(outcome.stdout)
        except (SandboxError, OSError, KeyError) as error:
            return f"{error}"
        except ValueError:
            return f"the trial program failed: {outcome.error or outcome.stopped or outcome.code}"
    natural = () if tier != "rlimit" else UNBOXED if landlock.version() else (*UNBOXED, READS)
    faults = [fault for fault, there in seen.items() if there and fault not in natural]
    return f"a trial program {', '.join(faults)}" if faults else ""


@cache
def attempt(tier: str) -> Tier:
    """The tier's state on this machine, tried once per process."""
    fault = trial(tier)
    return Tier(name=tier, available=not fault, detail=fault or f"{GIVES[tier]}; {second_line(tier)}")


def second_line(tier: str) -> str:
    """What Landlock adds here."""
    if found := landlock.version():
        return f"Landlock {found}" + (" hides what is in the user's files" if tier == "rlimit" else "")
    return "no Landlock in this kernel" + (": programs SEE what anybody may read" if tier == "rlimit" else "")


def probe() -> list[Tier]:
    """All tiers, strongest first."""
    return [attempt(tier) for tier in GIVES]


def choose(isolation: Isolation) -> str:
    """The tier to use; UserError where the one asked for, or for `auto` any that isolates, does not work."""
    wanted = ["bwrap", "userns"] if isolation is Isolation.auto else [isolation.value]
    for tier in wanted:
        if attempt(tier).available:
            return tier
    reasons = "; ".join(f"{tier}: {attempt(tier).detail}" for tier in wanted)
    raise UserError(
        f"isolation: {isolation.value} does not work on this machine ({reasons}); install bubblewrap and "
        "allow user namespaces, or accept the weaker isolation: rlimit"
    )
