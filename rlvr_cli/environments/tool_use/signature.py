"""JSON schema of a function, from its type hints and its docstring in Google's style.

The form is that of transformers' `get_json_schema`, which would import torch.
"""

from __future__ import annotations

import inspect
import json
import re
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from rlvr_cli.environments.tool_use.tool import Schema
from rlvr_cli.verifiers.user_code.load import Unusable, last_line

BASIC: Mapping[Any, dict[str, Any]] = {
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    list: {"type": "array"},
    tuple: {"type": "array"},
    dict: {"type": "object"},
    Any: {},
}
SECTION = re.compile(r"\s*(Args|Arguments|Parameters|Returns|Raises|Yields|Examples?|Notes?):\s*$")
ARGUMENTS = ("Args", "Arguments", "Parameters")
NAMED = re.compile(r"\s*(\w+)\s*(?:\([^)]*\))?:\s*(.*)")
CHOICES = re.compile(r"\(choices:\s*(.*?)\)\s*$", re.IGNORECASE)
BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def schema_of(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    description: str | None = None,
    lenient: bool = False,
) -> Schema:
    """Unusable, with file and line, where a hint or a description is missing.

    `lenient`: what has no hint is text then, and needs no description, as verl has it.
    """
    said, described, returned = _docstring(function)
    if not (description or said) and not lenient:
        raise Unusable(f"{place_of(function)} has no docstring, which tells the policy what it does")
    try:
        hints = get_type_hints(function)
    except Exception as error:
        raise Unusable(f"{place_of(function)}: its type hints cannot be read: {last_line(error)}") from error
    properties, required = {}, []
    for each in _parameters(function, lenient):
        if each.name not in hints and not lenient:
            raise Unusable(f"{place_of(function)}: argument '{each.name}' has no type hint")
        if each.name not in described and not lenient:
            raise Unusable(f"{place_of(function)}: argument '{each.name}' has no line under 'Args:'")
        try:
            properties[each.name] = of_hint(hints.get(each.name, str))
            properties[each.name] |= _description(described.get(each.name))
        except ValueError as error:
            raise Unusable(f"{place_of(function)}: argument '{each.name}': {error}") from None
        if each.default is inspect.Parameter.empty:
            required.append(each.name)
    parameters = {"type": "object", "properties": properties} | ({"required": required} if required else {})
    called = name or function.__name__
    found: dict[str, Any] = {"name": called, "description": description or said or f"Tool '{called}'."}
    found["parameters"] = parameters
    if "return" in hints and not lenient:
        found["return"] = of_hint(hints["return"]) | ({"description": returned} if returned else {})
    return {"type": "function", "function": found}


def place_of(function: Callable[..., Any]) -> str:
    """`tools.py line 12, search`: where a function begins."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    name = getattr(function, "__name__", type(function).__name__)
    return f"{Path(code.co_filename).name} line {code.co_firstlineno}, {name}" if code else name


def _parameters(function: Callable[..., Any], lenient: bool) -> list[inspect.Parameter]:
    found = list(inspect.signature(function).parameters.values())
    if found and found[0].name in ("self", "cls") and found[0].annotation is inspect.Parameter.empty:
        found = found[1:]
    for each in found:
        if each.kind not in BY_NAME and not (lenient and each.kind is not inspect.Parameter.POSITIONAL_ONLY):
            raise Unusable(
                f"{place_of(function)}: '{each.name}' has no name of its own, as every argument must"
            )
    return [each for each in found if each.kind in BY_NAME]


def of_hint(hint: Any) -> dict[str, Any]:
    """JSON schema of a type hint; ValueError of what has none. Any other class is an object."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is None:
        return dict(BASIC.get(hint, {"type": "object"})) if _hashable(hint) else {"type": "object"}
    if origin in (Union, types.UnionType):
        return _union(args)
    if origin is Literal:
        return _literal(args)
    if origin is list:
        return {"type": "array", "items": of_hint(args[0])}
    if origin is tuple:
        if len(args) < 2 or ... in args:
            raise ValueError("a tuple has two elements or more; use list[...]")
        return {"type": "array", "prefixItems": [of_hint(each) for each in args]}
    if origin is dict:
        return {"type": "object", "additionalProperties": of_hint(args[1])}
    raise ValueError(f"{str(hint).replace('typing.', '')} cannot be written as a JSON schema")


def _hashable(hint: Any) -> bool:
    return getattr(type(hint), "__hash__", None) is not None


def _union(args: tuple[Any, ...]) -> dict[str, Any]:
    kinds = [of_hint(each) for each in args if each is not type(None)]
    if len(kinds) == 1:
        found = kinds[0]
    elif all(kind.keys() == {"type"} and isinstance(kind["type"], str) for kind in kinds):
        names = sorted({kind["type"] for kind in kinds})
        found = {"type": names[0] if len(names) == 1 else names}
    else:
        found = {"anyOf": kinds}
    return found | ({"nullable": True} if type(None) in args else {})


def _literal(values: tuple[Any, ...]) -> dict[str, Any]:
    if not all(type(value) in (int, float, str, bool, type(None)) for value in values):
        raise ValueError("Literal holds texts, numbers, truth values and None only")
    kinds = list(dict.fromkeys(BASIC[type(value)]["type"] for value in values))
    return {"type": kinds[0] if len(kinds) == 1 else kinds, "enum": list(values)}


def _docstring(function: Callable[..., Any]) -> tuple[str, dict[str, str], str]:
    """What it does, what its arguments are, what it returns."""
    names = set(inspect.signature(function).parameters)
    section, current = "", ""
    sections: dict[str, list[str]] = {"": []}
    described: dict[str, list[str]] = {}
    for line in (inspect.getdoc(function) or "").strip().splitlines():
        if header := SECTION.match(line):
            section = "Args" if header[1] in ARGUMENTS else header[1]
            sections[section] = []
        elif section != "Args":
            sections[section].append(line)
        elif (argument := NAMED.match(line)) and argument[1] in names:
            current = argument[1]
            described[current] = [argument[2].strip()]
        elif current and line.strip():
            described[current].append(line.strip())
    whole = {name: "\n".join(lines).strip() for name, lines in sections.items()}
    joined = {name: " ".join(filter(None, lines)) for name, lines in described.items()}
    return whole[""], joined, whole.get("Returns", "")


def _description(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    if (found := CHOICES.search(text)) is None:
        return {"description": text}
    try:
        values = json.loads(found[1])
    except ValueError:
        raise ValueError(f"choices is no JSON list: {found[1][:60]}") from None
    if not isinstance(values, list):
        raise ValueError(f"choices is no list: {found[1][:60]}")
    choices = [each.strip() if isinstance(each, str) else each for each in values]
    return {"enum": choices, "description": text[: found.start()].strip()}
