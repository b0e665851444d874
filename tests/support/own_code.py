"""What a user's own Python looks like in tests: plugins, and recipes that are loaded or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlvr_cli import compose
from rlvr_cli.core.errors import UserError
from rlvr_cli.schema import Recipe

OPTION = '''
from typing import ClassVar
from rlvr_cli.algorithms import option

@option("advantage")
class Median:
    """Against the median of the group."""

    name: str = "median"
    scale: float = 1.0
    needs_group: ClassVar[bool] = True
    needs_critic: ClassVar[bool] = False

    def __call__(self, inputs):
        return inputs
'''
VERIFIER = """
from dataclasses import dataclass
from rlvr_cli.core.types import Reason, Verdict

@dataclass(kw_only=True)
class Shout:
    name: str = "shout"
    weight: float = 1.0
    marks: int = 1

    def verify(self, response, answer, extra):
        right = response == answer + "!" * self.marks
        return Verdict(score=float(right), reason=Reason.correct if right else Reason.wrong)
"""
ENVIRONMENT = """
from dataclasses import dataclass
from rlvr_cli.environments.environment import Environment, Step

@dataclass(kw_only=True)
class Parrot(Environment):
    \"\"\"Says everything again.\"\"\"

    name: str = "parrot"
    turns: int = 2
    \"\"\"After so many it is over.\"\"\"

    def step(self, turn):
        said = [{"role": "user", "content": turn.text}]
        return Step(messages=said, done=turn.number >= self.turns, reward=1.0 / self.turns)
"""
SCRIPTED = """
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from rlvr_cli.core.types import Reason, Verdict

@dataclass(kw_only=True)
class Scripted:
    name: str = "scripted"
    weight: float = 1.0
    path: str = "???"
    code_paths: ClassVar[tuple[str, ...]] = ("path",)

    def verify(self, response, answer, extra):
        return Verdict(score=float(Path(self.path).read_text()), reason=Reason.correct)
"""
"""A verifier that reads a file: its score."""


def load(path: str | Path, *overrides: str) -> Recipe:
    """The recipe of reinforcement learning in a file."""
    recipe = compose.load(str(path), list(overrides))
    assert isinstance(recipe, Recipe)
    return recipe


def refused(path: str | Path, *overrides: str) -> str:
    """The one line that a recipe is refused with."""
    with pytest.raises(UserError) as caught:
        compose.load(str(path), list(overrides))
    assert "\n" not in str(caught.value)
    return str(caught.value)
