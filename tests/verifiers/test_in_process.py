"""Bounds and rules of the pool and the judge of programs, with a clock and workers of the test's
own: no process is started."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from multiprocessing.connection import Pipe
from typing import Any

import pytest

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.schema import Verification
from rlvr_cli.verifiers import code_judge, code_tests, dispatcher, pool
from rlvr_cli.verifiers.answer import Answer
from rlvr_cli.verifiers.code import Code, Scoring
from rlvr_cli.verifiers.process import Item
from rlvr_cli.verifiers.sandbox.running import Outcome


class Worker:
    """Stands for a worker, its process and its connection: ready at once, and dead of an item it is handed as
    long as there are `deaths` left; then it answers."""

    deaths = 0
    handed = 0

    def __init__(self, config: Verification, payload: bytes, clock_s: float) -> None:
        self.connection = self.process = self
        self.ready, self.served, self.deadline, self.returncode = True, 0, math.inf, 3
        self.item: Item | None = None
        self._ours, self._theirs = Pipe()
        self.fileno, self.recv, self.poll = self._ours.fileno, self._ours.recv, self._ours.poll

    def begin(self, item: Item) -> None:
        self.item = item
        item.attempts += 1
        Worker.handed += 1
        if Worker.deaths:
            Worker.deaths -= 1
            self._theirs.close()
        else:
            self._theirs.send(Answer(verdicts=[Verdict(score=1.0, reason=Reason.correct)]))

    def wait(self, seconds: float) -> int:
        return self.returncode

    def stop(self) -> None:
        self._ours.close()
        self._theirs.close()


@pytest.mark.parametrize(
    ("deaths", "handed", "reason"),
    [(0, 1, Reason.correct), (1, 2, Reason.correct), (2, 2, Reason.crash), (50, 2, Reason.crash)],
)
def test_an_item_whose_worker_died_is_tried_once_more_and_then_a_crash(
    deaths: int, handed: int, reason: Reason, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "Worker", Worker)
    monkeypatch.setattr(Worker, "deaths", deaths)
    monkeypatch.setattr(Worker, "handed", 0)
    future: Future[Any] = Future()
    running = dispatcher.Dispatcher(
        Verification(workers=1), b"", 1, lambda item, outcome: item.future.set_result(outcome)
    )
    try:
        running.add(Item(b"an item", future, None))
        verdict = future.result(20)
    finally:
        running.close()
    assert (verdict.reason, Worker.handed) == (reason, handed)
    assert verdict.detail == ("worker died (exit code 3)" if reason is Reason.crash else "")


class Here:
    """A dispatcher that judges in this process, at once."""

    def __init__(
        self,
        config: Verification,
        payload: bytes,
        batch: int,
        finish: Callable[[Item, Verdict], None],
        *,
        waits: bool,
        forgives: bool,
        patience_s: float,
    ) -> None:
        self.verifiers, self.finish, self.fault = pickle.loads(payload), finish, None

    def add(self, item: Item) -> None:
        name, *case = pickle.loads(item.message)
        self.finish(item, self.verifiers[name].verify(*case))

    def close(self) -> None:
        pass


@dataclass(kw_only=True)
class Longer:
    """Accepts responses of more than so many characters."""

    than: int

    def key(self, response: str, answer: str, extra: dict[str, Any]) -> tuple[str, str]:
        return response, answer

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        right = len(response) > self.than
        return Verdict(score=float(right), reason=Reason.correct if right else Reason.wrong)


def test_a_remembered_verdict_is_of_the_verifier_that_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "Dispatcher", Here)
    verifiers = {"loose": Longer(than=2), "strict": Longer(than=9)}
    with pool.Pool(verifiers, Verification(workers=1)) as judges:
        first = judges.submit("loose", "12345", "", {})
        assert first.result().score == 1.0
        assert judges.submit("strict", "12345", "", {}).result().score == 0.0
        assert judges.submit("loose", "12345", "", {}) is first  # it is remembered
        assert judges.submit("loose", "1", "", {}).result().score == 0.0


class Box:
    """A sandbox with a clock of its own, in which the program prints what it reads, and hangs on `hang`."""

    now = 100.0

    def script(self, source: str, stdin: bytes, seconds: float) -> Outcome:
        hangs = stdin == b"hang"
        self.now += seconds if hangs else 0.01
        return Outcome(code=-9, stdout=b"", stopped="time") if hangs else Outcome(code=0, stdout=stdin)


def test_a_test_that_hangs_takes_its_own_time_and_not_that_of_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def judged(total_s: float, *inputs: bytes) -> tuple[tuple[int, str, bool], float]:
        box: Any = Box()
        monkeypatch.setattr(code_judge, "monotonic", lambda: box.now)
        scripts = [code_tests.Script(stdin=given, stdout=given.decode()) for given in inputs]
        settings = Code(timeout_s=1.0, total_s=total_s, scoring=Scoring.fraction)
        return code_judge.run(box, "", code_tests.Tests(cases=scripts), settings), box.now - 100.0

    found, seconds = judged(4.0, b"1", b"hang", b"2", b"3")
    assert found == (3, "test 2 of 4: no answer in time", False) and seconds == pytest.approx(1.03)
    found, seconds = judged(1.5, b"1", b"hang", b"hang", b"3")  # the second has 0.49 s left
    assert found == (1, "no time left after test 3 of 4 (total_s)", True) and seconds == pytest.approx(1.5)
