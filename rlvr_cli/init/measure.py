"""A file of problems as a bench without a file of its own: as the run of the model asks, or as its answers
look."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rlvr_cli.compose.files import load_yaml
from rlvr_cli.core.errors import UserError
from rlvr_cli.init.recipe_text import key_of
from rlvr_cli.init.rows import Rows, has, read_rows
from rlvr_cli.init.task import task_of

Tree = dict[str, Any]
ASKED = ("prompt", "system", "chat")
"""Of a source: how its problems are asked."""


def bench_of(data: str, model: str | None, verifier: str | None) -> tuple[str, Tree, str]:
    """Name, bench and, in a sentence, why it is so. `verifier`: an entry of the group, put in its place
    later.

    UserError where the file is not there, or nothing says how its answers are judged.
    """
    rows = read_rows(data, {}, fewest=1)
    name = key_of(data)
    if (run := _run_of(model)) is not None and (found := _as_in_training(rows, run)) is not None:
        bench, key = found
        seen = f"; the run has trained on that very file, but for its held-out rows (--bench {key})"
        return name, bench, f"asked and judged as data.{key} of {run}" + seen * bench.pop("same")
    source: Tree = {"path": data, "columns": dict(rows.columns)}
    if verifier is not None:
        return (
            name,
            {"source": source, "verifier": {"name": "always"}},
            f"judged by {verifier}, asked as the rows have it",
        )
    task = task_of(rows, None, None)
    if not task.verifier:
        raise UserError(
            f"--data: {data} has no answers that can be checked; name a bench with --bench, or a --verifier"
        )
    bench = {"source": source | {"prompt": task.prompt}, "verifier": dict(task.verifier)}
    asked = "as the rows have it" if task.prompt == "{prompt}" else f"as {task.prompt!r}"
    return name, bench, f"{task.why}: judged by {task.verifier['name']}, asked {asked}"


def _run_of(model: str | None) -> Path | None:
    folders = (Path(model).expanduser(), Path(model).expanduser().parent) if model else ()
    return next((folder / "recipe.yaml" for folder in folders if (folder / "recipe.yaml").is_file()), None)


def _as_in_training(rows: Rows, recipe: Path) -> tuple[Tree, str] | None:
    """As the only source of an RL recipe asks and its first verifier judges; None where it has several, or
    none."""
    tree = load_yaml(recipe)
    sources, verifiers = tree.get("data"), tree.get("verifiers")
    if not isinstance(sources, dict) or len(sources) != 1 or not isinstance(verifiers, dict):
        return None
    [(key, source)] = sources.items()
    named = source.get("verifiers") or []
    if not named or named[0] not in verifiers:
        return None
    columns = source.get("columns") or {}
    kept = {"columns": columns} if all(has(rows.raw[0], path) for path in columns.values()) else {}
    rollout = tree.get("rollout") or {}
    return {
        "source": {"path": rows.path} | kept | {name: source[name] for name in ASKED if name in source},
        "verifier": verifiers[named[0]],
        "same": Path(source["path"]).expanduser().absolute() == Path(rows.path).expanduser().absolute(),
        **{name: rollout[name] for name in ("temperature", "top_p", "max_tokens", "stop") if name in rollout},
    }, key
