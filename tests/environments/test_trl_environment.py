"""Classes written for TRL: the same calls, texts and rewards as in its own loop."""

from __future__ import annotations

import asyncio
import copy
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from guessing_environment import TRL
from played import task
from tool_turns import call, turn

from rlvr_cli.core.errors import UserError
from rlvr_cli.environments.environment import Message, Step
from rlvr_cli.environments.tool_calls import Syntax
from rlvr_cli.environments.trl_environment import TrlEnvironment


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trl") / "games.py"
    path.write_text(TRL)
    return path


def made(file: Path, name: str = "Game", **options: Any) -> TrlEnvironment:
    found = TrlEnvironment(factory=f"{file}:{name}", syntax=Syntax.hermes, **options)
    found.warm()
    return found


@pytest.fixture
def game(file: Path) -> TrlEnvironment:
    return made(file, call_s=0.5)


def play(
    environment: TrlEnvironment, *texts: str, last: bool = False, **row: Any
) -> tuple[list[Message] | None, list[Step]]:
    """What `reset` says, and the answers to the turns."""

    async def episode() -> tuple[list[Message] | None, list[Step]]:
        own = copy.copy(environment)
        begun = await own.reset(task("Q?", [""], row={"hidden": 5} | row))
        try:
            steps = []
            for number, text in enumerate(texts, 1):
                steps.append(await own.step(turn(text, number, last=last)))
                if steps[-1].over:
                    break
            return begun, steps
        finally:
            await own.close()

    return asyncio.run(episode())


def objects_of(environment: TrlEnvironment) -> list[Any]:
    """All that have been made of the class."""
    found: list[Any] = sys.modules[environment._pool._made.__module__].MADE
    return found


def said(steps: list[Step]) -> Iterator[str]:
    return (message["content"] for step in steps for message in step.messages)


def test_an_episode(game: TrlEnvironment) -> None:
    begun, steps = play(game, call("guess", number=3), call("guess", number=5), "It is 5.", tell=True)
    assert begun == [{"role": "user", "content": "Q? It is below 15."}]  # nothing between
    assert list(said(steps)) == ["too low", "right"]
    assert [step.reward for step in steps] == [None, None, 0.5]
    assert [step.over for step in steps] == [False, False, True]
    assert steps[0].calls[0]["function"] == {"name": "guess", "arguments": {"number": 3}}
    assert steps[0].messages[0]["tool_call_id"] == steps[0].calls[0]["id"]
    assert steps[0].measures["tool/guess/calls"] == 1.0
    assert play(game, "No.")[0] is None


def test_calls_of_a_turn_run_one_after_the_other(game: TrlEnvironment) -> None:
    text = call("rest", seconds=0.2) + call("guess", number=9) + call("sleep", seconds=0.0)
    _, [step] = play(game, text)
    assert list(said([step])) == ["{'rested': 0.2}", "too high", "slept"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (call("guess", number=-1), "{'error': 'below zero'}"),
        (call("rest", seconds=9), "{'error': 'no result within 0.5 s'}"),
        (call("sleep", seconds=0.8), "{'error': 'no result within 0.5 s'}"),
        (
            call("guess", number="x"),
            "Error: invalid arguments for 'guess': number: 'x' is not of type 'integer'",
        ),
        (call("reset"), "Unknown function 'reset'. Available tools: [guess, rest, sleep]"),
        (call("_secret"), "Unknown function '_secret'. Available tools: [guess, rest, sleep]"),
    ],
)
def test_what_goes_wrong_is_told(game: TrlEnvironment, text: str, told: str) -> None:
    _, [step] = play(game, text)
    assert list(said([step])) == [told] and not step.over
    assert step.measures["tool/failures"] == 1.0


def test_calls_of_the_last_turn_are_not_run(file: Path) -> None:
    _, steps = play(made(file, max_turns=2), call("guess", number=1), call("guess", number=5))
    assert (steps[-1].reward, steps[-1].done, steps[-1].messages) == (1.0, True, [])
    _, [step] = play(made(file), call("guess", number=1), last=True)  # no room for a turn after it
    assert (step.reward, step.done, list(said([step]))) == (1.0, True, ["too low"])


def test_objects_are_used_again_unless_a_call_is_still_under_way(file: Path) -> None:
    environment = made(file, call_s=0.2)
    objects = objects_of(environment)
    for _ in range(3):
        play(environment, call("guess", number=1))
    assert len(objects) == 1 and objects[0].guesses == 1
    play(environment, call("sleep", seconds=0.5))
    play(environment, call("guess", number=1))
    assert len(objects) == 2
    time.sleep(0.4)


def test_a_class_without_a_reward_and_another_factory(file: Path) -> None:
    assert play(made(file, "NoReward"), "done")[1][0].reward is None
    assert play(made(file, "made"), "done")[1][0].reward == 0.0


def test_reset_gets_the_columns_that_it_takes(file: Path) -> None:
    environment = made(file)
    play(environment, "x", other=7)
    assert objects_of(environment)[-1].row == {
        "prompt": [{"role": "user", "content": "Q?"}],
        "other": 7,
        "answer": "",
    }


@pytest.mark.slow
def test_the_trainer_sees_the_tools_without_importing_them(file: Path) -> None:
    environment = TrlEnvironment(factory=f"{file}:Game")
    assert [each["function"]["name"] for each in environment.schemas()] == ["guess", "rest", "sleep"]
    environment.choose_syntax('<tool_call> {"arguments"')
    assert environment.syntax is Syntax.hermes
    with pytest.raises(UserError, match=r"^factory: games.py has no 'Gmae'"):
        TrlEnvironment(factory=f"{file}:Gmae").ready()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("NoTools", "factory: NoTools has no public method that could be a tool"),
        ("Undescribed", "Undescribed.act|act has no docstring|has no docstring"),
        ("MADE", "cannot be called"),
    ],
)
def test_classes_that_cannot_be_used(file: Path, name: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        made(file, name)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "factory is not set"),
        ({"factory": "games.py"}, "it must be file.py:Name"),
        ({"factory": "games"}, "it must be file.py:Name"),
        ({"factory": "a.py:B", "syntax": Syntax.tags}, "syntax: tags"),
        ({"factory": "a.py:B", "call_s": 90.0}, "call_s is 90.0"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        TrlEnvironment(**options)
    with pytest.raises(UserError, match=r"missing.py: No such file"):
        TrlEnvironment(factory="missing.py:Name", syntax=Syntax.hermes).warm()
