"""What a server's connections may take: how many there are, how long a request takes, bytes in memory.

A client that sends a byte now and then, or many of them, must not keep others waiting: nobody is refused
because of connections that have not sent their request yet.
"""

from __future__ import annotations

import io
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Limits:
    max_body: int = 16 << 20
    """Bytes of a request; larger ones get 413."""
    max_requests: int = 64
    """Requests in work; others get 429."""
    max_items: int = 10_000
    """Items of a request; more get 413."""
    request_s: float = 30.0
    """Seconds from the first byte of a request to its last; also of silence before it, and for an answer."""
    max_head: int = 128 << 10
    """Bytes of a request's first line and headers."""

    @property
    def connections(self) -> int:
        """Of all clients together; those of one address may be half of it."""
        return 4 * self.max_requests

    @property
    def memory(self) -> int:
        """Bytes of all requests that are there at once, as text and as read."""
        return max(256 << 20, 16 * self.max_body)


class Connections:
    """Who is connected. A newcomer who finds no place takes that of the one that waits longest.

    To wait is not to have sent a whole request yet. An address with half of all places finds no further one
    and takes one of its own.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._lock = limit, threading.Lock()
        self._waiting: OrderedDict[Any, str] = OrderedDict()
        self._working: dict[Any, str] = {}

    def enter(self, connection: socket.socket, address: str) -> bool:
        """False: there is no place, and all others have their requests in work."""
        with self._lock:
            mine = [each for each, owner in self._waiting.items() if owner == address]
            held = len(mine) + sum(owner == address for owner in self._working.values())
            longest = None
            if held >= max(self._limit // 2, 1):
                longest = mine[:1]
            elif len(self._waiting) + len(self._working) >= self._limit:
                longest = list(self._waiting)[:1]
            if longest == []:
                return False
            for each in longest or []:
                del self._waiting[each]
                with suppress(OSError):  # its thread, which reads, finds the end and leaves
                    each.shutdown(socket.SHUT_RDWR)
            self._waiting[connection] = address
            return True

    def wait(self, connection: socket.socket) -> None:
        """It is to send a request."""
        with self._lock:
            owner = self._working.pop(connection, None)
            if owner is not None:
                self._waiting[connection] = owner

    def work(self, connection: socket.socket) -> None:
        """It has sent one. ConnectionError where its place was taken meanwhile."""
        with self._lock:
            if connection not in self._waiting:
                raise ConnectionAbortedError("another connection has taken the place")
            self._working[connection] = self._waiting.pop(connection)

    def leave(self, connection: socket.socket) -> None:
        with self._lock:
            self._waiting.pop(connection, None)
            self._working.pop(connection, None)


class Full(Exception):
    """There is no memory left for a request."""


class Memory:
    """Bytes that all requests together hold."""

    def __init__(self, size: int) -> None:
        self._left, self._lock = size, threading.Lock()

    @contextmanager
    def account(self) -> Iterator[Account]:
        """What one request takes, given back at the end of the block."""
        account = Account(self)
        try:
            yield account
        finally:
            with self._lock:
                self._left += account.taken

    def take(self, size: int) -> None:
        """Raises Full."""
        with self._lock:
            if size > self._left:
                raise Full
            self._left -= size


class Account:
    def __init__(self, memory: Memory) -> None:
        self._memory, self.taken = memory, 0

    def take(self, size: int) -> None:
        """Raises Full."""
        self._memory.take(size)
        self.taken += size


class Incoming(io.RawIOBase):
    """The bytes of a connection, each request with one deadline for all of it.

    Raises TimeoutError when it has passed, however often a byte came, and HTTPException for a head that is
    too large.
    """

    def __init__(self, connection: socket.socket, limits: Limits) -> None:
        self._connection, self._limits = connection, limits
        self.begin()

    def begin(self) -> None:
        """Another request: silence before it counts by itself."""
        self._deadline: float | None = None
        self._head: int | None = self._limits.max_head

    def body(self) -> None:
        """The head is read; what comes has a length that was checked."""
        self._head = None

    def end_in(self, seconds: float) -> None:
        """A nearer deadline."""
        self._deadline = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        deadline = self._deadline
        left = self._limits.request_s if deadline is None else deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request came too slowly")
        self._connection.settimeout(left)
        count = self._connection.recv_into(buffer)
        if deadline is None:
            self._deadline = time.monotonic() + self._limits.request_s
        if self._head is not None:
            self._head -= count
            if self._head < 0:
                raise HTTPException("the headers are too large")
        return count
