"""Calls in Python's syntax: `[f(a=1), g(b="x")]`. Read as a tree; nothing is evaluated but literals."""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import replace

from rlvr_cli.environments.tool_calls import strict_json
from rlvr_cli.environments.tool_calls.call import Call, Grammar, Said, Status
from rlvr_cli.environments.tool_calls.repair import unfenced

MARKERS = (("<|tool_call_start|>", "<|tool_call_end|>"), ("<|python_start|>", "<|python_end|>"))
"""What models put around the list; without them the list is the whole turn."""
_LOOKS_LIKE_IT = re.compile(r"\[\s*[A-Za-z_][\w.]*\(")
NOT_READ = (SyntaxError, ValueError, TypeError, RecursionError, MemoryError)


def pythonic(text: str, grammar: Grammar) -> Said:
    """A list of calls with keyword arguments that are literals."""
    for begin, end in MARKERS:
        before, marked, rest = text.partition(begin)
        if marked:
            body, closed, behind = rest.partition(end)
            if not closed and not _is_python(body.strip()):
                return Said(
                    content=before, calls=[Call(status=Status.unclosed, problem="the list has no end")]
                )
            return Said(content=before + behind, calls=_calls(body.strip(), grammar.repair))
    body = text.strip()
    looked_at = unfenced(body) if grammar.repair else body
    if not _LOOKS_LIKE_IT.match(looked_at):
        return Said(content=text)
    return Said(content="", calls=_calls(body, grammar.repair))


def _is_python(text: str) -> bool:
    try:
        return bool(_tree(text))
    except NOT_READ:
        return False


def _tree(text: str) -> ast.expr:
    with warnings.catch_warnings(action="ignore"):  # an unknown escape in a string
        return ast.parse(text, mode="eval").body


def _calls(text: str, repair: bool) -> list[Call]:
    try:
        tree = _tree(text)
    except NOT_READ as error:
        bare = unfenced(text)
        if repair and bare != text:
            return [replace(call, repairs=("fence", *call.repairs)) for call in _calls(bare, False)]
        said = error.msg if isinstance(error, SyntaxError) else type(error).__name__
        open_ended = "was never closed" in said or "unterminated" in said
        status = Status.unclosed if open_ended else Status.malformed
        return [Call(status=status, problem=f"no list of calls: {said}")]
    if not isinstance(tree, ast.List) or not tree.elts:
        return [Call(status=Status.malformed, problem="no list of calls: write [f(a=1)]")]
    return [_call(each) for each in tree.elts]


def _call(node: ast.expr) -> Call:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name | ast.Attribute):
        return Call(status=Status.malformed, problem="a call is name(key=value, ...)")
    name = ast.unparse(node.func)
    if node.args or any(each.arg is None for each in node.keywords):
        problem = "arguments are given by their names: name(key=value)"
        return Call(status=Status.malformed, name=name, problem=problem)
    if len({each.arg for each in node.keywords}) < len(node.keywords):
        return Call(status=Status.malformed, name=name, problem="an argument is given twice")
    try:
        arguments = {str(each.arg): _literal(each.value) for each in node.keywords}
        return Call(name=name, arguments=strict_json.checked(arguments))
    except NOT_READ:
        return Call(status=Status.malformed, name=name, problem="an argument is no literal")


def _literal(node: ast.expr) -> object:
    """A literal's value; `true`, `false` and `null`, which JSON's writers put there, are what they say."""
    if isinstance(node, ast.Name) and node.id in ("true", "false", "null"):
        return {"true": True, "false": False, "null": None}[node.id]
    if isinstance(node, ast.List | ast.Tuple):
        return [_literal(each) for each in node.elts]
    if isinstance(node, ast.Dict):
        if any(key is None for key in node.keys):
            raise ValueError("unpacking")
        return {ast.literal_eval(k): _literal(v) for k, v in zip(node.keys, node.values, strict=True) if k}
    return ast.literal_eval(node)
