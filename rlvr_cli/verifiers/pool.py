"""One pool of worker processes for all verifiers of a run.

    with Pool(verifiers, config) as pool:
        future = pool.submit("math", response, answer, extra)
        verdict = future.result()

The workers are fresh interpreters (worker.py), never forks of a process that holds torch, CUDA or
vLLM. Every submitted item gets exactly one verdict; the dispatcher (dispatcher.py) sees to that.
"""

from __future__ import annotations

import pickle
import threading
from collections import OrderedDict
from collections.abc import Hashable
from concurrent.futures import Future
from time import perf_counter
from typing import Any

from rlvr_cli.core import progress
from rlvr_cli.core.types import Group, Reason, Verdict
from rlvr_cli.schema import Verification
from rlvr_cli.verifiers.backpressure import Room
from rlvr_cli.verifiers.dispatcher import Dispatcher
from rlvr_cli.verifiers.process import Item
from rlvr_cli.verifiers.several_golds import Golds, Together, judged_by, reads, settles, together
from rlvr_cli.verifiers.user_code.case import Surroundings

OUTSTANDING_PER_WORKER = 128
"""Items waiting or in work; `submit` blocks above it."""
OUTSTANDING_BYTES = 64 << 20
"""Of all of them; responses may be long."""
CACHED = 10_000
"""Verdicts remembered of verifiers that have a `key`."""


class Pool:
    """`verifiers` maps a name to a verifier instance (see the package's docstring).

    A verifier with `limits` has workers of its own: it is the only one of an inner pool.
    UserError where such a verifier misses something (a key, a file).
    """

    def __init__(
        self,
        verifiers: dict[str, Any],
        config: Verification,
        inner: bool = False,
        around: Surroundings | None = None,
    ) -> None:
        self.around = around or Surroundings()
        """Of the run, for a user's functions; whoever knows the step sets it."""
        for each in [] if inner else verifiers.values():
            if hasattr(each, "ready"):
                each.ready()
        apart = {} if inner else {n: v.limits(config) for n, v in verifiers.items() if hasattr(v, "limits")}
        self._apart = {n: Pool({n: verifiers[n]}, own, True, self.around) for n, own in apart.items()}
        batch = max([1, *(getattr(v, "batch", 1) for v in verifiers.values())]) if inner else 1
        self._verifiers = {name: v for name, v in verifiers.items() if name not in apart}
        self._room = Room(OUTSTANDING_PER_WORKER * max(1, config.workers), OUTSTANDING_BYTES)
        self._lock = threading.Lock()  # guards the cache
        self._cache: OrderedDict[Hashable, Future[Verdict]] = OrderedDict()
        verifier: Any = next(iter(verifiers.values())) if inner else None
        self._dispatcher = Dispatcher(
            config,
            pickle.dumps(self._verifiers),
            batch,
            self._finish,
            waits=getattr(verifier, "waits", False),
            forgives=getattr(verifier, "survives", False),
            patience_s=verifier.wait_s if hasattr(verifier, "wait_s") else 0.0,
        )

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def submit(self, verifier: str, response: str, answer: Golds, extra: dict[str, Any]) -> Future[Verdict]:
        """The verdict to come; of several golds any counts. Model text never makes it raise.

        Blocks while too much is outstanding, so do not call it from a future's callback.
        """
        if verifier in self._apart:
            return self._apart[verifier].submit(verifier, response, answer, extra)
        chosen = self._verifiers[verifier]
        if getattr(chosen, "wants_rows", False):
            return self.submit_group(verifier, [response], answer, extra)[0]
        use, golds, extra = reads(chosen), judged_by(chosen, answer), self._told(verifier, extra)
        known: list[Verdict] = []
        waiting: list[tuple[str, Hashable]] = []
        for gold in golds:
            verdict, key = self._at_once(verifier, response, gold, extra)
            if verdict is None:
                waiting.append((gold, key))
            elif len(golds) == 1 or settles(verdict, use):
                return _done(verdict)
            else:
                known.append(verdict)
        futures = [
            self._enqueue(Item(pickle.dumps((verifier, response, gold, extra)), _running(), key))
            for gold, key in waiting
        ]
        if not futures:
            return _done(together(known, use))
        return futures[0] if len(golds) == 1 else Together(known, futures, use).future

    def _at_once(
        self, verifier: str, response: str, gold: str, extra: dict[str, Any]
    ) -> tuple[Verdict | None, Hashable]:
        """A verdict that needs no worker; or else what it may be remembered by, if anything."""
        chosen, key = self._verifiers[verifier], None
        try:
            started = perf_counter()
            verdict = chosen.inline(response, gold, extra) if hasattr(chosen, "inline") else None
            if verdict is not None:
                verdict.ms = (perf_counter() - started) * 1000
            elif hasattr(chosen, "key"):
                key = (verifier, chosen.key(response, gold, extra))
        except Exception:  # the input is hostile; a worker finds out what has caused it
            return None, None
        return verdict, key

    def submit_group(
        self,
        verifier: str,
        responses: list[str],
        answer: Golds,
        extra: dict[str, Any],
        group: Group | None = None,
    ) -> list[Future[Verdict]]:
        """The verdicts of all samples of a problem; a verifier with `verify_group` sees them together.

        `group`: of which they are the completions, for what a user's function may ask besides.
        """
        if verifier in self._apart:
            return self._apart[verifier].submit_group(verifier, responses, answer, extra, group)
        chosen: Any = self._verifiers[verifier]
        extra = self._told(verifier, extra)
        if hasattr(chosen, "of_sample"):
            assert group is not None
            return [_done(chosen.of_sample(completion)) for completion in group.completions]
        if hasattr(chosen, "of_group") and group is not None:
            return [_done(verdict) for verdict in chosen.of_group(group, self.around.seed)]
        if getattr(chosen, "wants_rows", False):
            items = chosen.items(responses, answer, extra, group, self.around)
            return [future for item in items for future in self._ask(verifier, *item)]
        if getattr(chosen, "whole_groups", False):
            return self._ask(verifier, responses, judged_by(chosen, answer)[0], extra)
        if not hasattr(chosen, "verify_group"):
            return [self.submit(verifier, response, answer, extra) for response in responses]
        try:
            by_gold = [chosen.verify_group(responses, g, extra) for g in judged_by(chosen, answer)]
        except Exception as error:  # the input is hostile; the run must know and go on
            by_gold = [[_crash(error) for _ in responses]]
        return [_done(together(list(each), reads(chosen))) for each in zip(*by_gold, strict=True)]

    def _told(self, verifier: str, extra: dict[str, Any]) -> dict[str, Any]:
        """The columns with the run's progress among them, for a verifier that asks for it."""
        if not getattr(self._verifiers[verifier], "wants_progress", False):
            return extra
        known = progress.of(extra) or self.around.progress(verifier)
        others = {name: value for name, value in extra.items() if name != progress.KEY}
        return others if known is None else others | {progress.KEY: known}

    def _ask(
        self, verifier: str, responses: str | list[str], answer: str, extra: dict[str, Any]
    ) -> list[Future[Verdict]]:
        """The verdicts of one call in a worker, on one response or on several together."""
        message = pickle.dumps((verifier, responses, answer, extra))
        if isinstance(responses, str):
            return [self._enqueue(Item(message, _running(), None))]
        parts = [Item(b"", _running(), None) for _ in responses]
        self._enqueue(Item(message, parts[0].future, None, parts=parts, whole=True))
        return [part.future for part in parts]

    @property
    def fault(self) -> str | None:
        """Why the pool has ended by itself, if it has."""
        faults = [self._dispatcher.fault, *(pool.fault for pool in self._apart.values())]
        return next(filter(None, faults), None)

    def notice(self) -> str | None:
        """That a verifier's server has begun to be waited for; once for each time."""
        notices = [self._dispatcher.outage.notice(), *(pool.notice() for pool in self._apart.values())]
        return next(filter(None, notices), None)

    def close(self) -> None:
        """Stop at once. Items without a verdict get `crash`."""
        for pool in self._apart.values():
            pool.close()
        self._dispatcher.close()

    def _enqueue(self, item: Item) -> Future[Verdict]:
        with self._lock:
            known = self._cache.get(item.key) if item.key is not None else None
            if known is not None:
                self._cache.move_to_end(item.key)
                return known
        holder = (item.parts or [item])[0]
        holder.held = len(item.message)
        self._room.enter(holder.held)
        if item.key is not None:
            with self._lock:
                self._cache[item.key] = item.future
                if len(self._cache) > CACHED:
                    self._cache.popitem(last=False)
        try:
            self._dispatcher.add(item)
        except RuntimeError as error:
            self._finish(holder, error)  # somebody may have found it in the cache
            self._forget(item)
            raise
        return item.future

    def _forget(self, item: Item) -> None:
        with self._lock:
            self._cache.pop(item.key, None)

    def _finish(self, item: Item, outcome: Verdict | RuntimeError) -> None:
        """In the dispatcher's thread: the verdict of an item, or why there will never be one."""
        if isinstance(outcome, RuntimeError):
            item.future.set_exception(outcome)
        else:
            if not outcome.scored:  # chance, perhaps: the next one may try again
                self._forget(item)
            item.future.set_result(outcome)
        if item.held is not None:
            self._room.leave(item.held)


def _running() -> Future[Verdict]:
    """Cached futures are shared: nobody may cancel one."""
    future: Future[Verdict] = Future()
    future.set_running_or_notify_cancel()
    return future


def _done(verdict: Verdict) -> Future[Verdict]:
    future = _running()
    future.set_result(verdict)
    return future


def _crash(error: Exception) -> Verdict:
    return Verdict(score=0.0, reason=Reason.crash, detail=f"{type(error).__name__}: {error}"[:300])
