"""An environment is one file `environments/<name>.py`: what it says to a policy, and its hyperparameters.

The file holds a keyword-only dataclass that is an `environment.Environment`, which is also the YAML schema of
`conf/environment/<name>.yaml`; in a plugin (core/plugins.py) any file may have several:

    @dataclass(kw_only=True)
    class Guess(Environment):
        name: str = "guess"     # the file's name
        most: int = 9           # a hyperparameter of its own

        def reset(self, task: Task) -> list[Message] | None: ...
        def step(self, turn: Turn) -> Step: ...

Episodes run in processes of their own (workers.py), never in the trainer's. Environments import no torch at
the top; one that needs it does so within `warm`.
"""

from __future__ import annotations

import pkgutil
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from typing import Any

from rlvr_cli.core import plugins
from rlvr_cli.core.errors import UserError
from rlvr_cli.environments.environment import Environment


def name_of(value: Any) -> str | None:
    """Of an environment class the default of its `name`; None: it is none."""
    if not isinstance(value, type) or not is_dataclass(value) or not issubclass(value, Environment):
        return None
    name = {field.name: field.default for field in fields(value)}.get("name")
    return name if isinstance(name, str) and name != Environment.name else None


def _environment(module_name: str) -> type | None:
    """The environment of a module of this package; None for helpers."""
    module = import_module(f"{__name__}.{module_name}")
    return next((each for each in vars(module).values() if name_of(each) == module_name), None)


def known() -> dict[str, type]:
    """Name -> class of all environments, of this package and of plugins, sorted by name."""
    return dict(sorted(plugins.collect("environment", _own(), name_of).items()))


@cache
def _own() -> dict[str, type]:
    """Those of this package, looked through once."""
    own = {module.name: _environment(module.name) for module in pkgutil.iter_modules(__path__)}
    return {name: value for name, value in own.items() if value is not None}


def find(name: str) -> type:
    """The environment class called `name`."""
    classes = known()
    if name in classes:
        return classes[name]
    near = get_close_matches(name, classes, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise UserError(f"there is no environment '{name}': {hint}available: {', '.join(classes)}")
