"""Gymnasium environments of texts: what is asked of them, and what the policy sees."""

from __future__ import annotations

import copy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from guessing_environment import GYMNASIUM
from played import task
from tool_turns import turn

from rlvr_cli.core.errors import UserError
from rlvr_cli.environments.environment import Step
from rlvr_cli.environments.gymnasium_text import GymnasiumText
from rlvr_cli.environments.text_actions import text_of
from rlvr_cli.verifiers.extract import Extraction


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gymnasium") / "games.py"
    path.write_text(GYMNASIUM)
    return path


def made(file: Path, name: str = "Game", **options: Any) -> GymnasiumText:
    found = GymnasiumText(factory=f"{file}:{name}", **options)
    found.ready()
    found.warm()
    return found


def begun(environment: GymnasiumText, id: str = "q", **row: Any) -> tuple[GymnasiumText, str]:
    own = copy.copy(environment)
    [message] = own.reset(task(id, [""], row=row))
    return own, message["content"]


def test_an_episode(file: Path) -> None:
    own, seen = begun(made(file, kwargs={"most": 20}), hidden=7)
    assert seen == "q\n\n0 to 20?"
    first: Step = own.step(turn("3"))
    assert (first.messages, first.reward, first.done) == ([{"role": "user", "content": "no"}], 0.0, False)
    last = own.step(turn(" 7 \n", 2))
    assert (last.reward, last.done, last.measures["terminated"]) == (1.0, True, 1.0)
    game = own._game
    own.close()
    own.close()
    assert game.closed


def test_the_game_may_end_an_episode_that_is_lost(file: Path) -> None:
    own, _ = begun(made(file), hidden=7)
    steps = [own.step(turn("3", number)) for number in (1, 2, 3)]
    assert [step.done for step in steps] == [False, False, True]
    assert steps[-1].measures["terminated"] == 0.0


def test_episodes_of_a_problem_begin_alike(file: Path) -> None:
    environment = made(file, kwargs={"most": 10**9})
    hidden = [begun(environment, id)[0]._game.hidden for id in ("a", "a", "b")]
    assert hidden[0] == hidden[1] != hidden[2]
    assert begun(environment, "a", seed=4)[0]._game.hidden == begun(environment, "b", seed=4)[0]._game.hidden


def test_where_an_action_stands(file: Path) -> None:
    own, _ = begun(made(file, extraction=Extraction.answer_tags), hidden=7)
    nothing = own.step(turn("7"))
    assert nothing.messages[0]["content"] == "There is no action to be found: no <answer>...</answer>."
    assert (nothing.reward, nothing.done, nothing.measures["without_an_action"]) == (None, False, 1.0)
    assert own.step(turn("so <answer>7</answer>", 2)).reward == 1.0
    own, _ = begun(made(file, thinking=True), hidden=7)
    assert own.step(turn("7")).measures["without_an_action"] == 1.0
    assert own.step(turn("5 or 7</think>7", 2)).reward == 1.0


def test_the_older_form(file: Path) -> None:
    own, seen = begun(made(file, "Plain"))
    assert seen == "q\n\ngo"
    step = own.step(turn("é"))
    assert (step.messages[0]["content"], step.reward) == ('["seen", "é"]', 0.25)
    own.close()


def test_observations_as_texts() -> None:
    assert text_of({"text": "a", "more": 1}) == text_of({"prompt": "a"}) == text_of("a") == "a"
    assert text_of({"messages": [{"role": "user", "content": "a"}, {"content": "b"}]}) == "a\nb"
    assert text_of({"board": [1, 2]}) == '{"board": [1, 2]}'
    assert text_of(3) == "3"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "set one of factory"),
        ({"factory": "a.py:B", "id": "B-v0"}, "set one of factory"),
        ({"factory": "a.py"}, "factory is 'a.py'"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        GymnasiumText(**options)


@pytest.mark.skipif(find_spec("gymnasium") is not None, reason="gymnasium is installed")
def test_an_id_needs_the_package() -> None:
    with pytest.raises(UserError, match="id: Text-v0 is one of gymnasium's, which is missing"):
        GymnasiumText(id="Text-v0").ready()


def test_a_file_that_does_not_import(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("x = 1\nraise OSError('no display')\n")
    with pytest.raises(UserError, match=r"^factory: broken.py line 2: OSError: no display$"):
        made(tmp_path / "broken.py")
