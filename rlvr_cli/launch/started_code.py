"""The user's own code that a recipe uses: plugins, files of verifiers and environments, what these import."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from rlvr_cli import compose
from rlvr_cli.compose import find_plugins
from rlvr_cli.compose.plugin_places import Places
from rlvr_cli.core import code_behind, plugins
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.plugins import Plugin
from rlvr_cli.core.recorded_code import Code, recorded
from rlvr_cli.environments.tool_use.entries import Entry

SYNTHETIC = "synthetic:"


def code_of(recipe: compose.AnyRecipe) -> list[Code]:
    """The plugins of the recipe, of entry points those that it needs, and the files of verifiers with what
    they import from their folders."""
    used = {str(each.path or each.module) for each in plugins.active() if not each.everywhere}
    if used != set(recipe.plugins):  # another recipe was composed after this one
        find_plugins.load(list(recipe.plugins), "plugins", Places([Path.cwd()]))
    needed = (each for each in plugins.active() if not each.everywhere or _needs(recipe, each))
    found = [code_behind.of_plugin(each) for each in needed]
    for key, path in code_paths(recipe).items():
        found += code_behind.of_file(key, Path(path))
    return found


def code_paths(recipe: compose.AnyRecipe) -> dict[str, str]:
    """Key -> path of the user's code, of every verifier and environment that names some."""
    held: Any = recipe  # kinds of recipes differ in which of these they have
    named = {
        f"{section}.{key}": each
        for section in ("verifiers", "environments")
        for key, each in getattr(held, section, {}).items()
    }
    for section, benches in (("benches", held), ("eval.benches", getattr(held, "eval", None))):
        for key, bench in getattr(benches, "benches", {}).items():
            named[f"{section}.{key}.verifier"] = bench.verifier
            named[f"{section}.{key}.environment"] = bench.environment
    found = {}
    for key, verifier in named.items():
        for name in getattr(verifier, "code_paths", ()):
            if path := getattr(verifier, name):
                found[f"{key}.{name}"] = str(path)
        for name in getattr(verifier, "code_lists", ()):
            held = getattr(verifier, name) or []
            entries = map(Entry.parse, [held] if isinstance(held, str) else held)
            paths = dict.fromkeys(entry.path for entry in entries if entry.path is not None)
            found |= {f"{key}.{name}.{n}.file": path for n, path in enumerate(paths)}
    return found


def check_installed(out: Path) -> None:
    """UserError where an installed plugin is another one than at the start of the run: it has no copy."""
    now = {f"plugins.{each.module}": each for each in plugins.active() if each.path is None}
    for code in recorded(out):
        if code.copy is not None or code.key not in now:
            continue
        if code_behind.of_plugin(now[code.key]).sha256 != code.sha256:
            was = f" ({code.version})" if code.version else ""
            raise UserError(
                f"{code.key}: {code.path} has changed since the run was started{was}; put it back, or start "
                "the recipe again with resume=changed"
            )


def _needs(recipe: compose.AnyRecipe, plugin: Plugin) -> bool:
    """Whether an option or verifier of the recipe is of this plugin, or a source is of a family of it."""
    own = [value for each, value in plugins.members() if each is plugin]
    families = {f"{SYNTHETIC}{v.__name__}" for v in own if vars(v).get("is_family")}
    return any(type(node) in own or getattr(node, "path", None) in families for node in _sections(recipe))


def _sections(node: Any) -> Iterator[Any]:
    """Every dataclass that a recipe holds."""
    if is_dataclass(node):
        yield node
        for field in fields(node):
            yield from _sections(getattr(node, field.name))
    elif isinstance(node, dict | list):
        for each in node.values() if isinstance(node, dict) else node:
            yield from _sections(each)
