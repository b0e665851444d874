"""The runs of a sweep, found from its folder. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.files import from_json

INDEX = "sweep.json"


def sweep_runs(folder: Path) -> tuple[list[Path], int] | None:
    """Run directories of a sweep's grid, in its order, and how many have not begun; None: no sweep."""
    path = folder / INDEX
    if not path.is_file():
        return None
    try:
        rows = from_json(path.read_bytes())["runs"]
        names = [str(row["name"]) for row in rows if row["in_grid"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read: {error}; mend it, or name the runs") from error
    begun = [folder / name for name in names if (folder / name / "metrics.jsonl").is_file()]
    return begun, len(names) - len(begun)
