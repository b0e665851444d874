"""Environments of a recipe: what is refused, in one line, and what a plugin brings."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from own_code import ENVIRONMENT

from rlvr_cli import algorithms, compose
from rlvr_cli.commands.main import main
from rlvr_cli.compose import find_plugins
from rlvr_cli.compose.environments import check_environments, refuse_environments
from rlvr_cli.compose.plugin_places import Places
from rlvr_cli.compose.profile import load_profile
from rlvr_cli.compose.verify import load_verify
from rlvr_cli.core.errors import UserError
from rlvr_cli.environments import find
from rlvr_cli.schema import Bench, EvalRecipe, Placement, Recipe, Rollout, Server, Source
from rlvr_cli.verifiers.environment import Credit, Scale
from rlvr_cli.verifiers.environment import Environment as Given
from rlvr_cli.verifiers.math import Math

GAME = """\
defaults:
  - algorithm: grpo
  - environment@environments.game: guess
  - verifier@verifiers.won: environment
  - model: tiny
  - _self_
name: game
data: {train: {path: numbers.jsonl, environment: game, verifiers: [won]}}
"""
GUESS = find("guess")()


@cache
def game() -> Recipe:
    """The typed recipe, composed once."""
    made = Recipe(
        name="game",
        data={"train": Source(path="numbers.jsonl", environment="game", verifiers=["won"])},
        verifiers={"won": Given()},
        environments={"game": GUESS},
    )
    preset = compose.load("tiny_dapo", [])
    assert isinstance(preset, Recipe)
    return replace(made, algorithm=preset.algorithm)


def source(**changes: Any) -> dict[str, Source]:
    return {"train": replace(game().data["train"], **changes)}


def bench(**changes: Any) -> Bench:
    return Bench(**{"source": Source(path="x.jsonl"), "verifier": Given(), "environment": GUESS} | changes)


def with_bench(**changes: Any) -> Recipe:
    return replace(game(), eval=replace(game().eval, benches={"own": bench(**changes)}))


WRONG: dict[str, tuple[Any, str]] = {
    "unknown": (
        lambda: replace(game(), data=source(environment="gmae")),
        "data.train.environment: 'gmae' is not in environments; did you mean 'game'?",
    ),
    "unused": (
        lambda: replace(
            game(), data=source(environment=None, verifiers=["math"]), verifiers={"math": Math()}
        ),
        "environments.game is used by no source; set data.<name>.environment=game",
    ),
    "reads nothing": (
        lambda: replace(game(), data=source(environment=None)),
        "data.train.verifiers: won: one answer is judged there: set data.train.environment",
    ),
    "bench's source": (
        lambda: with_bench(source=Source(path="x.jsonl", environment="game")),
        "eval.benches.own.source.environment names one of a run's; set eval.benches.own.environment",
    ),
    "bench reads nothing": (
        lambda: with_bench(environment=None),
        "eval.benches.own.verifier reads what an environment gives, and the bench has none",
    ),
    "staleness": (
        lambda: replace(game(), rollout=Rollout(max_staleness=1)),
        "data.train.environment: rollout.max_staleness=1 would leave episodes half played",
    ),
    "tensor parallel": (
        lambda: replace(game(), rollout=Rollout(tensor_parallel=2)),
        "data.train.environment: with rollout.tensor_parallel=2 an engine in the trainer's process",
    ),
    "segments": (
        lambda: replace(
            game(),
            algorithm=replace(game().algorithm, advantage=algorithms.options("advantage")["segment"]()),
        ),
        "data.train.environment: algorithm.advantage=segment samples anew from within a response",
    ),
    "credit to turns of one advantage": (
        lambda: replace(game(), verifiers={"won": by_turns()}),
        "verifiers.won.credit=turn: algorithm.advantage=group_zscore gives one advantage to a whole sample",
    ),
    "credit to turns beside another verifier": (
        lambda: replace(
            game(),
            algorithm=replace(game().algorithm, advantage=algorithms.options("advantage")["reinforce"]()),
            data=source(verifiers=["won", "math"]),
            verifiers={"won": by_turns(), "math": Math()},
        ),
        "verifiers.won.credit=turn and data.train.verifiers has others",
    ),
}


def by_turns() -> Given:
    return Given(scale=Scale.own, credit=Credit.turn)


def test_credit_to_turns_takes_rewards_as_they_are() -> None:
    with pytest.raises(ValueError, match="credit=turn takes rewards as they are; set scale=own"):
        Given(credit=Credit.turn)


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_played_is_refused_in_one_line(name: str) -> None:
    made, said = WRONG[name]
    with pytest.raises(ValueError) as error:
        check_environments(made())
    assert said in str(error.value) and "\n" not in str(error.value)


def test_what_can_be_played_passes() -> None:
    check_environments(game())
    check_environments(with_bench())
    servers = Rollout(tensor_parallel=2, placement=Placement.servers)
    check_environments(replace(game(), rollout=servers))
    only_bench = replace(with_bench(), data=source(environment=None, verifiers=["math"]))
    check_environments(replace(only_bench, verifiers={"math": Math()}))  # the bench has the same environment


def test_evaluations() -> None:
    own = EvalRecipe(benches={"own": bench()})
    check_environments(own)
    with pytest.raises(ValueError, match=r"benches\.own\.environment: server\.url samples texts"):
        check_environments(replace(own, server=Server(url="http://localhost:1")))
    stored = EvalRecipe(benches={"own": bench(environment=None)}, rescore={"own": "own.json"})
    check_environments(stored)  # its episodes are there
    with pytest.raises(ValueError, match="the bench has none"):
        check_environments(replace(stored, rescore={}))


def test_sft_plays_nothing() -> None:
    with pytest.raises(ValueError, match=r"data\.train\.environment has no use: sft samples nothing"):
        refuse_environments(game().data, "sft samples nothing")


def test_texts_have_no_episodes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="reads what an environment gave to an episode"):
        load_verify(["environment"], [], "x.jsonl", [])


@pytest.mark.slow
def test_from_the_file_to_the_typed_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "game.yaml"
    file.write_text(GAME)
    made = compose.load(str(file), ["environments.game.most=9", "data.train.holdout=0.1"])
    assert isinstance(made, Recipe) and made.environments["game"].most == 9
    assert made.eval.benches["train"].environment == made.environments["game"]  # of the held-out problems
    assert compose.load(str(file), []).environments["game"].most == 1024  # type: ignore[union-attr]
    for override, said in {
        "environments.game.mots=9": "did you mean 'environments.game.most'?",
        "environments.game.name=gess": "environments.game.name: there is no 'gess'; did you mean 'guess'?",
        "environments.game.max_turns=0": "max_turns is 0; it must be at least 1",
        "environments.game.most=many": "environments.game.most",
        "environments.game.most=-1": "least is 0 and most -1: there is nothing to guess",
        "environment@environments.game=gess": "there is no environment 'gess'; did you mean 'guess'?",
        "data.train.environment=other": "data.train.environment: 'other' is not in environments",
    }.items():
        assert main(["grpo", str(file), override, "--dry-run"]) == 2
        told = capsys.readouterr().err
        assert said in told and told.count("\n") == 1, told
    assert main(["serve-verifier", str(file)]) == 2
    assert "'won' (environment) reads what an environment gave" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"data\.train\.environment: a profile is of one answer"):
        load_profile(str(file), [])


def test_a_plugin_brings_one(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(ENVIRONMENT)
    find_plugins.load(["mine.py"], "", Places([tmp_path]))
    try:
        assert find_plugins.told() == "plugins: mine.py (environment parrot)"
        assert find_plugins.of_plugins("environment") == ["parrot"]
        assert "parrot" in find_plugins.entries("environment") and find("parrot")().turns == 2
    finally:
        find_plugins.load([], "", Places())
    (tmp_path / "mine.py").write_text(ENVIRONMENT.replace('"parrot"', '"guess"'))
    with pytest.raises(UserError, match=r"rlvr and mine\.py both have the environment 'guess'"):
        find_plugins.load(["mine.py"], "", Places([tmp_path]))
