"""The host's handle of one box: how it is started in each tier, and the control socket's other end."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from itertools import count
from pathlib import Path
from time import monotonic

from rlvr_cli.verifiers.sandbox.limits import Limits

START_S = 30.0
HERE = Path(__file__).parent
BASE = Path(sys.base_prefix)
UIDS = range(60578, 61184)
"""Left free by systemd's conventions: no user, no service."""
THREADS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""numpy's threads would keep the zygote from making namespaces."""
ENVIRONMENT = {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "LC_ALL": "C.UTF-8", "HOME": "/tmp", **THREADS}
FLAGS = ["-s", "-S", "-P", "-B"]
# Packages without their __init__: nothing of ours but this folder is needed, or in sight, in a box.
BOOTSTRAP = """
import sys, types
for name in ("rlvr_cli", "rlvr_cli.verifiers", "rlvr_cli.verifiers.sandbox"):
    sys.modules[name] = types.ModuleType(name)
sys.modules[name].__path__ = [sys.argv.pop(1)]
from rlvr_cli.verifiers.sandbox.box import main
main()
"""
_serial = count()


class SandboxError(Exception):
    """The sandbox failed, not the program: there is no verdict."""


class Box:
    """One box with its zygote, which runs one program at a time."""

    def __init__(self, tier: str, limits: Limits) -> None:
        self.tier, self.limits = tier, limits
        self.uid, self._claim = claimed_uid()
        self._packages = numpy_folders() if limits.numpy else []
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                self._command(theirs.fileno()),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
                cwd="/",
                env=ENVIRONMENT,
            )
        self.control.settimeout(START_S)
        try:
            ready = self.control.recv(4096)
        except TimeoutError:
            ready = b""
        if not ready:
            self.process.kill()
            said = self.process.communicate()[1].decode(errors="replace").strip().splitlines()
            self.stop()
            raise SandboxError(said[-1] if said else f"no answer (exit code {self.process.returncode})")
        assert self.process.stderr is not None
        self.process.stderr.close()

    def _command(self, control: int) -> list[str]:
        executable = str(Path(sys.executable).resolve())
        folders = ["/usr", *([] if BASE.is_relative_to("/usr") else [str(BASE)]), *self._packages]
        python = [executable, *FLAGS, "-c", BOOTSTRAP, str(HERE), self.tier, str(control), str(self.uid)]
        python += [str(os.getpid()), str(Path(self._packages[0]).parent) if self._packages else "", *folders]
        return [*bubblewrap(self.uid, folders), *python] if self.tier == "bwrap" else python

    def send(self, descriptors: list[int]) -> None:
        """Start a program."""
        settings = {**asdict(self.limits), "boxed": self.tier != "rlimit", "uid": self.uid}
        settings["readable"] = self._packages
        try:
            socket.send_fds(self.control, [json.dumps(settings).encode()], descriptors)
        except OSError as error:
            raise SandboxError(f"the box has died: {error}") from error

    def kill(self) -> None:
        """End the program, if it has not ended by itself."""
        with suppress(OSError):
            self.control.send(b"kill")

    def ended(self, deadline: float) -> int:
        """The exit code of the program: negative for a signal."""
        self.control.settimeout(max(0.01, deadline - monotonic()))
        try:
            said = json.loads(self.control.recv(4096) or b"{}")
        except (OSError, ValueError) as error:
            raise SandboxError(f"the box does not answer: {error}") from error
        if "code" not in said:
            raise SandboxError(f"no program could be started: {said.get('failed', 'the box has died')}")
        return said["code"]

    def stop(self) -> None:
        """The box and everything in it."""
        self.control.close()
        self.process.kill()
        self.process.wait()
        self._claim.close()


def claimed_uid() -> tuple[int, socket.socket]:
    """A uid that no other box on this machine has while the socket is open; its name is the claim.

    Limits on processes are counted by uid, and two boxes of one share them, as some must where there are
    more boxes than uids.
    """
    start = os.getpid() * 7 + next(_serial)
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    for place in range(len(UIDS)):
        uid = UIDS[(start + place) % len(UIDS)]
        with suppress(OSError):
            claim.bind(f"\0rlvr-sandbox-{uid}")
            return uid, claim
    return UIDS[start % len(UIDS)], claim


@cache
def numpy_folders() -> list[str]:
    """numpy's package and its libraries, as they are installed for this Python; empty where it is not."""
    found = importlib.util.find_spec("numpy")
    if found is None or found.origin is None:
        return []
    package = Path(found.origin).resolve().parent
    return [str(path) for path in (package, package.with_name("numpy.libs")) if path.is_dir()]


def bubblewrap(uid: int, folders: list[str]) -> list[str]:
    """bwrap's arguments. The zygote keeps its capabilities in the box; programs do not."""
    command = [shutil.which("bwrap") or "bwrap", "--unshare-pid", "--unshare-net", "--unshare-ipc"]
    command += ["--unshare-uts", "--as-pid-1", "--die-with-parent", "--cap-add", "ALL"]
    if os.geteuid() != 0:
        command += ["--unshare-user", "--uid", str(uid), "--gid", str(uid)]
    command += ["--tmpfs", "/tmp"]  # first: Python or this package may lie below it
    for folder in [*folders, str(HERE)]:
        for parent in [*reversed(Path(folder).parents)][1:]:  # bwrap would copy the mode of /root
            command += ["--dir", str(parent)]
        command += ["--ro-bind", folder, folder]
    command += ["--dir", "/etc", "--dir", "/dev"]  # made in passing they would be root's alone
    for path in map(Path, ("/bin", "/sbin", "/lib", "/lib32", "/lib64")):
        if path.is_symlink():
            command += ["--symlink", os.readlink(path), str(path)]
        elif path.exists():
            command += ["--ro-bind", str(path), str(path)]
    command += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    for name in ("null", "zero", "full", "random", "urandom"):
        command += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    return [*command, "--symlink", "/tmp", "/dev/shm", "--remount-ro", "/", "--chdir", "/"]
