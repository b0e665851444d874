"""Problems that are worth training on, as the environment says that plays them: the others teach nothing."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Awaitable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.files import write_atomically
from rlvr_cli.data.layouts import PROBLEMS
from rlvr_cli.data.prompts import as_messages
from rlvr_cli.data.sources import Report, select
from rlvr_cli.environments.environment import Environment, Task
from rlvr_cli.schema import Recipe, Source

AT_ONCE = 64
"""Problems that an environment is asked about at the same time: mostly it waits for a server."""


def filter_problems(recipe: Recipe, folder: Path) -> Iterator[str]:
    """Write `<folder>/<source>.jsonl` for each source whose environment has `keeps`; a line on each.

    UserError where there is no such source, and where nothing is left of one.
    """
    asked = {
        name: source
        for name, source in recipe.data.items()
        if source.environment is not None and _chooses(recipe.environments[source.environment])
    }
    if not asked:
        raise UserError(
            "no source has an environment that says what it keeps (s3 does); set data.<source>.environment"
        )
    for name, source in asked.items():
        environment = recipe.environments[source.environment or ""]
        rows = list(select(source, recipe.seed, PROBLEMS, Report(name=name)))
        kept = [row for row, keeps in zip(rows, _kept(environment, source, rows), strict=True) if keeps]
        if not kept:
            raise UserError(f"data.{name}: environment {environment.name} keeps none of {len(rows)} problems")
        path = folder / f"{name}.jsonl"
        write_atomically(path, "".join(f"{json.dumps(_row(row))}\n" for row in kept))
        yield f"data.{name}: {len(kept)} of {len(rows)} problems kept: {path}"


def _kept(environment: Environment, source: Source, rows: list[dict[str, Any]]) -> Iterator[bool]:
    environment.ready()
    environment.warm()

    def keeps(row: dict[str, Any]) -> bool:
        said = environment.keeps(_task(row, source))
        return bool(asyncio.run(_awaited(said)) if inspect.isawaitable(said) else said)

    with ThreadPoolExecutor(AT_ONCE) as threads:
        yield from threads.map(keeps, rows)


async def _awaited(said: Awaitable[Any]) -> Any:
    return await said


def _chooses(environment: Environment) -> bool:
    return type(environment).keeps is not Environment.keeps


def _task(row: dict[str, Any], source: Source) -> Task:
    """A problem as its environment gets it in training."""
    golds = [row["answer"] or "", *row["alternatives"]]
    messages = as_messages(row, source)
    bare = as_messages(row, replace(source, prompt="{prompt}"))
    question = str(bare[-1]["content"])
    return Task(
        id=row["id"],
        prompt=messages,
        question=question,
        answer=golds[0],
        golds=golds,
        row=row["extra"],
        seed=0,
    )


def _row(row: dict[str, Any]) -> dict[str, Any]:
    """In a layout that is recognised without `columns`."""
    golds = [row["answer"], *row["alternatives"]]
    answer = {} if row["answer"] is None else {"answer": golds if len(golds) > 1 else golds[0]}
    return {**row["extra"], "id": row["id"], "prompt": row["prompt"], **answer}
