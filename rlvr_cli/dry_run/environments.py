"""What plays with a source's problems: is all there that it needs, and what does it announce?"""

from __future__ import annotations

from copy import copy
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.dry_run.tokenizer import FileTokenizer
from rlvr_cli.environments.environment import Environment


def environment_at(recipe: Any, key: str) -> tuple[str, Environment | None]:
    """Key and environment of what plays with a source, `data.train` or `eval.benches.own.source`; None: one
    answer to each problem."""
    section, _, name = key.removesuffix(".source").rpartition(".")
    if section == "data":
        named = recipe.data[name].environment
        return f"environments.{named}", None if named is None else recipe.environments[named]
    holder = recipe.eval if section == "eval.benches" else recipe
    bench = getattr(holder, "benches", {}).get(name)
    return f"{section}.{name}.environment", None if bench is None else bench.environment


def announced(
    key: str, environment: Environment | None, tokenizer: FileTokenizer | None
) -> tuple[list[dict[str, Any]], list[str]]:
    """Tools of its prompts, and lines about it. UserError for what a run would refuse."""
    if environment is None:
        return [], []
    looked_at = copy(environment)  # what it finds out is a run's to find out again
    try:
        if tokenizer is not None:
            looked_at.choose_syntax(tokenizer.chat_template)
        looked_at.ready()
        tools = looked_at.schemas()
    except UserError as error:
        raise UserError(f"{key}: {error}") from error
    limit = "" if environment.turn_tokens is None else f" of at most {environment.turn_tokens:,} tokens"
    lines = [
        f"{key}: {environment.name}, at most {environment.max_turns} turns{limit}; it may begin otherwise "
        "than the prompt above"
    ]
    if tools:
        names = ", ".join(str(each.get("function", each).get("name")) for each in tools)
        lines.append(f"{key}: tools {names}")
    return tools, lines
