"""The history of a library of experiences: which operation, when, from which problems, accuracy per step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.files import from_json
from rlvr_cli.tracking.text import one_line

FIRST = 3
"""Problems that a line names."""


def read(run: Path) -> dict[str, Any] | None:
    """`experiences` and `history` of a run's library; None where it has none yet."""
    path = run / "experiences.json"
    if not path.is_file():
        return None
    try:
        content = from_json(path.read_bytes())
        return {"experiences": list(content["experiences"]), "history": list(content["history"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read: {error!r}; mend or remove it") from error


def lines(library: dict[str, Any]) -> Iterator[str]:
    """Step by step, then what there is in the end."""
    for step in library["history"]:
        correct = "not judged" if step["correct"] is None else f"{step['correct']:.1%} correct"
        kept = f"{len(step['kept'])} of {len(step['problems'])} problems compared"
        yield f"step {step['step']}: {correct}, {kept}, {step['proposed']} proposed"
        if step["unchanged"] is not None:
            yield f"  the library stayed as it was: {one_line(step['unchanged'])}"
        for each in changes(step):
            ids = f" {', '.join(each['ids'])}" if each["ids"] else ""
            target = f" -> {each['id']}" if each["id"] is not None else ""
            text = f": {one_line(each['text'])}" if each["text"] else ""
            yield f"  {each['operation']}{ids}{target}{text}{_of(each['problems'])}"
    for each in library["experiences"]:
        yield f"{each['id']}  {one_line(each['text'])}"


def changes(step: dict[str, Any]) -> list[dict[str, Any]]:
    """Those that are still to be seen after the step: candidates that its plan has merged are not."""
    return [each for each in step["operations"] if each["id"] is not None or each["operation"] == "delete"]


def _of(problems: list[str]) -> str:
    if not problems:
        return ""
    named = ", ".join(one_line(each) for each in problems[:FIRST])
    more = f" and {len(problems) - FIRST} more" if len(problems) > FIRST else ""
    return f" (from {named}{more})"
