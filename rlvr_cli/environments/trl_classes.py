"""What TRL's contract makes of a user's class: its tools, and objects of it that are used again."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.environments.tool_use.arguments import check_schema
from rlvr_cli.environments.tool_use.kit import check_names
from rlvr_cli.environments.tool_use.signature import schema_of
from rlvr_cli.environments.tool_use.threads import in_thread
from rlvr_cli.environments.tool_use.tool import Outcome, Schema, name_of, parameters_of
from rlvr_cli.verifiers.user_code.load import Unusable

NO_TOOLS = ("reset", "get_reward")


def schemas_of(made: Callable[..., Any]) -> list[Schema]:
    """Of the public methods of a class but `reset` and `get_reward`; of another factory's object those of its
    class. UserError, in a line, where one cannot be described."""
    owner = made if isinstance(made, type) else type(made())
    if not callable(getattr(owner, "reset", None)):
        raise UserError(f"factory: {owner.__name__} has no method reset")
    found = []
    for name, value in inspect.getmembers(owner, inspect.isfunction):
        if name.startswith("_") or name in NO_TOOLS:
            continue
        try:
            found.append(schema_of(value))
        except Unusable as error:
            raise UserError(f"factory: {error}") from error
    if not found:
        raise UserError(f"factory: {owner.__name__} has no public method that could be a tool")
    check_names(map(name_of, found))
    for each in found:
        check_schema(name_of(each), parameters_of(each))
    return found


def takes(function: Callable[..., Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that a function has parameters for; all where it has `**`."""
    parameters = inspect.signature(function).parameters
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return dict(row)
    return {name: value for name, value in row.items() if name in parameters}


def text_of_parts(said: Any) -> str:
    """A text, or parts of a message that are texts."""
    if not isinstance(said, list):
        return str(said)
    if odd := [part for part in said if not isinstance(part, dict) or part.get("type") != "text"]:
        kind = odd[0].get("type") if isinstance(odd[0], dict) else type(odd[0]).__name__
        raise ValueError(f"a part of type {kind!r}: only text is shown to a policy")
    return "".join(str(part["text"]) for part in said)


@dataclass(slots=True, eq=False)
class Held:
    """An object of the class while an episode has it."""

    thing: Any
    waiting: int = 0
    """Calls that have not come back: such an object is nobody else's any more."""

    async def ask(self, method: Callable[..., Any], **arguments: Any) -> Any:
        """Call it: a coroutine in the loop, anything else in a thread."""
        self.waiting += 1
        try:
            asked = (
                method(**arguments) if inspect.iscoroutinefunction(method) else in_thread(method, **arguments)
            )
            value = await asked
        except Exception:  # not where it is cancelled
            self.waiting -= 1
            raise
        self.waiting -= 1
        return value

    def tools(self, schemas: Sequence[Schema], seconds: float) -> dict[str, Method]:
        """Its methods, bound, by their names."""
        return {name_of(each): Method(self, each, seconds) for each in schemas}


class Method:
    """A method as a tool. What it raises is told to the policy as TRL does."""

    def __init__(self, held: Held, schema: Schema, seconds: float) -> None:
        self.schema, self._held, self._seconds = schema, held, seconds

    async def run(self, arguments: dict[str, Any]) -> Outcome:
        method = getattr(self._held.thing, name_of(self.schema))
        try:
            value = await asyncio.wait_for(self._held.ask(method, **arguments), self._seconds)
        except TimeoutError as error:
            return _error(str(error) or f"no result within {self._seconds:g} s")
        except Exception as error:  # of any kind: the user's own code
            return _error(str(error))
        return Outcome(text=text_of_parts(value) if _parts(value) else str(value))


def _parts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(e, dict) and "type" in e for e in value) and bool(value)


def _error(text: str) -> Outcome:
    return Outcome(text=str({"error": text}), failed=True)


class Pool:
    """Objects of a factory: made where none is free, and reset by the next episode."""

    def __init__(self, made: Callable[..., Any]) -> None:
        self._made = made
        self._free: list[Any] = []

    async def take(self) -> Held:
        return Held(self._free.pop() if self._free else await in_thread(self._made))

    def give_back(self, held: Held) -> None:
        if not held.waiting:
            self._free.append(held.thing)
