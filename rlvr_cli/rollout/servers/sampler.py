"""Requests on their way to servers and back: the samples of a group are one HTTP request to one server."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from rlvr_cli.core.types import Completion
from rlvr_cli.rollout.engine import Request, Sampling
from rlvr_cli.rollout.seen import Prompts
from rlvr_cli.rollout.servers.answers import Answers
from rlvr_cli.rollout.servers.client import Gone
from rlvr_cli.rollout.servers.fleet import Fleet
from rlvr_cli.rollout.servers.replica import Replica
from rlvr_cli.rollout.vllm_arguments import sampling_arguments

TRIES = 3
"""Times samples are asked for again though no server has died."""
Done = queue.SimpleQueue[tuple[int, list[Completion]]]


@dataclass(slots=True, kw_only=True, eq=False)
class Order:
    """Requests of one call, and how far they are."""

    requests: list[Request]
    sampling: Sampling
    done: Done
    flying: dict[str, tuple[Replica, list[int]]] = field(default_factory=dict)
    """Name of an HTTP request -> where it is, and which samples it is for."""
    held: dict[Replica, tuple[int, int]] = field(default_factory=dict)
    """Server -> tokens and samples of its load that are this order's."""
    stopped: bool = False
    """There is enough: what has not begun does not begin."""


class Sampler:
    """`eos`: tokens that end a response; `name` begins the names of this rank's requests."""

    def __init__(
        self, fleet: Fleet, answers: Answers, eos: list[int], *, name: str, prompts: Prompts | None = None
    ) -> None:
        self._fleet, self._answers, self._eos = fleet, answers, eos
        self._prompts = prompts or Prompts(None)
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
        by_server: dict[Replica, dict[str, list[int]]] = {}
        for name, (replica, samples) in order.flying.items():
            by_server.setdefault(replica, {})[name] = samples
        for replica, groups in by_server.items():
            with suppress(Gone):
                await replica.client.abort(groups)

    async def _choose(self, order: Order, tokens: int, samples: int) -> Replica:
        replica = await self._fleet.choose(tokens, samples)
        held = order.held.get(replica, (0, 0))
        order.held[replica] = held[0] + tokens, held[1] + samples
        return replica

    async def _release(self, order: Order, replica: Replica, costs: Iterable[int]) -> None:
        """Of samples with these costs."""
        costs = list(costs)
        held = order.held[replica]
        order.held[replica] = held[0] - sum(costs), held[1] - len(costs)
        await self._fleet.release(replica, sum(costs), len(costs))

    def _cost(self, request: Request, sample: int, sampling: Sampling) -> int:
        """Tokens that a sample may put on a server; 0: it is not asked for."""
        left = request.left(sampling, sample)
        return left and left + len(request.tokens)

    async def _group(self, order: Order, request: Request, costs: list[int], replica: Replica | None) -> None:
        """The samples of one prompt; those a server dies with come from another, token by token the same."""
        found = {
            sample: self._answers.unasked(request, sample, partial=False)
            for sample, cost in enumerate(costs)
            if not cost
        }
        missing = {sample: cost for sample, cost in enumerate(costs) if cost}
        tries, deaths = 0, self._fleet.restarts
        while missing and replica is not None and not order.stopped:
            try:
                await self._ask(order, request, missing, found, replica)
            except Gone as gone:
                self._fleet.doubt(replica, str(gone))
                self._fleet.sent_again += len(missing)
                tries = tries + 1 if self._fleet.restarts == deaths else 0
                deaths = self._fleet.restarts
                if tries > TRIES:
                    raise RuntimeError(f"{replica.name} fails again and again: {gone}") from gone
                await self._release(order, replica, missing.values())
                replica = await self._choose(order, sum(missing.values()), len(missing))
        if missing and replica is not None:
            await self._release(order, replica, missing.values())
        found |= {sample: self._answers.unasked(request, sample, partial=True) for sample in missing}
        order.done.put((request.key, [found[sample] for sample in range(request.samples)]))

    async def _ask(
        self,
        order: Order,
        request: Request,
        missing: dict[int, int],
        found: dict[int, Completion],
        replica: Replica,
    ) -> None:
        """One request for what is `missing`, which goes into `found` as it comes. Gone unless all does."""
        stamp, name = self._fleet.cargo.stamp, next(self._names)
        sampling = order.sampling.of_request(request)
        asked = self._asked(request, [*missing], sampling) | {"name": name} | self._of_weights()
        order.flying[name] = replica, [*missing]
        try:
            async with aclosing(replica.client.sample(asked)) as answers:
                async for answer in answers:
                    found[answer.number] = self._answers.completion(
                        answer, request, sampling.stop, stamp=stamp, server=replica.name
                    )
                    await self._release(order, replica, [missing.pop(answer.number)])
        finally:
            del order.flying[name]
        if missing:
            raise Gone(f"it has answered without {len(missing)} samples")

    def _asked(self, request: Request, samples: list[int], sampling: Sampling) -> dict[str, Any]:
        """As of the engine in the process, whose n samples have seeds one apart."""
        return self._prompts.sent(request.tokens) | {
            "bias": self._prompts.bans().get("logit_bias", {}),
            "params": sampling_arguments(sampling, self._eos),
            "samples": [
                {
                    "number": sample,
                    "begun": request.begun[sample].tokens.tolist() if request.begun else [],
                    "max_tokens": request.left(sampling, sample),
                    "seed": request.seed_of(sample),
                }
                for sample in samples
            ],
        }

    def _of_weights(self) -> dict[str, Any]:
        """With what is sampled. Where a server keeps prefixes of older weights, these are not for new
        requests."""
        salt = self._fleet.held if self._fleet.keeps else None
        return {"salt": salt, "adapter": self._fleet.cargo.adapters}

    async def probe(self, tokens: list[int], pixels: dict[str, Any] | None = None) -> dict[str, list[float]]:
        """Name of every server -> its logprobs (temperature 1) of the tokens after the first.

        `pixels`: of the first image, which a server says no to where it makes others of it.
        """
        found: dict[str, list[float]] = {}
        params: dict[str, Any] = {"temperature": 0.0, "prompt_logprobs": 0, "detokenize": False}
        one = {"number": 0, "begun": [], "max_tokens": 1, "seed": None}
        while len(found) < len(self._fleet.replicas):
            await self._fleet.all_up()
            for replica in self._fleet.replicas:
                asked = self._prompts.sent(tokens) | {"params": params, "samples": [one]}
                asked |= {"name": next(self._names)} | self._of_weights()
                asked |= {} if pixels is None else {"pixels": pixels}
                try:
                    answers = [answer async for answer in replica.client.sample(asked)]
                except Gone as gone:
                    self._fleet.doubt(replica, str(gone))
                    break
                if answers:
                    found[replica.name] = answers[0].prompt_logprobs.tolist()
        return found


def _first(error: BaseException) -> BaseException:
    """What is in groups of exceptions."""
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
