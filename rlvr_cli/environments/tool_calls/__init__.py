"""Tool calls in what a policy has written, in the syntax of its own chat template.

    parse('<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>', Grammar(syntax=Syntax.hermes, ...))

A turn is read whole, once it is finished, and only behind its thought: models write calls while they think,
as examples. No text raises; an attempt that fails is a call with another status than `ok`, at its place among
the others, which it does not void.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rlvr_cli.environments.tool_calls import json_calls, python_calls, tag_calls, xml_calls
from rlvr_cli.environments.tool_calls.call import Call, Grammar, Said, Status, Syntax
from rlvr_cli.environments.tool_calls.template import syntax_of

__all__ = ["Call", "Grammar", "Said", "Status", "Syntax", "parse", "syntax_of"]

READERS: dict[Syntax, Callable[[str, Grammar], Said]] = {
    Syntax.hermes: json_calls.hermes,
    Syntax.llama3_json: json_calls.llama3,
    Syntax.mistral: json_calls.mistral,
    Syntax.pythonic: python_calls.pythonic,
    Syntax.qwen3_coder: xml_calls.qwen3_coder,
    Syntax.tags: tag_calls.tags,
}


def parse(text: str, grammar: Grammar) -> Said:
    """The calls of a turn, in order, and its text outside of them and of its thought."""
    said = READERS[grammar.syntax](_behind_thought(text, grammar.thinking), grammar)
    calls = [
        replace(call, status=Status.unknown_tool)
        if call.status is Status.ok and call.name not in grammar.parameters
        else call
        for call in said.calls
    ]
    return Said(content=said.content.strip(), calls=calls)


def _behind_thought(text: str, thinking: bool) -> str:
    """What follows the last `</think>`; nothing where a thought has begun and does not end."""
    _, ended, behind = text.rpartition("</think>")
    if ended:
        return behind
    return "" if thinking or text.lstrip().startswith("<think>") else text
