"""Calls that are JSON objects: Hermes in blocks, Llama 3 as the whole turn, Mistral behind a token."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from rlvr_cli.environments.tool_calls import strict_json
from rlvr_cli.environments.tool_calls.call import Call, Grammar, Said, Status
from rlvr_cli.environments.tool_calls.repair import mended, unfenced

BEGIN, END = "<tool_call>", "</tool_call>"
PYTHON_TAG = "<|python_tag|>"
TOOL_CALLS, ARGS, CALL_ID = "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"
_ID = re.compile(r"[A-Za-z0-9]{9}")


def hermes(text: str, grammar: Grammar) -> Said:
    """`<tool_call>{...}</tool_call>`, repeated."""

    def end_of(rest: str) -> int | None:
        """Where a block that is JSON ends: its strings may hold `</tool_call>`."""
        try:
            _, end = strict_json.first(rest, len(rest) - len(rest.lstrip()))
        except strict_json.NOT_READ:
            return None
        behind = rest[end:]
        return len(rest) - len(behind.lstrip()) if behind.lstrip().startswith(END) else None

    return blocks(text, lambda block: object_call(block, ("arguments",), grammar.repair), end_of)


def blocks(
    text: str, read: Callable[[str], Call], end_of: Callable[[str], int | None] = lambda rest: None
) -> Said:
    """What `read` makes of every `<tool_call>` block; `end_of` knows better where one ends, or says None."""
    content, calls, at = "", [], 0
    while (begin := text.find(BEGIN, at)) >= 0:
        content += text[at:begin]
        rest = text[begin + len(BEGIN) :]
        end = end_of(rest)
        end = rest.find(END) if end is None else end
        if end < 0:
            calls.append(Call(status=Status.unclosed, problem=f"{BEGIN} without {END}"))
            return Said(content=content, calls=calls)
        calls.append(read(rest[:end].strip()))
        at = begin + len(BEGIN) + end + len(END)
    return Said(content=content + text[at:], calls=calls)


def llama3(text: str, grammar: Grammar) -> Said:
    """The whole turn is an object, or several with `; ` between them; with prose before it, it is none."""
    body = text.strip()
    tagged = body.startswith(PYTHON_TAG)
    body = body.removeprefix(PYTHON_TAG).strip()
    fenced = unfenced(body) if grammar.repair else body
    if not tagged and not (fenced.startswith("{") and '"name"' in fenced):
        return Said(content=text)
    calls, at = [], 0
    mends = ("fence",) if fenced != body else ()
    while at < len(fenced):
        rest = fenced[at:]
        try:
            _, end = strict_json.first(rest)
        except strict_json.NOT_READ as error:
            call = object_call(rest, ("parameters", "arguments"), grammar.repair)
            if strict_json.cut_short(error, rest) and call.status is Status.invalid_json:
                call = replace(call, status=Status.unclosed)
            calls.append(call)
            break
        calls.append(object_call(rest[:end], ("parameters", "arguments"), grammar.repair))
        at += end
        behind = fenced[at:].lstrip()
        if behind and not behind.startswith(";"):
            problem = f"text behind the call: {behind[:40]}"
            calls.append(Call(status=Status.malformed, problem=problem))
            break
        at = len(fenced) - len(behind.lstrip("; \n"))
    if mends:
        calls = [replace(call, repairs=(*mends, *call.repairs)) for call in calls]
    return Said(content="", calls=calls)


def mistral(text: str, grammar: Grammar) -> Said:
    """`[TOOL_CALLS]` and a list of objects, or for each call `[TOOL_CALLS]name[ARGS]{...}`."""
    content, *parts = text.split(TOOL_CALLS)
    calls = []
    for part in parts:
        name, by_name, body = part.partition(ARGS)
        if by_name and "[" not in name.partition(CALL_ID)[0].strip():
            calls.append(_named(name, body.strip(), grammar))
        else:
            found, behind = _listed(part.strip(), grammar)
            calls += found
            content += behind
    return Said(content=content, calls=calls)


def _named(name: str, body: str, grammar: Grammar) -> Call:
    name, _, id_ = (each.strip() for each in name.partition(CALL_ID))
    if not name:
        return Call(status=Status.missing_name, problem=f"no name between {TOOL_CALLS} and {ARGS}")
    try:
        value: Any = strict_json.loads(body)
    except strict_json.NOT_READ as error:
        for candidate, done in mended(body) if grammar.repair else ():
            found = _named(name, candidate, replace(grammar, repair=False))
            if found.status is Status.ok:
                return replace(found, repairs=done)
        status = Status.unclosed if strict_json.cut_short(error, body) else Status.invalid_json
        return Call(status=status, name=name, problem=f"invalid JSON: {strict_json.complaint(error)}")
    if not isinstance(value, dict):
        return Call(status=Status.malformed, name=name, problem="the arguments are no JSON object")
    return Call(name=name, arguments=value, id=id_ if _ID.fullmatch(id_) else "")


def _listed(body: str, grammar: Grammar) -> tuple[list[Call], str]:
    """The calls of a list, and what stands behind it."""
    keys = ("arguments",)
    try:
        value, end = strict_json.first(body)
    except strict_json.NOT_READ as error:
        for candidate, done in mended(body) if grammar.repair else ():
            found, behind = _listed(candidate, replace(grammar, repair=False))
            if all(call.status is not Status.invalid_json for call in found):
                return [replace(call, repairs=(*done, *call.repairs)) for call in found], behind
        status = Status.unclosed if strict_json.cut_short(error, body) else Status.invalid_json
        return [Call(status=status, problem=f"invalid JSON: {strict_json.complaint(error)}")], ""
    if not isinstance(value, list) or not value:
        return [Call(status=Status.malformed, problem=f"behind {TOOL_CALLS} stands no list of calls")], ""
    return [of_object(each, keys, grammar.repair) for each in value], body[end:]


def object_call(text: str, keys: tuple[str, ...], repair: bool) -> Call:
    """The call that a text is; `keys`: what its arguments may be called."""
    try:
        return of_object(strict_json.loads(text), keys, repair)
    except strict_json.NOT_READ as error:
        for candidate, done in mended(text) if repair else ():
            found = object_call(candidate, keys, repair=False)
            if found.status is not Status.invalid_json:
                again = of_object(strict_json.loads(candidate), keys, repair)
                return replace(again, repairs=(*done, *again.repairs))
        return Call(status=Status.invalid_json, problem=f"invalid JSON: {strict_json.complaint(error)}")


def of_object(value: Any, keys: tuple[str, ...], repair: bool) -> Call:
    """A JSON value as a call; absent or null arguments are none."""
    if not isinstance(value, dict):
        return Call(status=Status.malformed, problem="a call is a JSON object")
    name = value.get("name")
    if not isinstance(name, str) or not name:
        return Call(status=Status.missing_name, problem='a call needs a "name"')
    arguments: Any = next((value[key] for key in keys if value.get(key) is not None), {})
    repairs: tuple[str, ...] = ()
    if repair and isinstance(arguments, str):
        with suppress(*strict_json.NOT_READ):
            arguments, repairs = strict_json.loads(arguments), ("quoted",)
    if not isinstance(arguments, dict):
        return Call(status=Status.malformed, name=name, problem=f'"{keys[0]}" must be a JSON object')
    said = value.get("id")
    id_ = said if isinstance(said, str) and _ID.fullmatch(said) else ""
    return Call(name=name, arguments=arguments, id=id_, repairs=repairs)
