"""What other frameworks call our keys: the rows of `foreign_names.yaml`, and what to say of such a key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import yaml

TABLE = Path(__file__).with_name("foreign_names.yaml")
NAMES = {
    **{"verl": "verl", "trl": "TRL", "openrlhf": "OpenRLHF", "easyr1": "EasyR1"},
    **{"trl_pairs": "TRL", "openrlhf_pairs": "OpenRLHF", "elsewhere": "elsewhere"},
}
"""Section of the table -> the framework's own name. `*_pairs`: of preferences and reward models;
`elsewhere`: usual words that are nobody's own."""


class Kind(Enum):
    same = "same"
    derived = "derived"
    lost = "lost"
    idle = "idle"


@dataclass(frozen=True, kw_only=True)
class ForeignName:
    """One row; what its parts mean stands at the head of the table."""

    key: str
    kind: Kind
    ours: str = ""
    """Our key, or `algorithm/<axis>` where one of several options is chosen; empty where there is none."""
    note: str = ""
    """How the value is computed; of lost and idle keys why."""
    default: Any = None
    has_default: bool = False
    values: dict[Any, Any] = field(default_factory=dict)
    idle_at: tuple[Any, ...] = ()
    aka: tuple[str, ...] = ()

    @property
    def spellings(self) -> tuple[str, ...]:
        return (self.key, *self.aka)


@cache
def table(framework: str) -> tuple[ForeignName, ...]:
    """The rows of a framework in the order of the file."""
    return tuple(_row(key, dict(row)) for key, row in _tree()[framework].items())


def lookup(framework: str, key: str) -> tuple[ForeignName, str] | None:
    """The row of a key, and the key under the name the row has for it; None where the table has none."""
    exact = _exact(framework).get(key)
    if exact is not None:
        return exact, (exact.key if "*" not in exact.key and "{" not in exact.key else key)
    found = [(len(p), row, p) for row, p in _patterns(framework) if fnmatchcase(key, p)]
    if not found:
        return None
    _, row, pattern = max(found, key=lambda each: each[0])
    head = pattern.partition("*")[0]
    own = next(iter(expanded(row.key))).partition("*")[0]
    return row, (own + key.removeprefix(head) if pattern in row.aka and row.key.endswith("*") else key)


def expanded(pattern: str) -> Iterator[str]:
    """`a.{b,c}` as `a.b` and `a.c`."""
    found = re.fullmatch(r"(.*)\{([^{}]*,[^{}]*)\}(.*)", pattern)
    if found is None:
        yield pattern
        return
    for each in found[2].split(","):
        yield from expanded(f"{found[1]}{each}{found[3]}")


def said(key: str, sections: Iterable[str]) -> str:
    """What a message adds for a key that is another framework's; empty where it is nobody's.

    `sections`: our own, whose misspelt keys must not be taken for one of a family of theirs.
    """
    found = _recognised(key, key.partition(".")[0] in set(sections))
    if found is None:
        return ""
    framework, row = found
    whose = "" if framework == "elsewhere" else f"{NAMES[framework]}'s name"
    if row.kind in (Kind.lost, Kind.idle):
        lacks = "not carried over" if row.kind is Kind.lost else "not needed here"
        return f"; {whose}, {lacks}: {row.note}"
    inside = "; ".join(part for part in (whose, row.note) if part)
    return f"; that is {row.ours} here" + (f" ({inside})" if inside else "")


def _recognised(key: str, in_our_section: bool) -> tuple[str, ForeignName] | None:
    for framework in NAMES:
        if (row := _exact(framework).get(key)) is not None:
            return framework, row
    for framework in NAMES if not in_our_section else ():
        if (found := lookup(framework, key)) is not None:
            return framework, found[0]
    last = key.rpartition(".")[2]
    for framework in NAMES:
        for name, row in _exact(framework).items():
            if row.kind in (Kind.lost, Kind.idle):
                continue
            ends = "." in key and name.endswith(f".{key}")
            flat = "." not in name and name == last and last != re.split(r"[./]", row.ours)[-1]
            if ends or flat:
                return framework, row
    return None


def _row(key: str, row: dict[str, Any]) -> ForeignName:
    [kind] = [kind for kind in Kind if kind.value in row]
    text = row.pop(kind.value)
    has_ours = kind in (Kind.same, Kind.derived)
    return ForeignName(
        key=str(key),
        kind=kind,
        ours=text if has_ours else "",
        note=row.pop("note", "") if has_ours else text,
        has_default="default" in row,
        idle_at=tuple(row.pop("idle_at", ())),
        aka=tuple(row.pop("aka", ())),
        **row,
    )


@cache
def _tree() -> dict[str, dict[str, Any]]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    tree = dict(yaml.load(TABLE.read_text(encoding="utf-8"), Loader=loader))
    return {
        section: {key: tree[row["as"]][key] if "as" in row else row for key, row in rows.items()}
        for section, rows in tree.items()
    }


@cache
def _exact(framework: str) -> dict[str, ForeignName]:
    """Every spelling without a * -> its row."""
    found: dict[str, ForeignName] = {}
    for row in table(framework):
        for spelling in row.spellings:
            found |= {each: row for each in expanded(spelling) if "*" not in each}
    return found


@cache
def _patterns(framework: str) -> tuple[tuple[ForeignName, str], ...]:
    rows = [(row, each) for row in table(framework) for s in row.spellings for each in expanded(s)]
    return tuple((row, each) for row, each in rows if "*" in each)
