"""Names that a recipe may use, with a line on each: what comes with rlvr, and what the user has beside it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from rlvr_cli import algorithms
from rlvr_cli.core import shipped_recipes
from rlvr_cli.reference.docstrings import first_sentence, summary
from rlvr_cli.reference.keys import picked
from rlvr_cli.reference.pages import metrics

GROUPS = {
    "verifiers": "verifier",
    "environments": "environment",
    "algorithms": "algorithm",
    "data": "data",
    "models": "model",
    "benches": "bench",
}
"""What a user calls them -> the group whose entries they are."""


@dataclass(frozen=True)
class Entry:
    name: str
    text: str
    """What it is, in a line."""
    origin: str = ""
    """Where it comes from, if not from rlvr."""


def entries(what: str, folders: Iterable[Path]) -> list[Entry]:
    """All of a kind, sorted by name; an entry of the user's own hides one of the package of the same name.

    `folders`: where a recipe's own groups are looked for, the first of them first.
    """
    group = GROUPS[what]
    found = {
        name: Entry(name, first_sentence(_comment(shipped_recipes.CONF / group / f"{name}.yaml")))
        for name in shipped_recipes.options(group)
    }
    if what in picked():
        configured = _configured(group, found)
        found |= {name: entry for name, entry in _classes(what).items() if name not in configured}
    for folder in reversed(list(folders)):
        for path in sorted((folder / group).glob("*.yaml")):
            found[path.stem] = Entry(path.stem, first_sentence(_comment(path)), str(path))
    return [found[name] for name in sorted(found)]


def _comment(path: Path) -> str:
    return shipped_recipes.comment(path)


def _classes(what: str) -> dict[str, Entry]:
    """Verifiers or environments by their classes; those of plugins have no entry of a group, and are named by
    `name:`."""
    return {
        name: Entry(name, first_sentence(summary(cls)), origin(cls)) for name, cls in picked()[what].items()
    }


def _configured(group: str, names: Iterable[str]) -> set[str]:
    """Classes that the packaged entries of a group stand for."""
    folder = shipped_recipes.CONF / group
    return {str(yaml.safe_load((folder / f"{name}.yaml").read_text())["name"]) for name in names}


def recipes() -> list[Entry]:
    return [
        Entry(name, shipped_recipes.describe(shipped_recipes.RECIPES / f"{name}.yaml"))
        for name in shipped_recipes.recipes()
    ]


def options(axis: str) -> list[Entry]:
    """Options of an algorithm's axis."""
    found = algorithms.options(axis)
    return [Entry(name, first_sentence(summary(found[name])), origin(found[name])) for name in sorted(found)]


def all_metrics() -> list[Entry]:
    return [Entry(metric.name, metric.meaning) for metric in metrics()]


def origin(cls: type) -> str:
    """The plugin a class comes from; empty for one of rlvr."""
    if cls.__module__.partition(".")[0] == __name__.partition(".")[0]:
        return ""
    import sys

    return str(getattr(sys.modules.get(cls.__module__), "__file__", None) or cls.__module__)
