"""Commands and ranks forked from a process that has the libraries in memory already.

A run's command and each of its ranks import torch, DeepSpeed and vLLM for ten seconds and more, before a tiny
model is trained in two. A forked process begins there, with nothing else done: no process group, no engine,
no thread. What a test sees of it is what it sees of `python -m rlvr_cli`: output, exit code, signals, files.
That the processes also start from nothing is tested where that is the matter (tests/launch, tests/commands,
the README's commands, kills).

    python warm.py PARENT ADDRESS: serves requests until its parent ends
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import random
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

IMPORTED = (
    "deepspeed",
    "hydra",
    "rlvr_cli.commands.main",
    "rlvr_cli.commands.start_recipe",
    "rlvr_cli.evaluation.evaluate",
    "rlvr_cli.launch.rank",
    "rlvr_cli.launch.start",
    "rlvr_cli.rollout.hf",
    "rlvr_cli.rollout.vllm",
    "rlvr_cli.training.loop",
    "rlvr_cli.training.sft",
    "transformers.models.qwen2.modeling_qwen2",
)
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
WIDEST = 1 << 20


# --- in the tests' process ----------------------------------------------------------------------------------


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
    """The process that is forked from; started at the first use, and gone with the tests' process."""

    def __init__(self) -> None:
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
        channel.connect(self._address())
        environment = dict(os.environ) | variables
        request = {"kind": kind, "words": words, "environment": environment, "cwd": os.getcwd()}
        socket.send_fds(channel, [json.dumps(request).encode()], [out, err])
        return Started(int(channel.recv(100)), channel, words)

    def _address(self) -> str:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="warm")
            address = f"{self._folder.name}/socket"
            command = [sys.executable, __file__, str(os.getpid()), address]
            with open(f"{self._folder.name}/log", "wb") as log:
                server = subprocess.Popen(
                    command, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            while not Path(address).exists():
                assert server.poll() is None, Path(f"{self._folder.name}/log").read_text()
                time.sleep(0.05)
        return f"{self._folder.name}/socket"


warm = Warm()


# --- in the process that is forked from, and in what is forked ----------------------------------------------


def serve(listener: socket.socket) -> Callable[[], int]:
    """Answer requests with forks, and say how each ended; returns in each fork, with what it is to do."""
    running: dict[int, tuple[int, socket.socket]] = {}
    while True:
        ready, _, _ = select.select([listener, *running], [], [])
        for found in ready:
            if found is not listener:  # a process has ended
                child, channel = running.pop(found)
                os.close(found)
                code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                with suppress(OSError):  # nobody waits for it
                    channel.send(str(code).encode())
                channel.close()
                continue
            channel, _ = listener.accept()
            message, files, *_ = socket.recv_fds(channel, WIDEST, 2)
            child = os.fork()
            if child == 0:
                os.setsid()
                for number, file in enumerate(files, 1):
                    os.dup2(file, number)
                for each in (listener, channel, *(other for _, other in running.values())):
                    each.close()
                for number in (*files, *running):
                    os.close(number)
                return become(json.loads(message))
            for file in files:
                os.close(file)
            running[os.pidfd_open(child)] = child, channel
            channel.send(str(child).encode())


def become(request: dict[str, Any]) -> Callable[[], int]:
    """What a fork is to run, with the variables, folder and words of the one who asks."""
    from rlvr_cli.launch.rank_processes import Ranks

    _fresh(request["environment"])
    os.chdir(request["cwd"])
    Ranks._process = _process  # type: ignore[method-assign,assignment]
    words = request["words"]
    if request["kind"] == "script":
        sys.argv = words
        sys.path.insert(0, str(Path(words[0]).parent))
        return lambda: _script(words[0])
    if request["kind"] == "apart":
        from rlvr_cli.launch.apart import main as apart

        sys.argv = ["apart", str(os.getppid()), *words[1:]]  # what it is to end with ends with who asks
        return apart
    from rlvr_cli.commands.main import main as command

    sys.argv = [str(Path(sys.modules["rlvr_cli"].__path__[0]) / "__main__.py"), *words]
    sys.path.insert(0, request["cwd"])
    return command


def _script(path: str) -> int:
    runpy.run_path(path, run_name="__main__")
    return 0


def _fresh(environment: dict[str, str]) -> None:
    """What a new process has of its own."""
    import numpy as np

    os.environ.clear()
    os.environ.update(environment)
    sys.path += filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    random.seed()
    np.random.seed()


def _process(self: Any, words: list[str], environment: dict[str, str], memory: int) -> Forked:
    """In the place of `Ranks._process`: a rank is forked from the command's own process."""
    from rlvr_cli.launch import rank

    sys.stdout.flush()
    sys.stderr.flush()
    if child := os.fork():
        return Forked(child)
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.closerange(3, memory)
        os.closerange(memory + 1, 1 << 16)
        atexit._clear()  # what the command is to do at its end
        _fresh(environment)
        sys.argv = ["rank", *words]
        code = rank.main()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(bool(leaving.code))
    except BaseException:
        traceback.print_exc()
    _leave(code)


def _leave(code: int) -> NoReturn:
    """End as an interpreter does, without going back through the frames of the process it was forked from."""
    with suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


class Forked:
    """As much of `subprocess.Popen` as a launcher uses."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self) -> int:
        while self.poll() is None:
            time.sleep(0.01)
        assert self.returncode is not None
        return self.returncode


def main() -> int:
    from importlib import import_module

    from rlvr_cli.core.rank_process import die_with_parent

    die_with_parent(int(sys.argv[1]))
    for name in IMPORTED:
        import_module(name)
    assert threading.active_count() == 1, threading.enumerate()
    gc.collect()
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(sys.argv[2] + ".new")
    listener.listen(64)
    os.rename(sys.argv[2] + ".new", sys.argv[2])
    return serve(listener)()


if __name__ == "__main__":
    sys.exit(main())
