"""The user's functions as tools: found by the names that a recipe has, called, and what they return."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from rlvr_cli.core.recorded_code import origins
from rlvr_cli.environments.tool_use import verl_files
from rlvr_cli.environments.tool_use.entries import Entry
from rlvr_cli.environments.tool_use.results import text_of
from rlvr_cli.environments.tool_use.signature import place_of, schema_of
from rlvr_cli.environments.tool_use.threads import in_thread
from rlvr_cli.environments.tool_use.tool import Outcome, Schema, name_of
from rlvr_cli.verifiers.user_code.load import Unusable, load_module


class Function:
    """A function, plain or async. One of verl's may return what the call earns beside what it says."""

    def __init__(self, function: Callable[..., Any], schema: Schema, seconds: float, verl: bool) -> None:
        self.schema, self._function, self._seconds, self._verl = schema, function, seconds, verl

    async def run(self, arguments: dict[str, Any]) -> Outcome:
        try:
            return self._outcome(await asyncio.wait_for(self._value(arguments), self._seconds))
        except TimeoutError as error:
            said = str(error) or f"no result within {self._seconds:g} s"
            return Outcome(text=f"Error: TimeoutError: {said}", failed=True)

    async def _value(self, arguments: dict[str, Any]) -> Any:
        if inspect.iscoroutinefunction(self._function):
            return await self._function(**arguments)
        value = await in_thread(self._function, **arguments)
        return await value if inspect.isawaitable(value) else value

    def _outcome(self, value: Any) -> Outcome:
        """(text, reward, metrics) is verl's; its own functions may leave out the last, or both."""
        if not isinstance(value, tuple) or not (_triple(value) or (self._verl and 0 < len(value) < 4)):
            return Outcome(text=text_of(value))
        said, reward, metrics = (*value, None, None)[:3]
        numbers = {k: float(v) for k, v in (metrics or {}).items() if isinstance(v, bool | int | float)}
        measures = {f"tool/{name_of(self.schema)}/{key}": number for key, number in numbers.items()}
        return Outcome(
            text=text_of(said), reward=None if reward is None else float(reward), measures=measures
        )


def _triple(value: tuple[Any, ...]) -> bool:
    if len(value) != 3 or isinstance(value[1], bool) or not isinstance(value[1], int | float):
        return False
    return isinstance(value[2], dict) and (isinstance(value[0], str | dict) or hasattr(value[0], "text"))


def load_functions(entries: Sequence[str], seconds: float) -> list[Function]:
    """The functions that a recipe names, in order; Unusable, in a line, where that cannot be done."""
    verl_files.stand_in()
    modules: dict[str, ModuleType] = {}
    found: list[Function] = []
    for entry in map(Entry.parse, entries):
        place = entry.path or str(entry.module)
        if place not in modules:
            modules[place] = _module(entry)
        found += _functions(entry, modules[place], seconds)
    return found


def load_callable(entry: Entry) -> Callable[..., Any]:
    """The one function that an entry names; Unusable, in a line, where there is none."""
    if entry.function is None:
        raise Unusable(f"{entry.shown}: say which function: {entry.text}:function")
    return _named(entry, _module(entry))


def _module(entry: Entry) -> ModuleType:
    if entry.path is None:
        return load_module(None, b"", entry.module, [str(Path.cwd())])
    try:
        text = Path(entry.path).read_bytes()
    except OSError as error:
        raise Unusable(f"{entry.path}: {error.strerror}") from error
    folders = [str(each.parent) for each in origins(Path(entry.path).resolve())]
    return load_module(entry.path, text, None, folders)


def _functions(entry: Entry, module: ModuleType, seconds: float) -> list[Function]:
    known = {id(each.fn): each for each in verl_files.registered(module)}
    if entry.function is not None:
        functions = [_named(entry, module)]
    elif known:
        functions = [each.fn for each in known.values()]
    else:
        own = (each for each in vars(module).values() if inspect.isfunction(each))
        functions = [f for f in own if f.__module__ == module.__name__ and not f.__name__.startswith("_")]
        if not functions:
            raise Unusable(f"{entry.shown} has no public function")
    return [_function(each, known.get(id(each)), seconds) for each in functions]


def _named(entry: Entry, module: ModuleType) -> Callable[..., Any]:
    found: Any = module
    for part in str(entry.function).split("."):
        if not hasattr(found, part):
            having = [n for n, value in vars(module).items() if inspect.isfunction(value) and n[:1] != "_"]
            raise Unusable(
                f"{entry.shown}: there is no '{entry.function}'; it has: {', '.join(having) or 'none'}"
            )
        found = getattr(found, part)
    if not inspect.isroutine(found):
        raise Unusable(f"{entry.shown}: '{entry.function}' is no function")
    return found


def _function(function: Callable[..., Any], known: Any | None, seconds: float) -> Function:
    if known is None:
        return Function(function, schema_of(function), seconds, verl=False)
    schema = known.tool_schema
    if schema is None:
        said = getattr(known, "description", None)
        schema = schema_of(function, name=known.name, description=said, lenient=True)
    elif not isinstance(schema, dict):
        schema = schema.model_dump(exclude_unset=True, exclude_none=True)
    if not isinstance(schema.get("function"), dict) or "name" not in schema["function"]:
        raise Unusable(f"{place_of(function)}: its schema has no function with a name")
    return Function(function, schema, seconds, verl=True)
