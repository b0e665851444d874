"""Whether a response has a verdict is not its choice: what it causes is refused, only the rest is none."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers.answer import MEMORY, Unreachable
from rlvr_cli.verifiers.deadline import TooLate, TooMuch, Wants, listen, within
from rlvr_cli.verifiers.outage import FIRST_S, LONGEST_S, Outage
from rlvr_cli.verifiers.worker import Worker

COMPUTING_S, CLOCK_S, LONG_S = 0.15, 0.4, 20.0


@pytest.fixture(autouse=True)
def clocks() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGPROF)}
    listen()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def spin(seconds: float) -> float:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return seconds


@dataclass(kw_only=True)
class Obedient:
    """Does what the response says, or the gold answer."""

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        for action in (response, answer):
            if action == "spin":
                spin(20)
            elif action == "sleep":
                time.sleep(20)
            elif action == "memory":
                raise MemoryError
            elif action == "recurse":
                self.verify(response, answer, extra)
            elif action == "bug":
                raise KeyError("bug")
            elif action == "disk":
                raise OSError("no space left")
            elif action == "down":
                raise Unreachable("connection refused")
        return Verdict(score=1.0, reason=Reason.correct)


@dataclass(kw_only=True)
class Waiting(Obedient):
    waits: ClassVar[bool] = True


def answer(response: str, gold: str = "", kind: type[Obedient] = Obedient) -> Any:
    worker = Worker({"v": kind()}, COMPUTING_S, CLOCK_S if response == "sleep" or kind is Waiting else LONG_S)
    return worker.answer("v", [(response, gold, {})])


def test_two_clocks_tell_computing_from_waiting() -> None:
    with pytest.raises(TooMuch):
        within(lambda: spin(20), COMPUTING_S, LONG_S)
    started = time.monotonic()
    with pytest.raises(TooLate) as late:
        within(lambda: time.sleep(20), COMPUTING_S, CLOCK_S)
    assert not isinstance(late.value, TooMuch) and time.monotonic() - started < 10
    assert within(lambda: spin(0.2), None, LONG_S) == 0.2, "a verifier that waits may compute"
    assert within(lambda: 7, COMPUTING_S, CLOCK_S) == 7
    spin(2 * COMPUTING_S)
    time.sleep(CLOCK_S)  # neither rings once it is over


@pytest.mark.parametrize(
    ("response", "gold", "reason", "detail"),
    [
        ("spin", "", Reason.refused, "took more than 0.15 s"),
        ("sleep", "", Reason.timeout, "no verdict within 0.4 s"),
        ("memory", "", Reason.refused, MEMORY),
        ("recurse", "", Reason.refused, "RecursionError"),
        ("bug", "", Reason.refused, "KeyError: 'bug'"),
        ("fine", "bug", Reason.crash, "KeyError: 'bug'"),
        ("bug", "bug", Reason.crash, "KeyError: 'bug'"),
        ("disk", "", Reason.crash, "OSError: no space left"),
    ],
)
def test_what_a_response_causes_is_refused(response: str, gold: str, reason: Reason, detail: str) -> None:
    found = answer(response, gold)
    [verdict] = found.verdicts
    assert (verdict.reason, verdict.score) == (reason, 0) and verdict.detail.startswith(detail)
    assert found.spent, "nobody knows what is left in this process"


@dataclass(kw_only=True)
class Solved(Obedient):
    """Looks at the gold answer only where there is an answer; with responses that are known to be right."""

    solution: str = ""

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        if not response:
            return Verdict(score=0.0, reason=Reason.no_answer)
        return Obedient.verify(self, response, answer, extra)

    def gold_responses(self, answer: str, extra: dict[str, Any]) -> list[str]:
        return [self.solution] if self.solution else []


def test_a_response_is_blamed_only_where_another_one_is_compared_with_the_gold_answer() -> None:
    """An empty response that is turned away at the door says nothing of what lies behind it."""

    def reason(solution: str, gold: str) -> Reason:
        worker = Worker({"v": Solved(solution=solution)}, COMPUTING_S, LONG_S)
        return worker.answer("v", [("bug", gold, {})]).verdicts[0].reason

    assert reason("", "") is Reason.crash, "nothing is known to be judged"
    assert reason("solution", "") is Reason.refused
    assert reason("solution", "bug") is Reason.crash


def test_an_error_that_does_not_come_again_was_chance() -> None:
    @dataclass(kw_only=True)
    class Once(Obedient):
        calls: int = 0

        def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
            self.calls += 1
            return super().verify("bug" if self.calls == 1 else response, answer, extra)

    assert answer("fine", kind=Once).verdicts[0].reason is Reason.correct


def test_what_a_server_or_a_model_takes_is_no_responses_doing() -> None:
    assert answer("spin", kind=Waiting).verdicts[0].reason is Reason.timeout
    assert answer("bug", kind=Waiting).verdicts[0].reason is Reason.crash
    assert answer("memory", kind=Waiting).verdicts[0].reason is Reason.crash
    assert answer("down", kind=Waiting).unreachable == "connection refused"


def test_memory_that_others_may_have_left_full_is_asked_for_again() -> None:
    worker = Worker({"v": Obedient()}, COMPUTING_S, LONG_S)
    assert worker.answer("v", [("fine", "", {})]).verdicts[0].score == 1
    found = worker.answer("v", [("memory", "", {})])
    assert found.again and found.spent and not found.verdicts


def test_an_outage_is_waited_for_with_growing_pauses_and_told_once() -> None:
    now = [100.0]
    outage = Outage(60.0, now=lambda: now[0])
    assert not outage.going_on and outage.notice() is None
    outage.failed("refused")
    assert outage.going_on and outage.again_at == 100 + FIRST_S
    outage.failed("refused")  # another that was asked at the same time
    assert outage.again_at == 100 + FIRST_S
    assert outage.notice() == "refused; waiting up to 60 s for it" and outage.notice() is None
    pauses = []
    while not outage.hopeless:
        now[0] = outage.again_at
        outage.failed("refused")
        pauses.append(outage.again_at - now[0])
    assert pauses[:3] == [2 * FIRST_S, 4 * FIRST_S, 8 * FIRST_S] and max(pauses) <= LONGEST_S
    assert now[0] >= 160 and outage.again_at == now[0], "who comes now asks at once"
    assert outage.detail == "refused (waited for 60 s)"
    outage.over()
    assert not outage.going_on and not outage.hopeless


def test_a_process_that_is_kept_from_computing_is_told_from_one_that_waits() -> None:
    wants = Wants()
    wants.begin(LONG_S)
    spin(0.1)
    assert wants()
    wants.begin(0.0)
    assert not wants(), "not for ever"
    wants.begin(LONG_S)
    time.sleep(0.3)
    assert not wants()
    wants.close()
