"""Episodes in processes: answers, failures each with its own verdict, and nobody else is held up for long."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from scripted_environment import Refusing, Scripted, Waiting

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Reason
from rlvr_cli.environments.environment import Step, Task, Turn
from rlvr_cli.environments.workers import Said, Workers

TURN = Turn(text="hello", number=1, last=False, finished=True)


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    made = Workers({"scripted": Scripted(step_s=20.0), "waiting": Waiting(wait_s=0.05)})
    yield made
    made.end()


def task(**row: Any) -> Task:
    return Task(id="t", prompt=[], question="", answer="", golds=[], row=row, seed=1)


def heard(workers: Workers, count: int, within_s: float = 30.0) -> list[Said]:
    found: list[Said] = []
    until = time.monotonic() + within_s
    while len(found) < count and time.monotonic() < until:
        found += workers.heard(0.5)
    return found


def played(workers: Workers, *script: Any, name: str = "scripted", **row: Any) -> Said:
    """What comes of the first turn."""
    episode = workers.open(name, task(script=list(script), **row))
    [reset] = heard(workers, 1)
    assert (reset.episode, reset.reason) == (episode, None)
    workers.step(episode, TURN)
    [said] = heard(workers, 1)
    assert said.episode == episode
    workers.close(episode)
    return said


def test_a_step_comes_back(workers: Workers) -> None:
    said = played(workers, {"step": {"text": "yes", "reward": 0.5, "measures": {"n": 1}}})
    assert said.value == Step(text="yes", reward=0.5, measures={"n": 1.0})
    assert said.reason is None


def test_what_reset_says(workers: Workers) -> None:
    episode = workers.open("scripted", task(first={"return": [{"role": "user", "content": "Go"}]}))
    [said] = heard(workers, 1)
    assert said.value == [{"role": "user", "content": "Go"}]
    workers.close(episode)


def test_an_exception_is_that_episodes(workers: Workers) -> None:
    said = played(workers, {"raise": "no such thing"})
    assert (said.reason, said.detail) == (Reason.crash, "RuntimeError: no such thing")
    assert workers.replaced == 0


def test_coroutines_wait_together(workers: Workers) -> None:
    started = time.monotonic()
    episodes = [workers.open("waiting", task()) for _ in range(40)]
    heard(workers, 40)
    for episode in episodes:
        workers.step(episode, TURN)
    found = heard(workers, 40)
    assert {said.episode for said in found} == set(episodes)
    assert all(said.seconds >= 0.05 for said in found)
    assert (
        time.monotonic() - started < 40 * 0.05 + 5
    )  # one after the other they would not have begun so early
    for episode in episodes:
        workers.close(episode)


def test_plain_methods_wait_in_threads(workers: Workers) -> None:
    """Twenty sleeps of half a second one after the other are ten seconds."""
    episodes = [workers.open("scripted", task(script=[{"sleep": 0.5}])) for _ in range(20)]
    heard(workers, 20)
    started = time.monotonic()
    for episode in episodes:
        workers.step(episode, TURN)
    assert len(heard(workers, 20)) == 20
    assert time.monotonic() - started < 8
    for episode in episodes:
        workers.close(episode)


def test_each_episode_has_its_own_copy(workers: Workers) -> None:
    first = workers.open("scripted", task(script=[{"step": {"text": "a"}}]))
    second = workers.open("scripted", task(script=[{"step": {"text": "b"}}]))
    heard(workers, 2)
    workers.step(first, TURN)
    [said] = heard(workers, 1)
    assert said.value.text == "a"
    workers.step(second, TURN)
    [said] = heard(workers, 1)
    assert said.value.text == "b"
    workers.close(first)
    workers.close(second)


def test_a_call_that_is_late() -> None:
    workers = Workers({"scripted": Scripted(step_s=0.5)})
    try:
        beside = workers.open("scripted", task(script=[{"step": {"text": "fine"}}]))
        late = workers.open("scripted", task(script=[{"sleep": 30}]))
        heard(workers, 2)
        workers.step(late, TURN)
        [said] = heard(workers, 1)
        assert (said.episode, said.reason) == (late, Reason.timeout)
        assert said.detail == "no answer of the environment within 0.5 s"
        workers.step(beside, TURN)  # the other one goes on where it is
        [said] = heard(workers, 1)
        assert (said.episode, said.value.text) == (beside, "fine")
        fresh = workers.open("scripted", task(script=[]))  # in another process
        assert [said.episode for said in heard(workers, 1)] == [fresh]
        workers.close(late)
        workers.close(beside)
        workers.heard(0.2)
        assert workers.replaced == 1
    finally:
        workers.end()


def test_what_is_left_to_an_episode_counts_too(workers: Workers) -> None:
    episode = workers.open("scripted", task(script=[{"sleep": 1.0}]))
    heard(workers, 1)
    workers.step(episode, TURN, limit_s=0.1)
    [said] = heard(workers, 1)
    assert (said.reason, said.detail) == (Reason.timeout, "no answer of the environment within 0.1 s")


def test_a_worker_that_dies_loses_what_it_has() -> None:
    workers = Workers({"scripted": Scripted()})
    try:
        dying = workers.open("scripted", task(script=[{"die": 1}]))
        beside = workers.open("scripted", task(script=[{"step": {}}]))
        heard(workers, 2)
        workers.step(dying, TURN)
        found = heard(workers, 2)
        assert {said.episode for said in found} == {dying, beside}
        assert {(said.reason, said.detail) for said in found} == {(Reason.crash, "its worker died (3)")}
        assert workers.replaced == 1
        workers.step(beside, TURN)  # told of already
        assert workers.heard(0.1) == []
        fresh = workers.open("scripted", task(script=[]))
        assert [said.episode for said in heard(workers, 1)] == [fresh]
    finally:
        workers.end()


@pytest.mark.slow
def test_a_worker_that_is_held_up_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    from rlvr_cli.environments import workers as module

    monkeypatch.setattr(module, "PING_S", 1.0)
    workers = Workers({"scripted": Scripted(step_s=0.5)})
    try:
        hung = workers.open("scripted", task(script=[{"hang": 60}]))
        beside = workers.open("scripted", task(script=[]))
        heard(workers, 2)
        workers.step(hung, TURN)
        found = heard(workers, 2)
        assert [(said.episode, said.reason) for said in found] == [
            (hung, Reason.timeout),
            (beside, Reason.crash),
        ]
        assert found[1].detail == "its worker was held up by another episode and was killed"
    finally:
        workers.end()


def test_one_that_does_not_load_says_why_in_a_line() -> None:
    with pytest.raises(UserError, match=r"^environments.search: there is no corpus at nowhere.jsonl$"):
        Workers({"search": Refusing()})


def test_answers_that_were_there_in_time_count_though_nobody_listened() -> None:
    """An engine in the same thread samples for longer than a call may take."""
    workers = Workers({"scripted": Scripted(step_s=0.5)})
    try:
        episodes = [workers.open("scripted", task(script=[{"step": {"text": "fine"}}])) for _ in range(6)]
        assert len(heard(workers, 6)) == 6
        for episode in episodes:
            workers.step(episode, TURN)
        time.sleep(1.5)
        found = heard(workers, 6)
        assert [said.reason for said in found] == [None] * 6
        assert workers.replaced == 0
    finally:
        workers.end()
