"""The pages of the environments hold: each has one, its keys are those of the class, the example plays."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import yaml
from doc_tables import section, tables
from omegaconf import OmegaConf
from places import ROOT

from rlvr_cli import environments
from rlvr_cli.compose import find_plugins
from rlvr_cli.compose.plugin_places import Places
from rlvr_cli.core import shipped_recipes
from rlvr_cli.core.episode import Ended, Episode, TurnNote
from rlvr_cli.core.types import Completion, Group, Problem
from rlvr_cli.environments.environment import Environment, Task, Turn
from rlvr_cli.reference.pages import metrics
from rlvr_cli.training.episode_metrics import episode_metrics

OVERVIEW = (ROOT / "docs" / "environments.md").read_text()
GUESS = (ROOT / "docs" / "environments" / "guess.md").read_text()


def test_the_table_of_environments() -> None:
    """Every entry of the group, and every page."""
    [table] = [table for table in tables(OVERVIEW) if "its reward" in table[0]]
    link = re.compile(r"\[`(\w+)`\]\((environments/\w+\.md)(#\w+)?\)")
    named = [found for row in table if (found := link.fullmatch(row["environment"]))]
    assert len(named) == len(table)
    assert sorted(found[1] for found in named) == shipped_recipes.options("environment")
    assert set(shipped_recipes.options("environment")) == set(environments.known())
    pages = {f"environments/{page.name}" for page in (ROOT / "docs" / "environments").glob("*.md")}
    assert {found[2] for found in named} == pages


@pytest.mark.parametrize("name", shipped_recipes.options("environment"))
def test_every_entry_builds(name: str) -> None:
    settings = yaml.safe_load((shipped_recipes.CONF / "environment" / f"{name}.yaml").read_text())
    assert settings["name"] == name
    OmegaConf.merge(OmegaConf.structured(environments.find(name)), settings)


def test_the_limits_of_all_are_listed() -> None:
    [table] = [table for table in tables(OVERVIEW) if "key of an environment" in table[0]]
    keys = {field.name for field in fields(Environment)} - {"name"}
    assert {row["key of an environment"] for row in table} == keys


def test_the_options_of_guess() -> None:
    [table] = tables(section(GUESS, "Options"))
    said = {row["option"]: yaml.safe_load(row["default"]) for row in table}
    made = environments.find("guess")()
    shared = {field.name for field in fields(Environment)}
    own = {field.name: getattr(made, field.name) for field in fields(made)}
    assert said == {key: own[key] for key in said}
    assert set(own) - shared <= set(said)


def sample(environment: str) -> Completion:
    measures = {"found": 1.0, "tool/calls": 2.0}
    turns = [TurnNote(begin=0, end=2, text="x")]
    episode = Episode(environment=environment, ended=Ended.done, turns=turns, reward=1.0, measures=measures)
    none = np.zeros(2, np.int32)
    return Completion(tokens=none, logprobs=none, text="x", finished=True, episode=episode)


def test_every_metric_of_episodes_is_described() -> None:
    problem = Problem(id="1", prompt="", tokens=[1], answer="", source="s", verifiers=["won"])
    group = Group(problem=problem, index=0, completions=[sample("game"), sample("other")])
    recorded = {*episode_metrics([group]), "environment/workers_replaced"}
    known = metrics()
    assert {name for name in recorded if not any(metric.fits(name) for metric in known)} == set()
    listed = {metric.name for metric in known if metric.name.startswith("episode/")}
    assert listed == {name for name in recorded if name.startswith("episode/")}


@pytest.fixture
def hangman(tmp_path: Path) -> Iterator[Environment]:
    [example] = re.findall(r"<!-- test: hangman -->\n```python\n(.*?)```", OVERVIEW, re.DOTALL)
    file = tmp_path / example.splitlines()[0].removeprefix("# ")
    file.parent.mkdir()
    file.write_text(example)
    find_plugins.load([str(file)], "", Places([tmp_path]))
    yield environments.find("hangman")()
    find_plugins.load([], "", Places())
    sys.modules.pop("hangman", None)


def test_the_example_plays(hangman: Environment) -> None:
    assert "environment hangman" in str(find_plugins.told())
    prompt = [{"role": "user", "content": "?"}]
    task = Task(id="1", prompt=prompt, question="?", answer="noon", golds=[], row={}, seed=0)

    def said(text: str, number: int) -> object:
        return hangman.step(Turn(text=text, number=number, last=False, finished=True))

    assert hangman.reset(task)[-1]["content"] == "?\n____"
    assert said("o", 1).messages[0]["content"] == "_oo_"
    assert not said("", 2).over
    assert said(" n", 3).over and said("n", 4).reward == 1.0
    hangman.reset(task)
    assert hangman.script(task) == ["n", "o"]
    steps = [said(letter, number) for number, letter in enumerate("abcdef", 1)]
    assert [step.over for step in steps] == [False] * 5 + [True]
    assert steps[-1].reward == 0.0 and steps[-1].measures == {"lost": 1}
