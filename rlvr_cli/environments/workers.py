"""Processes that run the episodes of a run's environments: what they say comes back as events.

An episode lives in one worker. A call that is late ends its episode (`timeout`); its worker then gets no
new episodes and is replaced once those it has are over. A worker that does not even answer a ping, or that
dies, is killed, and the episodes it had are lost (`crash`): none of them hangs, and each is told of.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import wait
from pathlib import Path
from time import monotonic
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.heartbeat import heart
from rlvr_cli.core.types import Reason
from rlvr_cli.environments.environment import Environment, Task, Turn
from rlvr_cli.environments.process import Worker

PING_S = 10.0
"""For an answer of a worker whose call is late: its loop runs unless something holds it up."""
BEAT_S = 0.2
AT_ONCE = 64
"""Problems asked about before the first step."""
END_S = 6.0
"""For workers to close what they have open, at the end of a run."""


@dataclass(slots=True, kw_only=True)
class Said:
    """What came of a call."""

    episode: int
    value: Any = None
    """What the method returned."""
    reason: Reason | None = None
    """timeout or crash where there is nothing."""
    detail: str = ""
    seconds: float = 0.0


class Workers:
    """`environments` by the names recipes give them; `logs`: a folder for what their code prints."""

    def __init__(self, environments: Mapping[str, Environment], logs: Path | None = None) -> None:
        self._environments = dict(environments)
        self._logs = logs
        self._numbers = count(1)
        self._workers: dict[str, list[Worker]] = {name: [] for name in environments}
        self._of: dict[int, Worker] = {}
        self.replaced = 0
        """Workers that were killed or died."""
        if logs is not None:
            logs.mkdir(parents=True, exist_ok=True)
        started = [self._start(name) for name, each in environments.items() for _ in range(each.workers)]
        try:
            for worker in started:
                self._await(worker)
        except BaseException:
            self.end()
            raise

    def open(self, name: str, task: Task, limit_s: float | None = None) -> int:
        """Begin an episode; what `reset` says comes as an event. Returns the episode's number."""
        return self._begin(name, "reset", task, limit_s)

    def _begin(self, name: str, call: str, task: Task, limit_s: float | None) -> int:
        fit = [worker for worker in self._workers[name] if not worker.retired]
        while len(fit) < self._environments[name].workers:
            fit.append(self._start(name))
            self._await(fit[-1])
        worker = min(fit, key=lambda each: len(each.episodes))
        episode = next(self._numbers)
        self._of[episode] = worker
        self._ask(episode, call, task, limit_s)
        return episode

    def step(self, episode: int, turn: Turn, limit_s: float | None = None) -> None:
        """Have a turn answered; the answer comes as an event. `limit_s`: what is left to the episode."""
        self._ask(episode, "step", turn, limit_s)

    def script(self, episode: int, task: Task) -> None:
        """Ask for turns that earn all there is; they come as an event."""
        self._ask(episode, "script", task)

    def out_of_room(self, episode: int) -> None:
        """Ask for what an episode has earned that cannot go on; the answer comes as an event."""
        self._ask(episode, "out_of_room", None)

    def _ask(self, episode: int, call: str, argument: Any, limit_s: float | None = None) -> None:
        if (worker := self._of.get(episode)) is not None:  # else its loss is told of already
            worker.ask(episode, call, argument, self._limit(worker, limit_s))

    def kept(self, name: str, tasks: Sequence[Task]) -> list[bool]:
        """What the environment says of each problem (`keeps`). RuntimeError where it fails in that."""
        answers: dict[int, bool | None] = {}
        waiting, numbers = list(reversed(tasks)), []
        while len(answers) < len(tasks):
            while waiting and len(self._of) < AT_ONCE:
                numbers.append(self._begin(name, "keeps", waiting.pop(), None))
            for said in self.heard(BEAT_S):
                if said.reason is not None:
                    raise RuntimeError(f"environments.{name}: keeps: {said.detail}")
                answers[said.episode] = bool(said.value)
                self.close(said.episode)
        return [bool(answers[number]) for number in numbers]

    def close(self, episode: int) -> None:
        """The episode is over."""
        if (worker := self._of.pop(episode, None)) is not None:
            worker.drop(episode)
            self._tidy(worker)

    def heard(self, wait_s: float) -> list[Said]:
        """What has come, once something has or the time is over."""
        found: list[Said] = []
        until = monotonic() + wait_s
        while True:
            by_connection = {w.connection: w for each in self._workers.values() for w in each}
            moments = [late for w in by_connection.values() for late in (*w.episodes.values(), _pong_by(w))]
            left = 0.0 if found else max(0.0, min([until, *moments]) - monotonic())
            for connection in wait(list(by_connection), min(left, BEAT_S)):
                # All that is there: who asks may have been away for longer than a call may take.
                while not connection.closed and connection.poll():  # type: ignore[union-attr]
                    found += self._hear(by_connection[connection])  # type: ignore[index]
            found += self._enforce()
            heart.beat()
            if found or monotonic() >= until:
                return found

    def end(self) -> None:
        """Stop all of them; what they have open they may close."""
        workers = [worker for each in self._workers.values() for worker in each]
        self._workers = {name: [] for name in self._workers}
        for worker in workers:
            worker.hang_up()
        until = monotonic() + END_S
        for worker in workers:
            worker.stop(max(0.0, until - monotonic()))

    def _start(self, name: str) -> Worker:
        log = None if self._logs is None else self._logs / f"environment.{name}.log"
        worker = Worker(self._environments[name], log)
        self._workers[name].append(worker)
        return worker

    def _await(self, worker: Worker) -> None:
        """Until it is ready; UserError in one line where it cannot be."""
        name = next(name for name, each in self._workers.items() if worker in each)
        until = monotonic() + worker.environment.start_s
        while not worker.connection.poll(BEAT_S):
            heart.beat()
            if monotonic() > until:
                raise UserError(
                    f"environments.{name} has not loaded within {worker.environment.start_s:g} s; raise "
                    f"environments.{name}.start_s"
                )
        try:
            said = worker.connection.recv()
        except (EOFError, OSError):
            said = ("broken", f"its process died ({worker.process.wait()})")
        if said != "ready":
            more = "" if self._logs is None or said[0] == "refused" else f"; {worker.log} has more"
            raise UserError(f"environments.{name}: {said[1]}{more}")

    def _limit(self, worker: Worker, limit_s: float | None) -> float:
        own = worker.environment.step_s
        return own if limit_s is None else min(own, max(0.0, limit_s))

    def _hear(self, worker: Worker) -> list[Said]:
        try:
            episode, kind, value, seconds = worker.connection.recv()
        except (EOFError, OSError):
            return self._gone(worker, f"its worker died ({worker.process.wait()})")
        if kind == "pong":
            worker.pinged = None
            self._tidy(worker)
            return []
        if worker.episodes.get(episode, float("inf")) == float("inf"):
            return []  # it came too late
        worker.episodes[episode] = float("inf")
        if kind == "failed":
            return [Said(episode=episode, reason=Reason.crash, detail=value, seconds=seconds)]
        return [Said(episode=episode, value=value, seconds=seconds)]

    def _enforce(self) -> list[Said]:
        """End what is late."""
        found, now = [], monotonic()
        for worker in [worker for each in self._workers.values() for worker in each]:
            if now > _pong_by(worker):
                found += self._gone(worker, "its worker was held up by another episode and was killed")
                continue
            for episode in [episode for episode, late in worker.episodes.items() if now > late]:
                limit = worker.limits[episode]
                detail = f"no answer of the environment within {limit:g} s"
                found.append(Said(episode=episode, reason=Reason.timeout, detail=detail, seconds=limit))
                self._of.pop(episode, None)
                worker.drop(episode)
                worker.retired = True
                if worker.pinged is None:
                    worker.pinged = now
                    worker.send_bytes(pickle.dumps((0, "ping", None)))
        return found

    def _gone(self, worker: Worker, detail: str) -> list[Said]:
        """It is dead or frozen: what it had is lost."""
        found = [Said(episode=each, reason=Reason.crash, detail=detail) for each in worker.episodes]
        for each in worker.episodes:
            self._of.pop(each, None)
        self._remove(worker)
        return found

    def _tidy(self, worker: Worker) -> None:
        """Stop a worker that takes no new episodes once it has none."""
        if worker.retired and not worker.episodes and worker.pinged is None:
            self._remove(worker)

    def _remove(self, worker: Worker) -> None:
        self.replaced += 1
        for each in self._workers.values():
            if worker in each:
                each.remove(worker)
        worker.hang_up()
        worker.stop()


def _pong_by(worker: Worker) -> float:
    return float("inf") if worker.pinged is None else worker.pinged + PING_S
