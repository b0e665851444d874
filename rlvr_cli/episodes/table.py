"""What all episodes of a run have in common."""

from __future__ import annotations

from dataclasses import dataclass

from rlvr_cli.core.errors import UserError
from rlvr_cli.environments.environment import Environment
from rlvr_cli.environments.workers import Workers
from rlvr_cli.episodes.rendering import Rendering
from rlvr_cli.rollout.text import ResponseText


@dataclass(slots=True, kw_only=True)
class Table:
    """By the names that problems give their environments."""

    environments: dict[str, Environment]
    workers: Workers
    renderings: dict[str, Rendering]
    text: ResponseText
    eos: list[int]
    most_prompt: int


class BadEnvironment(UserError):
    """An environment says something that no policy can be shown; says which, and what to do."""
