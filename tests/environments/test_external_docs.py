"""What docs/environments/external.md shows works."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from gateway_play import ADDS, played
from places import ROOT

from rlvr_cli import compose
from rlvr_cli.environments.environment import Environment
from rlvr_cli.environments.external import External
from rlvr_cli.environments.gateway.score import Score
from rlvr_cli.schema import Recipe

PAGE = (ROOT / "docs" / "environments" / "external.md").read_text()


def block(first: str) -> str:
    [found] = [text for text in re.findall(r"```\w+\n(.*?)```", PAGE, re.DOTALL) if text.startswith(first)]
    return str(found)


def recipe(folder: Path, text: str) -> Recipe:
    (folder / "agent.py").write_text(block("# agent.py"))
    (folder / "my_agent.yaml").write_text(text)
    made = compose.load(str(folder / "my_agent.yaml"), [])
    assert isinstance(made, Recipe)
    return made


def test_the_recipe(tmp_path: Path) -> None:
    made = recipe(tmp_path, block("# my_agent.yaml"))
    agent = made.environments["agent"]
    assert (agent.function, agent.score) == (f"{tmp_path}/agent.py:solve", Score.returned)


@pytest.mark.parametrize("command", ["python agent.py -v", "[python, agent.py, -v]"])
def test_a_command_finds_its_files_beside_the_recipe(tmp_path: Path, command: str) -> None:
    text = block("# my_agent.yaml")
    text = text.replace("function: agent.py:solve", f"command: {command}").replace("returned", "posted")
    agent = recipe(tmp_path, text).environments["agent"]
    assert agent.command == ["python", f"{tmp_path}/agent.py", "-v"]


@pytest.mark.slow
def test_the_agent() -> None:
    space: dict[str, Any] = {}
    exec(block("# agent.py"), space)
    import asyncio

    def solve(*given: Any) -> Any:
        return asyncio.run(space["solve"](*given))

    found = played(solve, ADDS, "It is 5.", score=Score.returned)
    assert (found.returned, found.steps[-1].reward) == (1.0, 1.0)
    assert found.steps[0].messages[0]["content"] == "5"
    broken = played(solve, ADDS.replace('"b"', '"c"'), "no idea", score=Score.returned)
    assert broken.steps[0].messages[0]["content"] == "Error: KeyError('b')"
    assert broken.steps[-1].reward == 0.0


def test_the_keys() -> None:
    rows = re.findall(r"^\| (`[^|]*`) \| ([^|]*) \| ", PAGE.partition("| `score` | the")[0], re.MULTILINE)
    said = {
        key: yaml.safe_load(value)
        for names, values in rows
        for key, value in zip(
            re.findall(r"`(\w+)`", names), values.split(", ") * (1 if "," in values else 9), strict=False
        )
    }
    made = External(command="x")
    defaults = {each.name: getattr(made, each.name) for each in fields(External)} | {"command": None}
    assert said == {key: getattr(defaults[key], "value", defaults[key]) for key in said}
    own = {each.name for each in fields(External)} - {
        each.name for each in fields(Environment) if each.name not in ("max_turns", "step_s")
    }
    assert set(said) == own
