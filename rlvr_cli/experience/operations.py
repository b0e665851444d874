"""Edits of a library: what each does, in both published forms. Pure; worked examples in the tests.

Training-free GRPO (2510.08191): `merge` as its authors' branch has it, `update` as their main branch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from itertools import count

from rlvr_cli.data.experiences import Experience

Experiences = dict[str, Experience]


class Kind(Enum):
    add = "add"
    modify = "modify"
    merge = "merge"
    update = "update"
    delete = "delete"
    none = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One edit, proposed or planned."""

    kind: Kind
    text: str = ""
    ids: tuple[str, ...] = ()
    """Experiences it is about."""
    problems: tuple[str, ...] = ()
    """Those it comes from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An operation that was applied, and the id of what it wrote (None: it wrote nothing)."""

    operation: Operation
    id: str | None


Edited = tuple[Experiences, list[Change]]


def merged(experiences: Experiences, operations: Iterable[Operation], step: int = 0) -> Edited:
    """Form `merge`: an add gets the next free id C0, C1, ...; a modify takes the place of what it modifies,
    and without one is ignored; a merge deletes what there is of its sources and adds one text, and is
    ignored where there is none."""
    found, changes = dict(experiences), []
    numbers = count(max((int(key[1:]) for key in found if key.startswith("C")), default=-1) + 1)
    for each in operations:
        if each.kind is Kind.add:
            key = f"C{next(numbers)}"
            found[key] = Experience(text=each.text, problems=each.problems, step=step)
        elif each.kind is Kind.modify:
            key = each.ids[0]
            if key not in found:
                continue
            found[key] = _rewritten(each, [found[key]], step)
        else:
            sources = [found.pop(key) for key in dict.fromkeys(each.ids) if key in found]
            if not sources:
                continue
            key = f"C{next(numbers)}"
            found[key] = _rewritten(each, sources, step)
        changes.append(Change(operation=each, id=key))
    return found, changes


def updated(experiences: Experiences, operations: Iterable[Operation], step: int = 0) -> Edited:
    """Form `update`: an empty text is skipped; an add gets the next id; an update of what is not there is an
    add; a delete of what is not there is nothing."""
    found, changes = dict(experiences), []
    numbers = count(max((int(key[1:]) for key in found), default=-1) + 1)
    for each in operations:
        if each.kind is Kind.delete:
            if found.pop(each.ids[0], None) is not None:
                changes.append(Change(operation=each, id=None))
            continue
        if each.kind is Kind.none or not each.text.strip():
            continue
        if each.kind is Kind.update and each.ids[0] in found:
            key = each.ids[0]
            found[key] = _rewritten(each, [found[key]], step)
        else:
            key = f"G{next(numbers)}"
            found[key] = Experience(text=each.text, problems=each.problems, step=step)
        changes.append(Change(operation=each, id=key))
    return found, changes


def settled(operations: Iterable[Operation]) -> list[Operation]:
    """What is left of a plan of form `update` whose operations contradict each other: a delete beats updates
    of the same experience, of several updates the last counts, and the same text is added once."""
    given = list(operations)
    deleted = {each.ids[0] for each in given if each.kind is Kind.delete}
    last = {each.ids[0]: n for n, each in enumerate(given) if each.kind is Kind.update}
    kept, gone, texts = [], set(), set()
    for n, each in enumerate(given):
        if each.kind is Kind.update and (each.ids[0] in deleted or last[each.ids[0]] != n):
            continue
        if each.kind is Kind.delete:
            if each.ids[0] in gone:
                continue
            gone.add(each.ids[0])
        if each.kind is Kind.add:
            if (words := plain(each.text)) in texts:
                continue
            texts.add(words)
        kept.append(each)
    return kept


def renumbered(experiences: Experiences) -> tuple[Experiences, dict[str, str]]:
    """As G0, G1, ... in their order, and what each was called before."""
    names = {key: f"G{n}" for n, key in enumerate(experiences)}
    return {names[key]: each for key, each in experiences.items()}, names


def plain(text: str) -> str:
    """A text's words alone: two that differ in nothing else say the same."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def _rewritten(operation: Operation, before: list[Experience], step: int) -> Experience:
    """In the place of what was there, with the problems of both."""
    known = [name for each in before for name in each.problems]
    problems = tuple(dict.fromkeys([*known, *operation.problems]))
    return replace(before[0], text=operation.text, problems=problems, step=step)
