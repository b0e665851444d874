"""What the evaluations of a run have found, problem by problem."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.result_files import read_result
from rlvr_cli.evaluation.scores import share_right


def shares_right(rows: Iterable[dict[str, Any]]) -> dict[str, float]:
    """Problem -> share of its judged samples that are correct; those without a verdict are left out."""
    return {row["id"]: share for row in rows if (share := share_right(row)) is not None}


def problems_of(run: Path) -> Callable[[str, int], Mapping[str, float] | None]:
    """(bench, step) -> the shares of that evaluation of a run; None where its file is gone or of no use."""

    def read(bench: str, step: int) -> Mapping[str, float] | None:
        path = run / "eval" / f"step_{step}" / f"{bench}.json"
        try:
            return shares_right(read_result(path)["problems"]) if path.is_file() else None
        except UserError:
            return None

    return read
