"""Calls of Qwen3-Coder and Qwen3.5: tags whose values are raw text, typed by the tool's schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rlvr_cli.environments.tool_calls import strict_json
from rlvr_cli.environments.tool_calls.call import Call, Grammar, Said, Status
from rlvr_cli.environments.tool_calls.json_calls import blocks

_FUNCTION = re.compile(r"<function=([^>\n]*)>(.*)</function>", re.DOTALL)
_PARAMETER = re.compile(r"\s*<parameter=([^>\n]+)>\n?(.*?)\n?</parameter>\s*", re.DOTALL)
WORDS = {"true": True, "false": False, "none": None, "null": None}
"""Templates print Python's `True` and `None`, models JSON's."""


def qwen3_coder(text: str, grammar: Grammar) -> Said:
    """`<tool_call><function=f><parameter=a>1</parameter></function></tool_call>`, repeated."""
    return blocks(text, lambda block: _call(block, grammar))


def _call(block: str, grammar: Grammar) -> Call:
    found = _FUNCTION.fullmatch(block)
    if found is None:
        return Call(status=Status.malformed, problem="a call is <function=NAME>...</function>")
    if not (name := found[1].strip()):
        return Call(status=Status.missing_name, problem="<function=> has no name")
    properties = grammar.parameters.get(name, {}).get("properties", {})
    body, at, arguments = found[2].strip(), 0, {}
    while at < len(body):
        if (each := _PARAMETER.match(body, at)) is None:
            problem = f"no <parameter=NAME>...</parameter>: {body[at : at + 40]}"
            return Call(status=Status.malformed, name=name, problem=problem)
        key, at = each[1].strip(), each.end()
        try:
            arguments[key] = typed(each[2], properties.get(key, {}))
        except strict_json.NOT_READ as error:
            return Call(status=Status.malformed, name=name, problem=f"{key}: {error}")
    return Call(name=name, arguments=arguments)


def typed(text: str, schema: Mapping[str, Any]) -> Any:
    """A raw value as its schema has it: text where that says so or says nothing; ValueError where it is not.

    Where several types are allowed, text is the last resort.
    """
    kinds = _kinds(schema)
    word = text.strip().lower()
    if word in ("none", "null") and "null" in kinds:
        return None
    if not kinds or kinds == {"string"} or kinds == {"string", "null"}:
        text.encode()  # ValueError of half a surrogate pair
        return text
    try:
        value = WORDS[word] if word in WORDS else strict_json.loads(text)
    except strict_json.NOT_READ:
        value = text
    if isinstance(value, str) and "string" not in kinds:
        raise ValueError(f"{text[:40]!r} is not of type {' or '.join(sorted(kinds))}")
    return value


def _kinds(schema: Mapping[str, Any]) -> set[str]:
    """Names of the types that a value may have; empty: any, as text."""
    said = schema.get("type", [])
    kinds = {said} if isinstance(said, str) else {each for each in said if isinstance(each, str)}
    for option in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        kinds |= _kinds(option)
    return kinds | ({"null"} if schema.get("nullable") and kinds else set())
