"""Requests on their way to servers and back: each sample one HTTP request, a group's on one server."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from rlvr_cli.core.types import Completion
from rlvr_cli.rollout.begun import prompt_of
from rlvr_cli.rollout.engine import Request, Sampling
from rlvr_cli.rollout.servers.answers import Answers, number
from rlvr_cli.rollout.servers.client import Gone
from rlvr_cli.rollout.servers.fleet import Fleet
from rlvr_cli.rollout.servers.replica import Replica
from rlvr_cli.rollout.vllm_arguments import sampling_arguments

TRIES = 3
"""Times a sample is asked for again though no server has died."""
Done = queue.SimpleQueue[tuple[int, list[Completion]]]


@dataclass(slots=True, kw_only=True, eq=False)
class Order:
    """Requests of one call, and how far they are."""

    requests: list[Request]
    sampling: Sampling
    done: Done
    flying: dict[str, Replica] = field(default_factory=dict)
    """Name of an HTTP request -> where it is."""
    held: dict[Replica, tuple[int, int]] = field(default_factory=dict)
    """Server -> tokens and samples of its load that are this order's."""
    stopped: bool = False
    """There is enough: what has not begun does not begin."""


class Sampler:
    """`eos`: tokens that end a response; `name` begins the names of this rank's requests."""

    def __init__(self, fleet: Fleet, answers: Answers, eos: list[int], *, name: str) -> None:
        self._fleet, self._answers, self._eos = fleet, answers, eos
        self._names = (f"{name}-{number}" for number in count())

    def order(self, requests: list[Request], sampling: Sampling, done: Done) -> Order:
        return Order(requests=requests, sampling=sampling, done=done)

    async def serve(self, order: Order) -> None:
        """All requests, in their order as servers have room; groups go to `order.done` as they finish."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for request in order.requests:
                    costs = [self._cost(request, n, order.sampling) for n in range(request.samples)]
                    load = sum(costs), sum(map(bool, costs))
                    replica = None if order.stopped else await self._choose(order, *load)
                    tasks.create_task(self._group(order, request, costs, replica))
        except BaseExceptionGroup as group:
            raise _first(group) from None
        finally:  # of samples that were cancelled before they began
            for replica, (tokens, samples) in order.held.items():
                await self._fleet.release(replica, tokens, samples)

    async def stop(self, order: Order) -> None:
        """Have every request answered with the tokens it has."""
        order.stopped = True
        by_server: dict[Replica, list[str]] = {}
        for name, replica in order.flying.items():
            by_server.setdefault(replica, []).append(name)
        for replica, names in by_server.items():
            with suppress(Gone):
                await replica.client.abort(names)

    async def _choose(self, order: Order, tokens: int, samples: int) -> Replica:
        replica = await self._fleet.choose(tokens, samples)
        held = order.held.get(replica, (0, 0))
        order.held[replica] = held[0] + tokens, held[1] + samples
        return replica

    async def _release(self, order: Order, replica: Replica, tokens: int) -> None:
        held = order.held[replica]
        order.held[replica] = held[0] - tokens, held[1] - 1
        await self._fleet.release(replica, tokens)

    def _cost(self, request: Request, sample: int, sampling: Sampling) -> int:
        """Tokens that a sample may put on a server; 0: it is not asked for."""
        left = request.left(sampling, sample)
        return left and left + len(request.tokens)

    async def _group(self, order: Order, request: Request, costs: list[int], replica: Replica | None) -> None:
        async with asyncio.TaskGroup() as tasks:
            samples = [
                tasks.create_task(self._sample(order, request, n, cost, replica))
                for n, cost in enumerate(costs)
            ]
        order.done.put((request.key, [task.result() for task in samples]))

    async def _sample(
        self, order: Order, request: Request, sample: int, cost: int, replica: Replica | None
    ) -> Completion:
        """One sample; from another server where the first dies, with the same seed and so the same tokens."""
        if not cost:
            return self._answers.unasked(request, sample, partial=False)
        params, tokens = self._params(request, sample, order.sampling), prompt_of(request, sample)
        tries, deaths = 0, self._fleet.restarts
        while replica is not None and not order.stopped:
            stamp, name = self._fleet.cargo.stamp, next(self._names)
            order.flying[name] = replica
            try:
                answer = await replica.client.sample(name, tokens, params)
                return self._answers.completion(
                    answer, request, sample, order.sampling.stop, stamp=stamp, server=replica.name
                )
            except Gone as gone:
                self._fleet.doubt(replica, str(gone))
                self._fleet.sent_again += 1
                tries = tries + 1 if self._fleet.restarts == deaths else 0
                deaths = self._fleet.restarts
                if tries > TRIES:
                    raise RuntimeError(f"{replica.name} fails again and again: {gone}") from gone
            finally:
                del order.flying[name]
                await self._release(order, replica, cost)
            replica = await self._choose(order, cost, 1)
        if replica is not None:
            await self._release(order, replica, cost)
        return self._answers.unasked(request, sample, partial=True)

    def _params(self, request: Request, sample: int, sampling: Sampling) -> Mapping[str, Any]:
        """As of the engine in the process, whose n samples have seeds one apart."""
        limit, seed = request.left(sampling, sample), request.seed_of(sample)
        return sampling_arguments(sampling, self._eos, max_tokens=limit, seed=seed)

    async def probe(self, tokens: list[int]) -> dict[str, list[float]]:
        """Name of every server -> its logprobs (temperature 1) of the tokens after the first."""
        found: dict[str, list[float]] = {}
        params = {"max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0, "detokenize": False}
        while len(found) < len(self._fleet.replicas):
            await self._fleet.all_up()
            for replica in self._fleet.replicas:
                try:
                    answer = await replica.client.sample(next(self._names), tokens, params)
                except Gone as gone:
                    self._fleet.doubt(replica, str(gone))
                    break
                pairs = zip(tokens[1:], answer["prompt_logprobs"][1:], strict=True)
                found[replica.name] = [number(at[str(token)]["logprob"]) for token, at in pairs]
        return found


def _first(error: BaseException) -> BaseException:
    """What is in groups of exceptions."""
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
