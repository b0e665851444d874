"""One episode: a program that asks, and a policy that answers by way of the driver."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from rlvr_cli.environments.environment import Opening, Step, Turn
from rlvr_cli.environments.gateway.messages import History
from rlvr_cli.environments.gateway.program import Address, Command, Ended, Program
from rlvr_cli.environments.gateway.refused import TOO_LONG, Refused
from rlvr_cli.environments.gateway.request import ChatRequest
from rlvr_cli.environments.gateway.score import Failed, NoScore, Score, of_files, of_value
from rlvr_cli.environments.gateway.session import Exchange, Session
from rlvr_cli.environments.gateway.turns import Turns, issued, reply
from rlvr_cli.environments.tool_calls import Syntax

MOST_REFUSALS = 16
"""Requests in a row that cannot be asked; a program that goes on is ended."""
NO_SYNTAX = "tools: the model's chat template prints no calls in a known syntax; set the environment's syntax"
UNSERVED = "without a request that could be served"
OVER = "rollout stopped: the episode is over"


class ProgramFailed(RuntimeError):
    """Its episode has no verdict: why, in a line."""


class Served:
    """`grace_s`: how long a program may go on that is refused for good."""

    def __init__(
        self, session: Session, program: Program, turns: Turns, score: Score, failed: Failed, grace_s: float
    ) -> None:
        self.session = session
        self._program, self._turns = program, turns
        self._score, self._failed, self._grace_s = score, failed, grace_s
        self._running: asyncio.Task[Ended] | None = None
        self._exchange: Exchange | None = None
        """The request that is being answered."""
        self._known: History | None = None
        """The sequence as it has been told and sampled."""
        self._asked: History | None = None
        """The same with what that request says."""
        self._refusals = 0
        """Requests that could not be asked, since the last answer."""

    async def first(self, task: Mapping[str, Any], address: Address) -> Opening:
        """Start the program; what it asks first. ProgramFailed where it asks nothing."""
        self._running = asyncio.create_task(self._program.run(task, address))
        if (request := await self._next()) is None:
            why = self._running.result().failure or "the program has ended"
            raise ProgramFailed(f"{why}, {UNSERVED}")
        self._asked = _begun(request)
        return Opening(messages=request.messages, ask=request.ask)

    async def after(self, turn: Turn) -> Step:
        """What the program says to a turn, or to a refusal."""
        if turn.refused is None:
            self._answer(turn)
        else:
            self._refuse(turn.refused.text, TOO_LONG if turn.refused.too_long else None)
        if turn.last or self._refusals >= MOST_REFUSALS:
            return await self._ended_by_limit(turn)
        request = await self._next()
        return self._over() if request is None else self._said(request)

    async def close(self) -> None:
        """End the program; it is told so where it waits."""
        if self._exchange is not None:
            self._exchange.end(Refused(OVER))
        await self._program.end()
        if self._running is not None:
            self._running.cancel()

    # What the program gets.

    def _answer(self, turn: Turn) -> None:
        assert self._exchange is not None and self._asked is not None and turn.sampled is not None
        if turn.last:
            self.session.stop(_limit(turn))
        request, counts = self._exchange.request, self.session.counts
        read = self._turns.read(turn, request)
        counts["tool/calls"] += len(read.calls)
        counts["tool/malformed"] += read.unreadable
        counts["overridden"] += request.overridden(turn.sampled.temperature, turn.sampled.top_p)
        counts["without_logprobs"] += request.logprobs and not turn.sampled.logprobs
        self._known = self._asked.with_turn(issued(turn, read))
        self._refusals = 0
        self._exchange.end(reply(turn, read, f"chatcmpl-{self.session.key[-8:]}-{turn.number}"))

    def _refuse(self, text: str, code: str | None) -> None:
        assert self._exchange is not None
        self._refusals += 1
        self.session.counts["refused"] += 1
        self._exchange.end(Refused(text, code=code))

    # What it says.

    async def _next(self) -> ChatRequest | None:
        """The request to serve; None: the program has ended."""
        assert self._running is not None
        while True:
            arrival = asyncio.create_task(self.session.next())
            try:
                await asyncio.wait([arrival, self._running], return_when=asyncio.FIRST_COMPLETED)
            finally:
                arrival.cancel()
            if self._running.done():
                if arrival.done():  # of somebody whom the program has left behind
                    arrival.result().end(Refused(OVER))
                return None
            self._exchange = arrival.result()
            if not self._exchange.request.calls or self._turns.grammar.syntax is not Syntax.auto:
                return self._exchange.request
            self._exchange.end(Refused(NO_SYNTAX))

    def _said(self, request: ChatRequest) -> Step:
        known, tools = self._known, request.ask.tools or []
        tail = None if known is None else known.tail(request.messages, tools)
        if known is None or tail is None:
            self.session.counts["forks"] += known is not None
            self._asked = _begun(request)
            return Step(restart=request.messages, ask=request.ask, measures=self.session.counted())
        self._asked = known.with_messages(tail)
        calls = known.calls if tail[0]["role"] == "tool" else []
        return Step(messages=tail, calls=calls, ask=request.ask, measures=self.session.counted())

    # How it ends.

    async def _ended_by_limit(self, turn: Turn) -> Step:
        """No turn follows: the program may do what it does after its last one, and ends soon if it asks for
        another."""
        assert self._running is not None
        if self.session.stopped is None:
            self.session.stop(Refused(OVER, code=TOO_LONG))
            self.session.refused.set()
        refused = asyncio.create_task(self.session.refused.wait())
        try:
            await asyncio.wait([refused, self._running], return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait([self._running], timeout=self._grace_s)
        finally:
            refused.cancel()
        step = self._over()
        if self.session.refused.is_set() and turn.refused is None:  # it would have gone on
            step.done, step.text = False, str(self.session.stopped)
        return step

    def _over(self) -> Step:
        assert self._running is not None
        by_limit = self.session.refused.is_set() or self._refusals > 0
        ended = self._running.result() if self._running.done() else Ended(failure="it was ended")
        if self._known is None:
            raise ProgramFailed(f"{ended.failure or 'the program has ended'}, {UNSERVED}")
        reward, measures = self._reward(ended, by_limit)
        return Step(done=True, reward=reward, measures=self.session.counted() | measures)

    def _reward(self, ended: Ended, by_limit: bool) -> tuple[float | None, dict[str, float]]:
        """ProgramFailed where there is no verdict. A program that was refused a turn may fail for that, which
        is the policy's doing."""
        if ended.failure and not by_limit:
            if self._failed is Failed.crash:
                raise ProgramFailed(ended.failure)
            return 0.0, {}
        if self._score is Score.verifier:
            return None, {}
        if self._score is Score.posted:
            return self.session.posted or 0.0, {}
        try:
            if isinstance(self._program, Command):
                return of_files(self._program.folder)
            return (0.0, {}) if ended.failure else of_value(ended.value)
        except NoScore as error:
            if by_limit:
                return 0.0, {}
            what = "" if isinstance(self._program, Command) else "the function has returned "
            raise ProgramFailed(f"{what}{error}") from error


def _begun(request: ChatRequest) -> History:
    return History(said=list(request.messages), tools=request.ask.tools or [])


def _limit(turn: Turn) -> Refused:
    if turn.sampled is not None and turn.sampled.room <= 0:
        return Refused("rollout stopped: the episode has no tokens left", code=TOO_LONG)
    return Refused("rollout stopped: the episode has no turns left")
