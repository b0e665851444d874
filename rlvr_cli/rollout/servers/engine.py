"""The engine interface on vLLM servers: every rank samples through them, one rank of a machine leads them."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from torch import Tensor

from rlvr_cli.core import distributed
from rlvr_cli.core.errors import Hopeless, UserError
from rlvr_cli.core.heartbeat import heart
from rlvr_cli.core.types import Completion
from rlvr_cli.rollout.engine import Names, OnOneRank, Request, Sampling, SyncError, never, nothing_more
from rlvr_cli.rollout.fingerprints import Receipt
from rlvr_cli.rollout.pixels import packed
from rlvr_cli.rollout.seen import Prompts
from rlvr_cli.rollout.servers import start
from rlvr_cli.rollout.servers.answers import Answers
from rlvr_cli.rollout.servers.loop import Loop
from rlvr_cli.rollout.servers.meet import said
from rlvr_cli.rollout.servers.parcels import Cargo, pack
from rlvr_cli.rollout.servers.sampler import Order, Sampler
from rlvr_cli.rollout.servers.update import broadcast
from rlvr_cli.rollout.text import ResponseText
from rlvr_cli.schema import Lora, Rollout
from rlvr_cli.vision.processor import Patches, processor_of

ASK_S = 0.02
"""Between two looks at whether there is enough."""
AGAIN_S = 1.0
"""Between two orders to stop: a request may have been on its way to its server at the first."""
APART = 0.02
"""Mean |logprob difference| on the probe by which two servers may differ: other GPUs round otherwise."""
Event = Callable[[str, str], object]


class ServersEngine(OnOneRank):
    """`load` and `probe` may come from another thread than `generate`."""

    beside = True

    def __init__(
        self,
        rollout: Rollout,
        *,
        tokenizer: Any,
        eos: list[int],
        out: Path = Path(),
        event: Event = lambda kind, text: None,
        frozen_tower: bool = True,
        lora: Lora | None = None,
        **model: Any,
    ) -> None:
        """`out`: the run directory, whose logs/ gets theirs; `event` is told of deaths and returns;
        `frozen_tower`: not asked for, as servers forget what they made of images with every sync;
        `lora`: servers keep the start model, and are sent adapters of this shape; `model`: as
        `vllm_arguments` has it."""
        self.text = ResponseText(tokenizer, eos)
        self._event = event
        self._loads, self._adapters = 0, lora is not None
        self._names = Names()
        self._loop = Loop("servers")
        try:
            self._prompts = prompts = Prompts(processor_of(tokenizer))
            wanted = start.Wanted(rollout=rollout, engine=model, out=out, prompts=prompts, lora=lora)
            self._fleet, self._run = start.open_fleet(wanted, self._loop)
        except BaseException:
            self._loop.close()
            raise
        answers = Answers(self.text, run=self._run, strict=rollout.max_staleness == 0)
        name = f"{self._run}-{distributed.rank()}"
        self._sampler = Sampler(self._fleet, answers, eos, name=name, prompts=prompts)

    def generate(
        self,
        requests: list[Request],
        sampling: Sampling,
        enough: Callable[[], bool] = never,
        more: Callable[[bool], list[Request]] = nothing_more,
    ) -> Iterator[tuple[int, list[Completion]]]:
        done: queue.SimpleQueue[tuple[int, list[Completion]]] = queue.SimpleQueue()
        works: list[tuple[Order, Future[None]]] = []
        told_at: float | None = None
        running, coming = 0, list(requests)
        try:
            while coming or running or (coming := more(True)):
                if coming:
                    self._prompts.coming(coming)
                    order = self._sampler.order(coming, sampling, done)
                    works.append((order, self._loop.start(self._sampler.serve(order))))
                    running, coming = running + len(coming), []
                if (told_at is None and enough()) or (told_at and time.monotonic() - told_at > AGAIN_S):
                    told_at = time.monotonic()
                    for order, _ in works:
                        self._loop.start(self._sampler.stop(order))
                try:
                    item = done.get(timeout=ASK_S)
                except queue.Empty:
                    self._look([work for _, work in works])
                else:
                    running -= 1
                    yield item
                if more is not nothing_more:
                    coming = more(False)
                    works = [(order, work) for order, work in works if not work.done() or work.exception()]
        finally:  # also when the caller stops early
            for _, work in works:
                work.cancel()
            self._tell()

    def _look(self, works: list[Future[None]]) -> None:
        """Raise what has gone wrong; a sign of life where the servers gave one."""
        if self._fleet.failed.done():
            self._fleet.failed.result()
        for work in works:
            if work.done():
                work.result()
        if time.monotonic() - self._fleet.sign_of_life < 2 * self._fleet.settings.timeout_s:
            heart.beat()
        self._tell()

    def _tell(self) -> None:
        """Of deaths and returns. In the main thread, as what is told is written down: sampling beside the
        trainer leaves it to the next load."""
        if threading.current_thread() is not threading.main_thread():
            return
        while (line := self._fleet.next_news()) is not None:
            self._event("server", line)

    def load(self, weights: Iterable[tuple[str, Tensor]], version: int = 0) -> Receipt:
        self._loads += 1
        stamp = f"{self._run}.{self._loads}.{version}"
        trouble: Exception | None = None
        receipt = Receipt()
        if self._fleet.leads:
            if self._loads == 1:
                transfer = self._fleet.settings.transfer
                self._fleet.news.append(said(self._fleet.backend, transfer, self._adapters))
            coming = _beating(weights)
            try:
                receipt = self._hand_over(coming, Cargo(stamp=stamp, adapters=self._adapters))
            except (SyncError, Hopeless, UserError) as error:
                trouble = error
                for _ in coming:  # other ranks gather the rest with this one, and then learn of it
                    pass
        else:
            for _ in _beating(weights):  # gathered by all ranks together
                pass
        self._tell()
        agree(trouble)
        self._fleet.cargo.stamp = self._fleet.held = stamp
        self._fleet.cargo.adapters = self._adapters
        return receipt

    def _hand_over(self, weights: Iterator[tuple[str, Tensor]], cargo: Cargo) -> Receipt:
        if self._fleet.backend is not None:
            return broadcast(self._loop, self._fleet, weights, cargo, self._names)
        cargo.parcels = pack(weights)
        self._names.check([name for parcel in cargo.parcels for name in parcel.seals])
        return self._loop.run(self._fleet.update(cargo))

    def image_gap(self, tokens: list[int], ours: Patches) -> None:
        """Servers compare for themselves, and answer with an error where they make other pixels."""
        self._loop.run(self._sampler.probe(tokens, packed(*ours)))

    def probe(self, tokens: list[int]) -> list[float]:
        """Of all servers, which must agree."""
        found = self._loop.run(self._sampler.probe(tokens))
        first, *others = found
        for name in others:
            apart = sum(abs(a - b) for a, b in zip(found[first], found[name], strict=True)) / len(
                found[first]
            )
            if not apart <= APART:
                raise SyncError(
                    f"{name} and {first} are {apart:.2e} apart on average in the logprobs of one text: they "
                    "do not compute the same model"
                )
        self._tell()
        return found[first]

    def measures(self) -> dict[str, float]:
        """Metrics of this rank's servers."""
        return {
            "rollout/server_restarts": float(self._fleet.restarts),
            "rollout/samples_sent_again": float(self._fleet.sent_again),
        }

    def sleep(self) -> None:
        """Servers have memory of their own."""

    def wake(self) -> None:
        pass

    def close(self) -> None:
        self._loop.run(self._fleet.close())
        self._tell()
        self._loop.close()


def _beating(weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    for item in weights:
        heart.beat()
        yield item


def agree(trouble: Exception | None) -> None:
    """Raise where something is wrong on any rank; all ranks call it."""
    said = distributed.gather(None if trouble is None else str(trouble))
    if trouble is not None:
        raise trouble
    for each in said:
        if each is not None:
            raise SyncError(each)
