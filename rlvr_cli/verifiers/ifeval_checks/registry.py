"""Instruction id -> check, and what arguments a data set must give it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rlvr_cli.core.errors import hint

Kind = Callable[[Any], Any]
"""Turns an argument of a data set into what the check uses; ValueError says what it must be."""


@dataclass(frozen=True)
class Check:
    function: Callable[..., bool]
    """(response, **arguments) -> whether the instruction is followed"""
    arguments: dict[str, Kind]


@dataclass(frozen=True)
class Instruction:
    """A check with its arguments."""

    id: str
    function: Callable[..., bool]
    arguments: dict[str, Any]

    def followed(self, response: str) -> bool:
        """A response of white space follows no instruction."""
        return bool(response.strip()) and self.function(response, **self.arguments)


CHECKS: dict[str, Check] = {}


def check(id: str, **arguments: Kind) -> Callable[[Callable[..., bool]], Callable[..., bool]]:
    """Register a function as the check of an instruction id; all arguments are required."""

    def register(function: Callable[..., bool]) -> Callable[..., bool]:
        CHECKS[id] = Check(function, arguments)
        return function

    return register


def prepare(ids: list[str], arguments: list[dict[str, Any] | None]) -> list[Instruction]:
    """The instructions of a prompt. ValueError: an unknown id, or an argument missing, extra or unusable.

    Null arguments count as absent: tables store every argument of every check in every row. The reference
    draws a missing argument at random; here that is an error, since nobody could follow it.
    """
    if len(ids) != len(arguments):
        raise ValueError(f"{len(ids)} instruction ids but {len(arguments)} kwargs")
    return [_prepare(id, given or {}) for id, given in zip(ids, arguments, strict=True)]


def _prepare(id: str, given: dict[str, Any]) -> Instruction:
    if not isinstance(id, str) or id not in CHECKS:
        raise ValueError(f"there is no instruction '{id}'{hint(str(id), CHECKS)}")
    chosen = CHECKS[id]
    if not isinstance(given, dict):
        raise ValueError(f"{id}: its kwargs are {type(given).__name__}; they must be an object")
    given = {name: value for name, value in given.items() if value is not None}
    if unknown := sorted(given.keys() - chosen.arguments.keys()):
        raise ValueError(f"{id} takes no argument '{unknown[0]}'{hint(unknown[0], chosen.arguments)}")
    if missing := sorted(chosen.arguments.keys() - given.keys()):
        raise ValueError(f"{id} needs the argument '{missing[0]}'")
    values = {}
    for name, kind in chosen.arguments.items():
        try:
            values[name] = kind(given[name])
        except ValueError as error:
            raise ValueError(f"{id}: {name} is {given[name]!r:.80}; it must be {error}") from None
    return Instruction(id, chosen.function, values)
