"""Where the requests of an episode's program and the turns of the policy meet."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from dataclasses import dataclass, field

from rlvr_cli.environments.gateway.refused import Refused
from rlvr_cli.environments.gateway.reply import Reply
from rlvr_cli.environments.gateway.request import ChatRequest

KEPT = 64
"""Answers of a session that a repeated request may still get."""
MOST_WAITING = 256
COUNTS = ("forks", "overridden", "refused", "repeated", "without_logprobs", "tool/calls", "tool/malformed")


@dataclass(slots=True, kw_only=True, eq=False)
class Exchange:
    """A request, and what becomes of it."""

    request: ChatRequest
    outcome: asyncio.Future[Reply | Refused]

    def end(self, outcome: Reply | Refused) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)


@dataclass(slots=True, kw_only=True, eq=False)
class Session:
    """One episode's. Its key is what the program authenticates with."""

    key: str
    posts: bool
    """The program may set its own reward."""
    posted: float | None = None
    counts: Counter[str] = field(default_factory=Counter)
    stopped: Refused | None = None
    """What every further request is answered with."""
    refused: asyncio.Event = field(default_factory=asyncio.Event)
    """Such a request has come."""
    _waiting: list[Exchange] = field(default_factory=list)
    _recent: OrderedDict[str, Exchange] = field(default_factory=OrderedDict)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def submit(self, request: ChatRequest, *, marks: list[str], again: str | None) -> Exchange:
        """Have it answered. `marks`: what a repetition of it may be known by; `again`: the mark by which it
        says that it is one: it gets what the first gets, and nothing is sampled twice."""
        known = [mark for mark in marks if mark in self._recent and mark == again]
        if known:
            self.counts["repeated"] += 1
            return self._recent[known[0]]
        if self.stopped is not None:
            self.refused.set()
            raise self.stopped
        if len(self._waiting) >= MOST_WAITING:
            raise Refused(f"{MOST_WAITING} requests of this episode are waiting", status=429)
        exchange = Exchange(request=request, outcome=asyncio.get_running_loop().create_future())
        for mark in marks:
            self._recent[mark] = exchange
        while len(self._recent) > 2 * KEPT:
            self._recent.popitem(last=False)
        self._waiting.append(exchange)
        self._arrived.set()
        return exchange

    async def next(self) -> Exchange:
        """The request to serve: they are taken one after the other."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        return self._waiting.pop(0)

    def stop(self, why: Refused) -> None:
        """Serve nothing more."""
        self.stopped = why
        for each in self._waiting:
            self.refused.set()
            each.end(why)
        self._waiting.clear()

    def counted(self) -> dict[str, float]:
        """What has been counted since the last time; every name, so that a metric is there in every step."""
        found = {name: float(self.counts[name]) for name in COUNTS}
        self.counts.clear()
        return found
