"""The keys of a launch script, by the names of `foreign_names.yaml`, and what becomes of each."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from rlvr_cli.convert.expansion import UNKNOWN, shown
from rlvr_cli.schema import foreign_names
from rlvr_cli.schema.foreign_names import ForeignName, Kind


@dataclass
class Key:
    """One key that a script sets."""

    name: str
    """As the table has it."""
    written: str
    """As the script has it."""
    value: Any
    row: ForeignName | None
    """None: the table does not know it."""
    taken: bool = False
    """Something of the recipe comes from it."""


@dataclass
class Lists:
    """What a reader must know of the keys that are not simply in the recipe, a line each."""

    converted: list[str] = field(default_factory=list)
    """Keys with a counterpart."""
    settle: list[str] = field(default_factory=list)
    """What only the reader can decide."""
    lost: list[str] = field(default_factory=list)
    idle: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


class Given:
    """What a script sets. `get` and `has` read it, `take` says that the recipe has it."""

    def __init__(self, framework: str, source: str, values: dict[str, Any]) -> None:
        self.framework, self.source = framework, source
        self.keys: dict[str, Key] = {}
        self.lists = Lists()
        self.why: dict[str, str] = {}
        """Key of the table -> why it was not carried over, where that depends on its value."""
        for written, value in values.items():
            found = foreign_names.lookup(framework, written)
            name = found[1] if found else written
            self.keys[name] = Key(name, written, value, found[0] if found else None)

    @property
    def label(self) -> str:
        return foreign_names.NAMES[self.framework]

    def has(self, name: str) -> bool:
        """Whether the script sets it to a value that is known."""
        return name in self.keys and not is_unknown(self.keys[name].value)

    def get(self, name: str) -> Any:
        """The script's value, else the framework's default; null without either."""
        if self.has(name):
            return self.keys[name].value
        found = foreign_names.lookup(self.framework, name)
        if found is None:
            raise KeyError(name)  # the tests walk all that is asked for
        return found[0].default

    def under(self, prefix: str) -> dict[str, Any]:
        """What stands below `prefix.`: the rest of each key -> its value."""
        return {
            name.removeprefix(prefix): key.value
            for name, key in self.keys.items()
            if name.startswith(prefix) and self.has(name)
        }

    def take(self, *names: str) -> None:
        """They are in the recipe."""
        for name in names:
            if name in self.keys:
                self.keys[name].taken = True

    def lose(self, name: str, why: str) -> None:
        """The script's value of this key is not carried over; nothing where it does not set it."""
        if name in self.keys:
            self.why[name] = why

    def settle(self, text: str) -> None:
        if text not in self.lists.settle:
            self.lists.settle.append(text)

    def account(self) -> Lists:
        """Put every key on one of the lists; called once, when the recipe is written."""
        for name, key in self.keys.items():
            value = told(key.value)
            if key.row is None:
                self.lists.unknown.append(f"{key.written}={value}{self._nearest(key.written)}")
            elif is_unknown(key.value):
                ours = f"; {key.row.ours} is not set" if key.row.ours else ""
                self.lists.lost.append(f"{key.written}={value}: the script does not say its value{ours}")
            elif name in self.why:
                self.lists.lost.append(f"{key.written}={value}: {self.why[name]}")
            elif key.taken:
                self.lists.converted.append(key.written)
            elif key.row.kind is Kind.idle or _among(key.value, key.row.idle_at):
                note = key.row.note if key.row.kind is Kind.idle else "as always here"
                self.lists.idle.append(f"{key.written}={value}: {note}")
            elif key.row.kind is Kind.lost:
                self.lists.lost.append(f"{key.written}={value}: {key.row.note}")
            else:
                self.lists.idle.append(f"{key.written}={value}: no effect beside the other keys")
        return self.lists

    def _nearest(self, written: str) -> str:
        known = [s for row in foreign_names.table(self.framework) for s in row.spellings if "*" not in s]
        near = difflib.get_close_matches(written, known, n=1, cutoff=0.5)
        return f"; the nearest name known of {self.label} is {near[0]}" if near else ""


def is_unknown(value: Any) -> bool:
    """Whether running the script would be needed to know it."""
    if isinstance(value, list):
        return any(is_unknown(each) for each in value)
    return isinstance(value, str) and bool(UNKNOWN.search(value))


def told(value: Any) -> str:
    """A value on one line, shortened."""
    text = " ".join(shown(str(value)).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def literal(text: str) -> Any:
    """What a word of a command line means: number, true, null, list or text without its quotes."""
    bare = text.strip()
    lowered = bare.lower()
    if lowered in ("true", "false"):
        return lowered == "true"
    if lowered in ("null", "none", "~"):
        return None
    if re.fullmatch(r"[+-]?\d+", bare):
        return int(bare)
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", bare):
        return float(bare)
    if bare[:1] in ("[", "{") and not UNKNOWN.search(bare):
        return _structure(bare)
    if len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "'\"":
        return bare[1:-1]
    return bare


def _structure(text: str) -> Any:
    """A list or mapping written as in YAML or Hydra, its texts read by `literal`."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    if isinstance(found, list):
        return [literal(each) if isinstance(each, str) else each for each in found]
    return found


def _among(value: Any, values: tuple[Any, ...]) -> bool:
    """Equal and of the same kind: True is no 1."""
    kind = bool if isinstance(value, bool) else object
    return any(value == each and isinstance(each, bool) == (kind is bool) for each in values)
