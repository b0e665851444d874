"""A draft as the text of a recipe: values with where they come from, then what was not carried over."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import yaml

from rlvr_cli.convert.draft import MISSING, Draft
from rlvr_cli.convert.given import Lists

WIDTH = 110
ORDER = (
    *("name", "out", "resume", "seed", "model", "data", "batch", "rollout", "verifiers", "verification"),
    *("algorithm", "trainer", "critic", "checkpoint", "eval", "tracker"),
)
Tree = dict[str, Any]
"""Nested; a leaf is (value, comment)."""


def page(draft: Draft, lists: Lists) -> str:
    """The whole recipe."""
    name = draft.get("name")
    head = [f"# {name}, converted from {draft.given.source} ({draft.given.label}) by `rlvr convert`."]
    head += _listed("To settle", lists.settle)
    defaults = ["defaults:", f"  - algorithm: {draft.preset}"]
    for axis in draft.parts():
        option, comment = draft.options[axis]
        defaults += _line("  ", f"- override algorithm/{axis}: {option}", comment)
    defaults.append("  - _self_")
    tree: Tree = {}
    for path, leaf in draft.values.items():
        _set(tree, path, leaf)
    sections = ["\n".join(_section(key, tree[key], "")) for key in ORDER if key in tree]
    assert set(tree) <= set(ORDER)
    tail = [
        *_listed("Not carried over", lists.lost),
        *_listed("Without effect here", lists.idle),
        *_listed("Unknown", lists.unknown),
    ]
    short = "\n".join(s for s in sections if "\n" not in s)
    long = [section for section in sections if "\n" in section]
    return (
        "\n\n".join(
            part for part in ("\n".join(head), "\n".join(defaults), short, *long, "\n".join(tail)) if part
        )
        + "\n"
    )


def summary(lists: Lists) -> str:
    """One line: how many keys went where."""
    counts = (
        (len(lists.converted), "taken over"),
        (len(lists.lost), "not carried over"),
        (len(lists.idle), "without effect here"),
        (len(lists.unknown), "unknown"),
    )
    return ", ".join(f"{count} {what}" for count, what in counts)


def _listed(title: str, lines: list[str]) -> list[str]:
    if not lines:
        return []
    return ["#", f"# {title} ({len(lines)}):", *(f"#   {line}" for line in lines)]


def _set(tree: Tree, path: tuple[str, ...], leaf: tuple[Any, str]) -> None:
    *above, last = path
    for part in above:
        tree = tree.setdefault(part, {})
    tree[last] = leaf


def _section(key: str, node: Any, indent: str) -> Iterator[str]:
    shown = _scalar(key)
    if isinstance(node, dict):
        yield f"{indent}{shown}:"
        for name, child in node.items():
            yield from _section(name, child, indent + "  ")
        return
    value, comment = node
    yield from _line(indent, f"{shown}: {_flow(value)}", comment)


def _line(indent: str, text: str, comment: str) -> list[str]:
    """The comment behind the value, or above it where that would be too long."""
    if not comment:
        return [indent + text]
    beside = f"{indent}{text}  # {comment}"
    return [beside] if len(beside) <= WIDTH else [f"{indent}# {comment}", indent + text]


def _flow(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_scalar(str(k))}: {_flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_flow(each) for each in value) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    """A `${` of the script's is text here and no reference to another key."""
    if value == MISSING:
        return MISSING
    if isinstance(value, str):
        value = value.replace("${", "\\${")
        if "\n" in value or len(value) > 80:
            return json.dumps(value, ensure_ascii=False)
    # As an item of a list, so that what would end a text there is quoted.
    text = yaml.safe_dump([value], default_flow_style=True, width=10**9, allow_unicode=True).strip()
    return text[1:-1]
