"""Which syntax of tool calls a chat template prints."""

from __future__ import annotations

from rlvr_cli.environments.tool_calls.call import Syntax

SIGNS: tuple[tuple[tuple[str, ...], Syntax | None], ...] = (
    (("[TOOL_CALLS]",), Syntax.mistral),
    (("<arg_key>",), None),  # GLM: <tool_call>name<arg_key>...
    (("<tool_call>", "<function=", "<parameter="), Syntax.qwen3_coder),
    (("<tool_call>", '"arguments"'), Syntax.hermes),
    (("<tool_call>", '\\"arguments\\"'), Syntax.hermes),
    (("<|tool_call_start|>",), Syntax.pythonic),
    (('"name": ', '"parameters": ', ".tool_calls"), Syntax.llama3_json),
)
"""Texts that all stand in a template -> what it prints; the first that fits."""


def syntax_of(template: str | None) -> Syntax | None:
    """The syntax that a chat template's text prints calls in; None: none that is known here."""
    for signs, syntax in SIGNS:
        if template and all(sign in template for sign in signs):
            return syntax
    return None
