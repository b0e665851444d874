"""Problems of task sets of the package `verifiers`: `verifiers:<task set>`; options: `python` and `args`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlvr_cli.core.errors import UserError, hint
from rlvr_cli.gym.task_sets import TaskSet, rows_of

PREFIX = "verifiers:"
LOAD_S = 600.0
OPTIONS = ("python", "args")


def generate(name: str, split: str, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Its tasks as {id, prompt, answer, index, info}, in its own order; `answer` is null where it names none.

    UserError: an unknown option, an interpreter without the package or the task set, a task set that fails.
    """
    for key in options:
        if key not in OPTIONS:
            raise UserError(f"{PREFIX}{name} has no option '{key}'{hint(key, OPTIONS)}")
    args = options.get("args") or {}
    if not isinstance(args, Mapping):
        raise UserError(f"options.args of {PREFIX}{name} is {args!r}; it must be a mapping")
    try:
        task_set = TaskSet(package=name, python=options.get("python"), args=args, split=split)
    except ValueError as error:
        raise UserError(f"{PREFIX}{name}: {error}") from None
    rows = rows_of(task_set, LOAD_S)
    return [{"id": f"{name}-{number}", **row, "index": number} for number, row in enumerate(rows)]
