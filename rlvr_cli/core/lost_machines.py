"""Machines of a run that are lost without a word: power, network, a frozen system.

A process that ends closes its connections, and the collectives of the others fail. A machine that is gone
closes nothing. So the ranks of a run on several machines each count a number up in the store they met at and
read those of the others; one whose number stands still is lost.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Thread
from typing import Protocol

BEAT_S = 10.0
"""Between two signs of life."""
LOST_S = 180.0
"""Without one, after which a rank counts as lost; as a run directory waits for its holder."""
LOOK_S = 1.0
ENDED = b"ended"
"""Of a rank that has come to its end: it gives no more signs of life, and is not missed."""


class Store(Protocol):
    """What this needs of a `torch.distributed.Store`; errors are RuntimeErrors."""

    def set(self, key: str, value: str) -> None: ...

    def multi_get(self, keys: list[str]) -> list[bytes]: ...


class Lookout:
    """One rank's signs of life in the store, and what it sees of the others'.

    Every rank makes one; `start` once all have. Two threads: the one that talks to the store may wait for a
    machine that is lost, the other one notices.
    """

    def __init__(self, store: Store, rank: int, ranks: int, give_up: Callable[[str], None]) -> None:
        """`store`: a connection that nobody else waits on. `give_up(cause)` is to end this process."""
        self._store, self._rank, self._give_up = store, rank, give_up
        self._keys = [f"alive/{number}" for number in range(ranks)]
        self._seen: dict[int, tuple[bytes, float]] = {}
        self._done = Event()
        self._say(0)

    def start(self) -> None:
        now = time.monotonic()
        self._seen = {
            number: (value, now)
            for number, value in enumerate(self._store.multi_get(self._keys))
            if number != self._rank
        }
        for target in (self._talk, self._look):
            Thread(target=target, name="lookout", daemon=True).start()

    def stop(self, *, ended: bool) -> None:
        """Give no more signs of life; `ended`: this rank has come to its end, and is not to be missed."""
        if ended:
            with suppress(RuntimeError):  # who kept the store may have gone before
                self._store.set(self._keys[self._rank], ENDED.decode())
        self._done.set()

    def _say(self, count: int) -> None:
        self._store.set(self._keys[self._rank], f"{socket.gethostname()} {count}")

    def _talk(self) -> None:
        count = 0
        while not self._done.wait(BEAT_S):
            count += 1
            with suppress(RuntimeError):  # nothing new is seen, which `_look` notices
                self._say(count)
                for number, value in enumerate(self._store.multi_get(self._keys)):
                    if number != self._rank and value != self._seen[number][0]:
                        self._seen[number] = value, time.monotonic()

    def _look(self) -> None:
        looked = time.monotonic()
        while not self._done.wait(LOOK_S):
            now = time.monotonic()
            if now - looked > LOST_S / 2:  # this process has stood still itself, as all of a suspended job do
                self._seen = {number: (value, now) for number, (value, _) in self._seen.items()}
            looked = now
            if silent := self._silent(now):
                self._give_up(self._cause(silent))
                return

    def _silent(self, now: float) -> list[int]:
        return [n for n, (value, at) in self._seen.items() if value != ENDED and now - at > LOST_S]

    def _cause(self, silent: list[int]) -> str:
        hosts = dict.fromkeys(self._seen[number][0].decode().split()[0] for number in silent)
        ranks, first = len(silent), f"rank {silent[0]}"
        who = first if ranks == 1 else f"{ranks} ranks ({first} and others)"
        return (
            f"no sign of life from {who} on {', '.join(hosts)} for {LOST_S:,.0f} s: the machine is lost, "
            "or the network to it"
        )


_give_up: Callable[[str], None] | None = None
_lookout: Lookout | None = None


def on_loss(give_up: Callable[[str], None]) -> None:
    """What ends this process when a machine is lost; `watch` does nothing before it is known."""
    global _give_up
    _give_up = give_up


def watch(store: Store, rank: int, ranks: int, ready: Callable[[], object]) -> None:
    """Look out for the other ranks from now on; every rank calls it. `ready()` waits for all of them."""
    global _lookout
    if _give_up is None or _lookout is not None:
        ready()
        return
    lookout = Lookout(store, rank, ranks, _give_up)
    ready()
    lookout.start()
    _lookout = lookout


def stop(*, ended: bool) -> None:
    """The end of this process's part in the run; `ended`: it has come to its end."""
    global _lookout
    if _lookout is not None:
        _lookout.stop(ended=ended)
        _lookout = None
