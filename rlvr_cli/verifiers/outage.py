"""A server that a verifier asks is down: it is waited for with growing pauses, up to a limit."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import Protocol

from rlvr_cli.core.types import Verdict

FIRST_S, LONGEST_S = 0.5, 30.0
"""Pauses between two questions; they double."""
LOOK_S = 0.5
"""How often somebody who waits for a verdict looks whether there is something to say."""


class Outage:
    """`patience_s`: how long the server is waited for. Once that is over, what is asked for gets no verdict
    at once; every item that comes asks again, so that the end of the outage is noticed."""

    def __init__(self, patience_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self._patience_s, self._now = patience_s, now
        self._since: float | None = None
        self._pause_s = FIRST_S
        self._told = False
        self.again_at = 0.0
        """When the server may be asked again."""
        self.cause = ""
        """What it said last, or why it said nothing."""

    @property
    def going_on(self) -> bool:
        return self._since is not None

    @property
    def hopeless(self) -> bool:
        return self._since is not None and self._now() - self._since >= self._patience_s

    @property
    def detail(self) -> str:
        """Of the verdicts that are missing."""
        return f"{self.cause} (waited for {self._patience_s:g} s)" if self._patience_s else self.cause

    def notice(self) -> str | None:
        """What is to be told while it is waited for, once for each outage."""
        if self._told or not self.going_on or self.hopeless:
            return None
        self._told = True
        return f"{self.cause}; waiting up to {self._patience_s:g} s for it"

    def failed(self, cause: str) -> None:
        """Somebody has asked in vain. Several that were asked at once are one failure."""
        now, self.cause = self._now(), cause
        if self._since is None:
            self._since = now
        if now >= self.again_at:
            self.again_at, self._pause_s = now + self._pause_s, min(2 * self._pause_s, LONGEST_S)
        if self.hopeless:
            self.again_at = now

    def over(self) -> None:
        self._since, self._pause_s, self._told, self.again_at = None, FIRST_S, False, 0.0


class Notices(Protocol):
    """What is needed of `pool.Pool`."""

    def notice(self) -> str | None: ...


def result(future: Future[Verdict], pool: Notices, say: Callable[[str], None]) -> Verdict:
    """The verdict to come. When a server begins to be waited for, `say` is told so."""
    while True:
        try:
            return future.result(LOOK_S)
        except NotYet:
            if (notice := pool.notice()) is not None:
                say(notice)
