"""The process that `warm.py` starts, and what is forked from it.

python warm_server.py PARENT ADDRESS: serves requests until its parent ends
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
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, NoReturn

IMPORTED = (
    "deepspeed",
    "deepspeed.module_inject.auto_ep_layer",
    "hydra",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "rich.progress",
    "rlvr_cli.commands.main",
    "rlvr_cli.commands.start_recipe",
    "rlvr_cli.evaluation.evaluate",
    "rlvr_cli.launch.rank",
    "rlvr_cli.launch.start",
    "rlvr_cli.rollout.hf",
    "rlvr_cli.rollout.vllm",
    "rlvr_cli.sweep.run",
    "rlvr_cli.training.loop",
    "rlvr_cli.training.sft",
    "transformers.models.qwen2.modeling_qwen2",
    "vllm.model_executor.layers.quantization.compressed_tensors.compressed_tensors",
    "vllm.model_executor.models.qwen2",
    "vllm.v1.core.sched.scheduler",
    "vllm.v1.worker.cpu_worker",
)
"""What a run comes to import, also in the middle of it."""
WIDEST = 1 << 20


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
    from rlvr_cli.sweep import run as sweep

    _fresh(request["environment"])
    gc.unfreeze = lambda: None  # vLLM does it, and each of its collections would go through all modules
    os.chdir(request["cwd"])
    Ranks._process = _process  # type: ignore[method-assign,assignment]
    sweep.subprocess = SimpleNamespace(Popen=_launcher, DEVNULL=subprocess.DEVNULL)  # type: ignore[assignment]
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

    return _forked(rank.main, ["rank", *words], environment, memory)


def _launcher(words: list[str], *, env: dict[str, str], stdout: IO[bytes], **_: Any) -> Forked:
    """In the place of `subprocess.Popen` in sweep/run.py; what a run says, errors too, goes into one file."""
    from rlvr_cli.launch import apart

    assert words[1:4] == ["-P", "-m", "rlvr_cli.launch.apart"]
    return _forked(apart.main, ["apart", *words[4:]], env, 2, stdout.fileno())


def _forked(
    main: Callable[[], int],
    words: list[str],
    environment: dict[str, str],
    kept: int,
    output: int | None = None,
) -> Forked:
    """A child that runs `main` as a new process would; beside 0 to 2 it has the descriptor `kept`."""
    sys.stdout.flush()
    sys.stderr.flush()
    if child := os.fork():
        return Forked(child)
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for number in (1, 2) if output is not None else ():
            os.dup2(output, number)
        os.closerange(3, kept)
        os.closerange(kept + 1, 1 << 16)
        atexit._clear()  # what the command is to do at its end
        _fresh(environment)
        sys.argv = words
        code = main()
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
    """As much of `subprocess.Popen` as a launcher or a sweep uses."""

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

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


def main() -> int:
    from importlib import import_module

    from rlvr_cli import compose
    from rlvr_cli.core.rank_process import die_with_parent

    die_with_parent(int(sys.argv[1]))
    for name in IMPORTED:
        import_module(name)
    compose.load("smoke", [])  # Hydra's plugins, its grammar, and all options and verifiers
    assert threading.active_count() == 1, threading.enumerate()
    gc.collect()
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(sys.argv[2] + ".new")
    listener.listen(64)
    os.rename(sys.argv[2] + ".new", sys.argv[2])
    return serve(listener)()


if __name__ == "__main__":
    _leave(main())
