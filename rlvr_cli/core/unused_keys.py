"""Which keys of the recipe a run has read; in the end the user is told of those that did nothing.

A key counts as set where its value is not the default, wherever it was written. It counts as read when code
takes the attribute from any object of its section's class: two data sources share their keys.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any

from rlvr_cli.core.defaults import default_of
from rlvr_cli.core.files import write_atomically

FILE = "keys_read.json"
LAUNCHER = ("name", "out", "plugins", "trainer.ranks", "faults.max_restarts")
"""Keys that the command reads before there are ranks."""
IN_VAIN = ("Bench.note", "Source.verifiers")
"""Keys that may be: a note speaks to people; a source's file serves sft too, where nothing is verified."""
NO_READERS = (
    "dataclasses.py",
    "copy.py",
    "/omegaconf/",
    "/rlvr_cli/schema/derived.py",
    "/rlvr_cli/core/unused_keys.py",
)
"""Files that take every attribute to copy, compare, dump or print it."""
NO_READING = ("__post_init__", "__eq__", "__repr__")


class Usage:
    """The keys one process reads; `keep` writes them down, so that a resumed run does not forget them."""

    def __init__(self) -> None:
        self.recipe: Any = None
        self._told: Callable[[str], bool] = lambda key: False
        self.read: set[str] = set()
        self._file: Path | None = None
        self._kept = 0
        self._hooked: set[type] = set()

    def trace(self, recipe: Any, out: Path, told: Callable[[str], bool] = lambda key: False) -> None:
        """Note from now on what is read of `recipe` and of whatever is made from it.

        `told`: dotted key -> whether nothing need be said of it: it was said before the start, or nobody has
        set it.
        """
        self.recipe, self._file, self._told = recipe, out / "logs" / FILE, told
        self.read = set(json.loads(self._file.read_text())) if self._file.is_file() else set()
        self._kept = len(self.read)
        self._hooked = {type(node) for _, node in sections(recipe)}
        for section in self._hooked:
            setattr(section, "__getattribute__", self._hook(section))  # noqa: B010  # mypy forbids the other

    def stop(self) -> None:
        """Note nothing any more: this process may do something else next."""
        for section in self._hooked:
            if "__getattribute__" in vars(section):
                delattr(section, "__getattribute__")
        self.recipe, self._file, self._hooked = None, None, set()

    def _hook(self, section: type) -> Any:
        known = {field.name: f"{section.__qualname__}.{field.name}" for field in fields(section)}

        def taken(node: Any, name: str) -> Any:
            key = known.get(name)
            if key is not None and key not in self.read:
                code = sys._getframe(1).f_code
                if code.co_name not in NO_READING and not any(f in code.co_filename for f in NO_READERS):
                    self.read.add(key)
            return object.__getattribute__(node, name)

        return taken

    def keep(self) -> None:
        """Write down what is new."""
        if self._file is not None and len(self.read) > self._kept:
            write_atomically(self._file, json.dumps(sorted(self.read)))
            self._kept = len(self.read)

    def unused(self) -> list[str]:
        """Dotted keys that were set and not read; a verifier that no source names is one key."""
        if self.recipe is None:
            return []
        named = named_verifiers(self.recipe)
        entries = vars(self.recipe).get("verifiers", {}) if named is not None else {}
        keys = [f"verifiers.{key}" for key in entries if key not in (named or ())]
        for path, node in sections(self.recipe):
            for field in fields(node):
                key = f"{path}{field.name}"
                read = f"{type(node).__qualname__}.{field.name}"
                if read not in self.read and read not in IN_VAIN and key not in LAUNCHER:
                    keys += [key] if _is_set(node, field) else []
        return [key for key in keys if not self._told(key)]


def sections(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted prefix, dataclass) of a recipe and of all its sections, but not of verifiers and environments.

    Those are read in processes of their own.
    """
    yield path, node
    for field in fields(node):
        value = vars(node)[field.name]
        named = value.items() if isinstance(value, dict) else [(None, value)]
        for key, each in named:
            if is_dataclass(each) and not hasattr(each, "verify") and not hasattr(each, "reset"):
                yield from sections(each, f"{path}{field.name}." + (f"{key}." if key is not None else ""))


def _is_set(node: Any, field: Field[Any]) -> bool:
    value = vars(node)[field.name]
    held = value.values() if isinstance(value, dict) else [value]
    if any(is_dataclass(each) for each in held) or (field.name == "name" and field.default is not MISSING):
        return False  # its own keys are looked at; the name of an option is how it was found
    return bool(value != default_of(field))


def named_verifiers(recipe: Any) -> set[str] | None:
    """Verifiers that sources or the diagnosis name; None where rows name their own."""
    values = vars(recipe)
    sources = [vars(source) for source in values.get("data", {}).values()]
    if any("verifiers" in source["columns"] for source in sources):
        return None
    second = vars(values["diagnosis"])["second_verifier"] if "diagnosis" in values else None
    routes = [
        name for source in sources for names in vars(source["verifiers_by"])["map"].values() for name in names
    ]
    return (
        {name for source in sources for name in source["verifiers"]}
        | {*routes}
        | ({second} if second else set())
    )


usage = Usage()
"""Of this process."""
