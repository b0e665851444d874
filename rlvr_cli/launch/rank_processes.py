"""The rank processes of one attempt, and the signals of the user on their way to them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import FrameType

from rlvr_cli.core.heartbeat import START, Heart, shared_memory
from rlvr_cli.core.rank_process import free_port, rank_environment
from rlvr_cli.core.stop_signals import taken
from rlvr_cli.launch import rank


class Ranks:
    """`count` processes that run `entry` on the recipe in `out`, each with a heart we can read.

    Plain processes instead of torch's elastic agent: the agent answers a signal by killing its
    workers after 30 seconds, too soon to write a checkpoint, and a Ctrl-C would reach the workers
    twice, from the terminal and from the agent. Here each rank has a session of its own.
    """

    def __init__(self, out: Path, entry: str, count: int) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        self.hearts: list[Heart] = []
        port = free_port()
        for number in range(count):
            rank.report_path(out, number).unlink(missing_ok=True)
        try:
            for number in range(count):
                self._start([str(out), entry, str(os.getpid())], rank_environment(number, count, port))
        except BaseException:
            self.kill()
            raise

    def _start(self, words: list[str], variables: dict[str, str]) -> None:
        memory = shared_memory()
        self.hearts.append(Heart(memory))
        self.hearts[-1].enter(START)  # its time counts from here
        self._processes.append(self._process([*words, str(memory)], os.environ | variables, memory))
        os.close(memory)

    def _process(self, words: list[str], environment: dict[str, str], memory: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "rlvr_cli.launch.rank", *words]
        return subprocess.Popen(command, env=environment, start_new_session=True, pass_fds=[memory])

    def codes(self) -> list[int | None]:
        """Exit code of each rank, negative for a signal; None: it runs."""
        return [process.poll() for process in self._processes]

    def send(self, number: int) -> None:
        """Give a signal to every rank that runs."""
        for process in self._processes:
            if process.returncode is None:
                # Not send_signal, which polls: a handler may have interrupted a poll of the main loop.
                with suppress(ProcessLookupError):
                    os.kill(process.pid, number)

    def kill(self) -> None:
        """End each rank and whatever it started."""
        for process in self._processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its session: also children that outlive the rank
        for process in self._processes:
            process.wait()


class Signals:
    """The first SIGINT or SIGTERM goes to every rank once; a second kills them all and exits with 130."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self._told = False
        self._ranks: Ranks | None = None

    def go_to(self, ranks: Ranks | None) -> None:
        """From now on these hear of it; also of what came while they were being started."""
        self._ranks = ranks
        if self.received and not self._told:
            self._tell()

    def _forward(self, number: int, frame: FrameType | None) -> None:
        self.received.append(number)
        if len(self.received) > 1:
            if self._ranks is not None:
                self._ranks.kill()
            os._exit(rank.INTERRUPTED)
        self._tell()

    def _tell(self) -> None:
        if self._ranks is not None:
            self._told = True
            self._ranks.send(self.received[0])

    def handled(self) -> AbstractContextManager[None]:
        """Take both signals until the block ends."""
        return taken(self._forward)
