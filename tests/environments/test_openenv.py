"""OpenEnv: its messages, its errors, a server with few sessions; against a real WebSocket."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterator
from typing import Any

import pytest
from openenv_server import GameServer, serving
from played import task
from tool_turns import turn

from rlvr_cli.core.errors import UserError
from rlvr_cli.environments.environment import Step
from rlvr_cli.environments.openenv import Openenv

NOTHING = "There is no action to be found"


@pytest.fixture
def server() -> Iterator[GameServer]:
    with serving(GameServer()) as running:
        yield running


def made(server: GameServer, **options: Any) -> Openenv:
    found = Openenv(url=server.url, **options)
    found.ready()
    found.warm()
    return found


async def episode(environment: Openenv, *texts: str, hidden: int = 5) -> list[Step]:
    own = copy.copy(environment)
    try:
        [message] = await own.reset(task("q", [""], row={"hidden": hidden}))
        assert message == {"role": "user", "content": "q\n\nGuess."}
        return [await own.step(turn(text, number)) for number, text in enumerate(texts, 1)]
    finally:
        await own.close()


def play(environment: Openenv, *texts: str, hidden: int = 5) -> list[Step]:
    return asyncio.run(episode(environment, *texts, hidden=hidden))


def test_an_episode(server: GameServer) -> None:
    environment = made(server, columns=["hidden"], options={"level": "easy"})
    first, last = play(environment, "3", '{"number": 7}', hidden=7)
    assert first.messages == [{"role": "user", "content": '{"last": 3, "right": false}'}]
    assert [(step.reward, step.done) for step in (first, last)] == [(-0.1, False), (1.0, True)]
    play(environment, "3")
    assert [data["hidden"] for data in server.resets] == [7, 5]
    assert {data["level"] for data in server.resets} == {"easy"}
    assert server.resets[0]["seed"] == server.resets[1]["seed"]
    assert (server.sessions, server.closed) == (0, 2)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("4", 4),
        ("  4\n", 4),
        ("<think>5</think>4", 4),
        ('{"number": 4, "metadata": {}}', 4),
        ('So:\n```json\n{"number": 3}\n```\nno:\n```\n{"number": 4}\n```', 4),
    ],
)
def test_an_action_out_of_a_turn(server: GameServer, text: str, number: int) -> None:
    [step] = play(made(server), text)
    assert step.messages[0]["content"] == f'{{"last": {number}, "right": false}}'


@pytest.mark.parametrize(
    ("text", "said", "count"),
    [
        ("four", "Error: 'number' must be of type integer", "without_an_action"),
        ('{"number": "four"}', "Error: number is required", "errors"),
        ("<think>4", f"{NOTHING}: <think> is opened and not closed.", "without_an_action"),
    ],
)
def test_an_action_that_is_none_is_told_of(server: GameServer, text: str, said: str, count: str) -> None:
    wrong, right = play(made(server), text, "5")
    assert (wrong.messages[0]["content"], wrong.reward, wrong.done) == (said, None, False)
    assert {name for name, value in wrong.measures.items() if value} == {count}
    assert right.reward == 1.0


def test_without_a_schema_an_action_is_json(server: GameServer) -> None:
    server.schema = None
    wrong, right = play(made(server), "5", '{"number": 5}')
    assert wrong.messages[0]["content"] == "Error: an action is a JSON object"
    assert right.reward == 1.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("99", "OpenEnv SESSION_ERROR: the session is lost"),
        ("98", "the server has hung up instead of answering step"),
        ("97", r"no answer to step within message_s \(0.2 s\)"),
    ],
)
def test_what_the_policy_has_not_caused_has_no_verdict(server: GameServer, text: str, said: str) -> None:
    with pytest.raises(RuntimeError, match=said):
        play(made(server, message_s=0.2), text)


def test_a_full_server_is_waited_for(server: GameServer) -> None:
    server.most_sessions = 1
    environment = made(server)

    async def several() -> list[list[Step]]:
        return await asyncio.gather(*(episode(environment, "3", "5") for _ in range(4)))

    assert [steps[-1].reward for steps in asyncio.run(several())] == [1.0] * 4
    assert server.most_seen == 1 and server.refused > 0


def test_and_not_for_ever(server: GameServer) -> None:
    server.most_sessions = 0
    with pytest.raises(RuntimeError, match=r"no session within wait_s \(0.3 s\): all sessions are taken"):
        play(made(server, wait_s=0.3), "3")


def test_a_server_that_is_not_there(server: GameServer) -> None:
    with pytest.raises(UserError, match=r"^openenv: no answer from http://127\.0\.0\.1:1: ConnectError"):
        Openenv(url="http://127.0.0.1:1").warm()
    environment = made(server)
    environment.url = "http://127.0.0.1:1"
    with pytest.raises(RuntimeError, match=r"no connection to ws://127\.0\.0\.1:1/ws"):
        play(environment, "3")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "url is None"),
        ({"url": "localhost:8000"}, "url is localhost:8000"),
        ({"url": "http://a", "wait_s": 700.0}, "step_s is 700"),
        ({"url": "http://a", "columns": ["seed"]}, "'seed' is given to reset already"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Openenv(**options)
