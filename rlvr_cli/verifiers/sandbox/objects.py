"""The tested program's side of a test: its functions, classes, objects and global names, by request.

    {"do": "call", "of": name or handle, "args", "kwargs"}      {"value"}, or {"raised": [type, text]}
    {"do": "get" | "set" | "item" | "put" | "len" | "items" | "str" | "repr" | "kind", "of", "args"}
    {"do": "name", "of": name}                                  also {"module": name}

`args` and `kwargs` are encoded values, `shared` names of classes whose objects cross by content: values.py.
"""

from __future__ import annotations

import builtins
import operator
from collections.abc import Callable
from types import ModuleType
from typing import Any

from rlvr_cli.verifiers.sandbox.values import MAX_LAZY, SHARED, decode, encode

DO: dict[str, Callable[..., Any]] = {
    "call": lambda target, /, *args, **kwargs: target(*args, **kwargs),
    "get": getattr,
    "set": setattr,
    "item": operator.getitem,
    "put": operator.setitem,
    "len": len,
    "items": lambda target: [item for item, _ in zip(target, range(MAX_LAZY), strict=False)],
    "str": str,
    "repr": repr,
    "kind": lambda target, value: isinstance(value, target),
}


NOTHING = object()


class Served:
    """A loaded program. `base`: the names that every program starts with."""

    def __init__(self, namespace: dict[str, Any], base: dict[str, Any]) -> None:
        self.namespace, self._base = namespace, base
        self._handles: list[Any] = []

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Whatever the program does to it, it ends in an answer, or the process ends."""
        try:
            return self._answer(request)
        except BaseException as error:
            return {"raised": raised(error)}

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        classes = {name: self.namespace.get(name) for name in request.get("shared", ())}
        SHARED.update({name: found for name, found in classes.items() if isinstance(found, type)})
        of = request["of"]
        target = self._handles[of] if isinstance(of, int) else self._named(of)
        if request["do"] == "name":
            if type(target) is ModuleType:
                return {"module": target.__name__}
            return {"value": encode(target, self._handles)}
        args = self._decode(request.get("args", {"list": []}))
        kwargs = self._decode(request.get("kwargs", {"dict": []}))
        return {"value": encode(DO[request["do"]](target, *args, **kwargs), self._handles)}

    def _decode(self, data: Any) -> Any:
        return decode(data, lambda sent: self._handles[sent["handle"]])

    def _named(self, name: str) -> Any:
        """A global name of the program, or a method of its class Solution."""
        target = self.namespace.get(name, NOTHING)
        if target is not self._base.get(name, NOTHING):
            return target
        if "Solution" in self.namespace and hasattr(self.namespace["Solution"], name):
            return getattr(self.namespace["Solution"](), name)
        raise NameError(f"the program defines no '{name}'")


def raised(error: BaseException) -> list[str]:
    """The builtin exception that it is, or derives from, and its text."""
    kinds = (kind for kind in type(error).__mro__ if vars(builtins).get(kind.__name__) is kind)
    kind = next(kinds, type(error))
    text = str(error) if kind is type(error) else f"{type(error).__name__}: {error}"
    return [kind.__name__, text[:300]]
