"""The test's side: what stands there for functions, classes, objects and names of the tested program.

A program can make an object say anything of itself. So none has a truth value here, none is equal to
anything or can be reckoned with, and what a builtin value could be asked (`startswith`, `is_integer`)
is asked of no object that stands where the test may expect such a value: only of one that the test
itself has made by calling a class, which is a name with a capital.
"""

from __future__ import annotations

import builtins
import json
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from rlvr_cli.verifiers.sandbox.values import BASES, SHARED, Reference, Unknown, decode, encode

Tell = Callable[[dict[str, Any]], None]
OF_VALUES = {name for base in BASES for name in dir(base)} | {"all", "any", "equals"}
"""What values may be asked; the last three of arrays."""
NOT_ITSELF = (AssertionError, StopIteration, StopAsyncIteration)
"""Exceptions that mean something to a test: a loop ends with the last two, and its assertions with it."""


class CandidateError(Exception):
    """The tested code raised something that is no builtin exception, or left."""


class Unsupported(BaseException):
    """The test cannot be run this way. No Exception: a test's own `except` must not take it."""


class Line:
    """The way to the tested program."""

    def __init__(self, tell: Tell, answers: BinaryIO) -> None:
        self._tell, self._answers = tell, answers
        self.heard = False
        """Whether any value has come from the program, by which it could make the test do something."""

    def ask(self, do: str, of: int | str, rank: int, /, *args: Any, **kwargs: Any) -> Any:
        """The program's answer, as a value or an Object of that rank; what it raised is raised here."""
        try:
            request = {"do": do, "of": of, "args": encode(list(args)), "kwargs": encode(kwargs)}
            request |= {"shared": [*SHARED]} if SHARED else {}
        except Unknown as error:
            raise Unsupported(str(error)) from None
        self._tell(request)
        answer = json.loads(self._answers.readline() or "{}")
        found = answer.get("value")
        self.heard |= do != "name" or not (isinstance(found, dict) and "handle" in found)
        if "value" in answer:
            return decode(answer["value"], lambda sent: self._stands(sent, rank))
        if do == "name" and "module" in answer:
            return Module(answer["module"])
        raise _error(answer)

    def _stands(self, sent: dict[str, Any], rank: int) -> Any:
        if "plain" in sent and not rank:  # an IntEnum is a number to the test
            return decode(sent["plain"], lambda inner: self._stands(inner, 0))
        return Object(self, int(sent["handle"]), rank)


def _error(answer: dict[str, Any]) -> Exception:
    kind, text = (answer.get("raised") or ["", "it ended"])[:2]
    known = getattr(builtins, str(kind), None)
    if isinstance(known, type) and issubclass(known, Exception) and not issubclass(known, NOT_ITSELF):
        try:
            return known(text)
        except TypeError:  # UnicodeDecodeError and a few more want five arguments
            return CandidateError(text)
    return CandidateError(f"{kind}: {text}")


class Module:
    """A module that the program has imported, by name: the test gets its own (tester.py)."""

    def __init__(self, name: str) -> None:
        self.name = name


CLASS, MADE_HERE = 2, 1
"""Ranks of an Object: a class that the test calls by name, and what came of that. Any other has 0."""


class Object(Reference):
    """A function, class or object of the program."""

    def __init__(self, line: Line, number: int | str, rank: int = 0) -> None:
        vars(self).update(number=number, _line=line, _rank=rank)

    def _ask(self, do: str, *args: Any) -> Any:
        return self._line.ask(do, self.number, 0, *args)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        rank = MADE_HERE if self._rank == CLASS else 0
        return self._line.ask("call", self.number, rank, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or (name in OF_VALUES and not self._rank):
            raise AttributeError(f"an object of the candidate's is not asked for {name!r}")
        return self._ask("get", name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._ask("set", name, value)

    def __getitem__(self, key: Any) -> Any:
        return self._ask("item", key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._ask("put", key, value)

    def __len__(self) -> int:
        return _exactly(int, self._ask("len"))

    def __iter__(self) -> Iterator[Any]:
        return iter(_exactly(list, self._ask("items")))

    def __str__(self) -> str:
        return _exactly(str, self._ask("str"))

    def __repr__(self) -> str:
        return _exactly(str, self._ask("repr"))

    def __instancecheck__(self, value: Any) -> bool:
        """Of a class of the program's only its own objects can be."""
        return isinstance(value, Object) and _exactly(bool, self._ask("kind", value))

    def __eq__(self, other: object) -> bool:
        raise Unknown("the candidate returned an object of a type that cannot be compared")

    def __bool__(self) -> bool:
        raise Unknown("the candidate returned an object of a type that has no truth value here")

    __hash__ = object.__hash__


def _exactly(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise CandidateError(f"an object of the candidate's has no {kind.__name__} to give")
    return value
