"""The child side of workers.py: `python -m rlvr_cli.environments.worker <descriptor> <parent pid>`.

A plain new process with an event loop: coroutines of its episodes run in it, plain methods in threads. It
ends with its parent. An episode's calls come one after the other; `close` breaks off the one under way.
"""

from __future__ import annotations

import asyncio
import copy
import ctypes
import inspect
import logging
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from time import perf_counter
from typing import Any

from rlvr_cli.core import plugins
from rlvr_cli.core.errors import UserError
from rlvr_cli.environments.environment import Environment

PR_SET_PDEATHSIG = 1
MOST_THREADS = 1024
"""Calls of plain methods that wait at the same time."""
CLOSE_S = 5.0
"""For the episodes that are open when the parent hangs up."""


def harden(parent: int) -> None:
    """Bind this process to its parent's life and to the parent's will alone."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    logging.disable(logging.WARNING)


class Episodes:
    """The open episodes of this worker; `send` takes (episode, kind, value, seconds)."""

    def __init__(self, prototype: Environment, send: Callable[[tuple[Any, ...]], None]) -> None:
        self._prototype, self._send = prototype, send
        self._threads = ThreadPoolExecutor(MOST_THREADS)
        self._open: dict[int, Environment] = {}
        self._calls: dict[int, asyncio.Task[None]] = {}

    def take(self, message: tuple[int, str, Any]) -> None:
        """Begin what the parent asks for."""
        episode, call, argument = message
        if call == "ping":
            self._send((episode, "pong", None, 0.0))
        elif call == "close":
            if (under_way := self._calls.pop(episode, None)) is not None:
                under_way.cancel()
            self._calls[-episode] = asyncio.create_task(self._close(episode))
        else:
            if call in ("reset", "keeps"):
                self._open[episode] = copy.copy(self._prototype)
            self._calls[episode] = asyncio.create_task(self._call(episode, call, argument))

    async def _call(self, episode: int, call: str, argument: Any) -> None:
        started = perf_counter()
        try:
            kind, value = "said", await self._ask(getattr(self._open[episode], call), argument)
            pickle.dumps(value)
        except Exception as error:  # of any kind: the user's own code
            traceback.print_exc()
            kind, value = "failed", f"{type(error).__name__}: {error}".rstrip(": ")[:300]
        self._calls.pop(episode, None)
        self._send((episode, kind, value, perf_counter() - started))

    async def _close(self, episode: int) -> None:
        environment = self._open.pop(episode, None)
        try:
            if environment is not None:
                await self._ask(environment.close)
        except Exception:
            traceback.print_exc()
        self._calls.pop(-episode, None)

    async def _ask(self, method: Callable[..., Any], *arguments: Any) -> Any:
        if inspect.iscoroutinefunction(method):
            return await method(*arguments)
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, method, *arguments)
        return await found if inspect.isawaitable(found) else found

    async def end(self) -> None:
        """Close all that are open."""
        for episode in list(self._open):
            self.take((episode, "close", None))
        if self._calls:
            await asyncio.wait(self._calls.values(), timeout=CLOSE_S)


async def serve(connection: Connection, prototype: Environment) -> None:
    """Answer until the parent hangs up."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    sender = ThreadPoolExecutor(1)  # the loop goes on where the parent reads slowly
    episodes = Episodes(prototype, lambda message: _sent(sender, connection, message))

    def listen() -> None:
        with suppress(EOFError, OSError):
            while True:
                message = connection.recv()
                loop.call_soon_threadsafe(episodes.take, message)
        loop.call_soon_threadsafe(over.set)

    threading.Thread(target=listen, daemon=True).start()
    connection.send("ready")
    await over.wait()
    await episodes.end()


def _sent(sender: ThreadPoolExecutor, connection: Connection, message: tuple[Any, ...]) -> None:
    def send() -> None:
        with suppress(OSError):  # the parent hung up
            connection.send(message)

    sender.submit(send)


def load(connection: Connection) -> Environment | None:
    """The environment as the parent has it, with all that it loads once; None where that fails."""
    try:
        paths, places = pickle.loads(connection.recv_bytes())
        sys.path[:] = paths  # before it is unpickled: its module is found as in the parent
        plugins.announce(places)
        found: Environment = pickle.loads(connection.recv_bytes())
        found.warm()
    except UserError as error:
        connection.send(("refused", str(error)))
    except Exception as error:  # of any kind: it becomes the parent's error message
        traceback.print_exc()
        connection.send(("broken", f"{type(error).__name__}: {error}".rstrip(": ")))
    else:
        return found
    return None


def main() -> None:
    descriptor, parent = map(int, sys.argv[1:])
    harden(parent)
    connection = Connection(descriptor)
    with suppress(EOFError, OSError):  # the parent hung up
        if (prototype := load(connection)) is not None:
            asyncio.run(serve(connection, prototype))
    sys.stdout.flush()
    os._exit(0)  # threads that wait forever would keep it


if __name__ == "__main__":
    main()
