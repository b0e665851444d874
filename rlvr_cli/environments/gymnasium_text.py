"""Gymnasium environments whose actions and observations are texts: `reset`, `step`, `close`.

An object of a class with these methods is enough; the package is needed only where a registered id is named.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ClassVar

from rlvr_cli.core.errors import UserError
from rlvr_cli.environments.environment import Environment, Message, Step, Task, Turn
from rlvr_cli.environments.factories import check_factory, load_factory
from rlvr_cli.environments.text_actions import action_of, opening, seed_of, text_of, unreadable
from rlvr_cli.verifiers.extract import Extraction, Rejected


@dataclass(kw_only=True)
class GymnasiumText(Environment):
    name: str = "gymnasium_text"
    factory: str | None = None
    """Class or function that makes one: `file.py:Name` (beside the recipe, or in the working directory) or
    `package.module:Name`."""
    id: str | None = None
    """In its place: an id that is registered with gymnasium."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """What it is made with."""
    extraction: Extraction | None = None
    """Where a turn has its action; null: all of it behind the thought."""
    thinking: bool = False
    """The prompt has opened a thought: a turn without `</think>` has no action."""
    code_lists: ClassVar[tuple[str, ...]] = ("factory",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.factory is None) == (self.id is None):
            raise ValueError("set one of factory (file.py:Name) and id (an id registered with gymnasium)")
        if self.factory is not None:
            check_factory(self.factory)

    def ready(self) -> None:
        if self.id is not None and find_spec("gymnasium") is None:
            raise UserError(f"id: {self.id} is one of gymnasium's, which is missing: pip install gymnasium")

    def warm(self) -> None:
        self.ready()
        if self.factory is not None:
            self._make: Callable[..., Any] = load_factory(self.factory)
            return
        gymnasium: Any = import_module("gymnasium")
        try:
            gymnasium.spec(self.id)
        except gymnasium.error.Error as error:
            raise UserError(f"id: {error}") from None
        self._make = lambda **kwargs: gymnasium.make(self.id, **kwargs)

    def reset(self, task: Task) -> list[Message]:
        """Episodes of a problem have one seed; the other columns of its row are `options`."""
        self._game = self._make(**self.kwargs)
        known = inspect.signature(self._game.reset).parameters
        given: dict[str, Any] = {"seed": seed_of(task), "options": task.row}
        free = any(each.kind is each.VAR_KEYWORD for each in known.values())
        found = self._game.reset(**{name: value for name, value in given.items() if free or name in known})
        return opening(task, text_of(found[0] if isinstance(found, tuple) else found))

    def step(self, turn: Turn) -> Step:
        try:
            action = action_of(turn.text, self.extraction, self.thinking)
        except Rejected as rejected:
            said = [{"role": "user", "content": unreadable(rejected)}]
            measures = {"terminated": 0.0, "without_an_action": 1.0}
            return Step(messages=said, done=turn.last, measures=measures)
        observation, reward, terminated, truncated, _ = self._game.step(action)
        return Step(
            messages=[{"role": "user", "content": text_of(observation)}],
            done=bool(terminated or truncated or turn.last),
            reward=float(reward),
            measures={"terminated": float(bool(terminated)), "without_an_action": 0.0},
        )

    def close(self) -> None:
        game = vars(self).pop("_game", None)
        if game is not None and hasattr(game, "close"):
            game.close()
