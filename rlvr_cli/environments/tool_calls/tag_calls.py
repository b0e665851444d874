"""Calls of models without a template for them: a tag around the one argument of a tool."""

from __future__ import annotations

import re

from rlvr_cli.environments.tool_calls import strict_json
from rlvr_cli.environments.tool_calls.call import Call, Grammar, Said, Status
from rlvr_cli.environments.tool_calls.xml_calls import typed


def tags(text: str, grammar: Grammar) -> Said:
    """`<f>argument</f>`, repeated: what stands between, as it is."""
    opening = re.compile("|".join(f"<{re.escape(tag)}>" for tag in grammar.tags) or r"(?!)")
    calls: list[Call] = []
    content, at = "", 0
    while (begin := opening.search(text, at)) is not None:
        content += text[at : begin.start()]
        tag = begin[0][1:-1]
        end = text.find(f"</{tag}>", begin.end())
        name = grammar.tags[tag]
        if end < 0:
            problem = f"<{tag}> without </{tag}>"
            return Said(
                content=content, calls=[*calls, Call(status=Status.unclosed, name=name, problem=problem)]
            )
        calls.append(_call(name, text[begin.end() : end], grammar))
        at = end + len(tag) + 3
    return Said(content=content + text[at:], calls=calls)


def argument_of(parameters: object) -> str | None:
    """Name of the one argument that a tool needs, by its schema; None: it takes none or more."""
    if not isinstance(parameters, dict):
        return None
    names = list(parameters.get("properties", {}))
    needed = list(parameters.get("required", []))
    if len(needed) == 1 or (not needed and len(names) == 1):
        return str((needed or names)[0])
    return None


def _call(name: str, text: str, grammar: Grammar) -> Call:
    parameters = grammar.parameters.get(name, {})
    key = argument_of(parameters)
    if key is None:
        return Call(status=Status.malformed, name=name, problem="the tool takes more than one argument")
    try:
        return Call(name=name, arguments={key: typed(text, parameters["properties"][key])})
    except strict_json.NOT_READ as error:
        return Call(status=Status.malformed, name=name, problem=str(error))
