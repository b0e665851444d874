"""Python values as JSON: exact builtin types only, so that nothing a program defines crosses over.

A value of any other type stays where it is and is sent as a handle, a number by which the other side can
name it. Where its class derives from a builtin type (a namedtuple, an IntEnum), what that type holds of
it goes along as a plain value. Standard library only: used in the box; numpy where the box has it.
"""

from __future__ import annotations

import re
import sys
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from types import GeneratorType
from typing import Any

DICTIONARIES = (dict, Counter, OrderedDict, defaultdict)
"""Equal to a dict of the same content, and sent as one."""
_SOURCES: tuple[Any, ...] = ((), [], range(0), {}, set(), "", b"")
LAZY = (
    *(type(iter(made)) for made in _SOURCES),
    *(GeneratorType, map, filter, zip, enumerate, reversed, type(reversed([]))),
)
MADE: dict[str, Callable[[list[Any]], Any]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "iterator": iter,
}
BASES: dict[type, Callable[[Any], Any]] = {
    int: int.__int__,
    float: float.__float__,
    str: str.__str__,
    bytes: lambda value: bytes.__getitem__(value, slice(None)),
    tuple: lambda value: tuple(tuple.__iter__(value)),
    list: lambda value: list(list.__iter__(value)),
    dict: lambda value: dict(dict.items(value)),
    set: lambda value: set(set.__iter__(value)),
    frozenset: lambda value: frozenset(frozenset.__iter__(value)),
}
"""Builtin type -> the value of that very type in an instance of a subclass, by no method of the subclass."""
SHARED: dict[str, type] = {}
"""Classes that the test and the program both have by that name, from a common prompt (LeetCode's `ListNode`).
Of their objects the attributes cross, and each side makes an object of its own class."""
MAX_LAZY = 100_000
"""Items taken of an iterator."""
LARGE = 1 << 14_000
"""Beyond it, whole numbers are sent in hexadecimal: Python refuses to read 4,300 decimal digits as one."""
_NUMERIC = re.compile(r"[<>|=][biuf][0-9]{1,2}")


class Unknown(Exception):
    """A value that cannot cross, or JSON that is none of ours."""


class Reference:
    """Stands for a value of the other side."""

    number: int | str
    """Of its handle, or its global name there."""


def encode(value: Any, handles: list[Any] | None = None) -> Any:
    """JSON for `value`; where `handles` is given, values of other types are kept there."""
    kind = type(value)
    if value is None or kind in (bool, float, str):
        return value
    if kind is int:
        return value if -LARGE < value < LARGE else {"int": hex(value)}
    if kind in (list, tuple, set, frozenset):
        return {kind.__name__: [encode(item, handles) for item in value]}
    if kind in DICTIONARIES:
        return {"dict": [[encode(k, handles), encode(v, handles)] for k, v in value.items()]}
    if kind in (bytes, bytearray):
        return {"bytes": value.hex()}
    if kind is complex:
        return {"complex": [value.real, value.imag]}
    if kind in LAZY:
        return {"iterator": [encode(item, handles) for item, _ in zip(value, range(MAX_LAZY), strict=False)]}
    if isinstance(value, Reference):
        return {"handle": value.number}
    if SHARED.get(kind.__name__) is kind:
        return {"object": [kind.__name__, encode(vars(value), handles)]}
    return _of_numpy(value, handles)


def _of_numpy(value: Any, handles: list[Any] | None) -> Any:
    """Arrays of numbers as such, numpy's numbers as Python's."""
    numpy = vars(sys.modules.get("numpy", sys))
    if isinstance(value, numpy.get("generic", ())) and type(value) is not type(made := value.item()):
        return encode(made, handles)
    if isinstance(value, numpy.get("ndarray", ())) and _NUMERIC.fullmatch(value.dtype.str):
        return {"array": [value.dtype.str, list(value.shape), value.ravel().tolist()]}
    return _handle(value, handles)


def _handle(value: Any, handles: list[Any] | None) -> Any:
    kind = type(value)
    if handles is None:
        raise Unknown(f"an argument is of type {kind.__name__}, which cannot be sent")
    handles.append(value)
    sent = {"handle": len(handles) - 1}
    for base, plain in BASES.items():
        if issubclass(kind, base):
            return sent | {"plain": encode(plain(value), handles)}
    return sent


def decode(data: Any, refer: Callable[[dict[str, Any]], Any]) -> Any:
    """The value of encoded JSON; `refer` finds or makes what stands for a handle.

    Unknown where it is none: the sender may be hostile. Not for the host: a set or a dict of values
    chosen for their hashes takes quadratic time to build.
    """
    if data is None or isinstance(data, bool | int | float | str):
        return data
    if not isinstance(data, dict) or not data:
        raise Unknown("not an encoded value")
    kind, content = next(iter(data.items()))
    try:
        if kind == "handle":
            return refer(data)
        if kind == "int":
            return int(content, 16)
        if kind == "bytes":
            return bytes.fromhex(content)
        if kind == "complex":
            return complex(*content)
        if kind == "object":
            return _object(content[0], decode(content[1], refer))
        if kind == "array":
            return _array(*content)
        if kind == "dict":
            return {decode(k, refer): decode(v, refer) for k, v in content}
        return MADE[kind]([decode(item, refer) for item in content])
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        raise Unknown(f"not an encoded value: {type(error).__name__}") from error


def _object(name: str, attributes: dict[str, Any]) -> Any:
    made: Any = object.__new__(SHARED[name])
    vars(made).update(attributes)
    return made


def _array(kind: str, shape: list[int], items: list[Any]) -> Any:
    if not _NUMERIC.fullmatch(kind):
        raise ValueError(kind)
    return sys.modules["numpy"].array(items, kind).reshape(shape)
