"""Commands and ranks forked from a process that has the libraries in memory already.

A run's command and each of its ranks import torch, DeepSpeed and vLLM for ten seconds and more, before a tiny
model is trained in two. A forked process begins there, with nothing else done: no process group, no engine,
no thread. What a test sees of it is what it sees of `python -m rlvr_cli`: output, exit code, signals, files.
That the processes also start from nothing is tested where that is the matter (tests/launch, tests/commands,
the README's commands, kills).

This is the tests' side; the process that is forked from is `warm_server.py`.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

SERVER = Path(__file__).with_name("warm_server.py")
READ_AT_IMPORT = (
    "CUDA_VISIBLE_DEVICES",
    "DS_ACCELERATOR",
    "HF_DATASETS_CACHE",
    "HF_DATASETS_OFFLINE",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "OMP_NUM_THREADS",
    "TORCHDYNAMO_DISABLE",
    "TRANSFORMERS_OFFLINE",
)
"""Variables that libraries read once: a command for which they differ is started from nothing."""


class Started:
    """A forked process, as `subprocess.Popen` would show it."""

    def __init__(self, pid: int, channel: socket.socket, words: list[str]) -> None:
        self.pid, self.args = pid, words
        self.returncode: int | None = None
        self._channel = channel

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._channel], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = int(self._channel.recv(100))
            self._channel.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Warm:
    """The process that is forked from; started at the first use, and gone with the tests' process.

    `known`: the address of one that a test's process has started.
    """

    def __init__(self, known: str | None = None) -> None:
        self._known = known
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._environment = dict(os.environ)  # as it is before the first test

    def suits(self) -> bool:
        """Whether a process with this one's variables may begin where the libraries are imported already."""
        return all(os.environ.get(name) == self._environment.get(name) for name in READ_AT_IMPORT)

    def run(self, kind: str, words: list[str], timeout: float) -> subprocess.CompletedProcess[str]:
        """As `subprocess.run` with text captured."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            process = self.start(kind, words, out.fileno(), err.fileno())
            try:
                code = process.wait(timeout)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(60)
                raise
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode())
        return subprocess.CompletedProcess(words, code, *texts)

    def start(self, kind: str, words: list[str], out: int = 1, err: int = 2, **variables: str) -> Started:
        """`kind`: command (of rlvr), script (a path and its words) or apart (rlvr_cli/launch/apart.py).
        `out`, `err`: files that take its output."""
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        channel.connect(self.address())
        environment = dict(os.environ) | variables
        request = {"kind": kind, "words": words, "environment": environment, "cwd": os.getcwd()}
        socket.send_fds(channel, [json.dumps(request).encode()], [out, err])
        return Started(int(channel.recv(100)), channel, words)

    def address(self) -> str:
        if self._known is not None:
            return self._known
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="warm")
            address = f"{self._folder.name}/socket"
            command = [sys.executable, str(SERVER), str(os.getpid()), address]
            with open(f"{self._folder.name}/log", "wb") as log:
                server = subprocess.Popen(
                    command, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            while not Path(address).exists():
                assert server.poll() is None, Path(f"{self._folder.name}/log").read_text()
                time.sleep(0.05)
        return f"{self._folder.name}/socket"


warm = Warm()
