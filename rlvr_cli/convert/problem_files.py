"""A look at the files a script names, where they are here: how many rows, and whose."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlvr_cli.core.errors import UserError

GSM8K_ROWS = 7473
"""Of its training split, which scripts name `.../gsm8k/train.parquet` or `openai/gsm8k`."""


@dataclass(frozen=True)
class Look:
    """What is known of a set of problems."""

    rows: int | None
    """None: the file is not here."""
    kinds: dict[str, int] = field(default_factory=dict)
    """Values of the column that routes -> rows; empty where there is no such column or no file."""
    note: str = ""
    """Where the number of rows comes from, if not from the file."""


def look(path: str, column: str, limit: int | None = None) -> Look:
    """`limit`: rows that are used at most. UserError for a file that is here and cannot be read."""
    file = Path(path).expanduser()
    if not file.is_file():
        known = path == "openai/gsm8k" or ("gsm8k" in Path(path).parts and file.stem == "train")
        found = Look(GSM8K_ROWS, note="GSM8K's training split") if known else Look(None)
    elif file.suffix == ".parquet":
        found = _parquet(file, column)
    elif file.suffix in (".jsonl", ".json"):
        found = _json(file, column)
    else:
        found = Look(None)
    if limit is not None and found.rows is not None:
        return Look(min(limit, found.rows), found.kinds, found.note)
    return found


def _parquet(file: Path, column: str) -> Look:
    import pyarrow
    from pyarrow import parquet

    try:
        opened = parquet.ParquetFile(file)
        names = opened.schema_arrow.names
        values = opened.read(columns=[column])[column].to_pylist() if column in names else []
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{file}: cannot be read as parquet: {error}") from None
    return Look(opened.metadata.num_rows, _counted(values))


def _json(file: Path, column: str) -> Look:
    try:
        text = file.read_text(encoding="utf-8-sig")
        rows = json.loads(text) if text.lstrip().startswith("[") else None
        if rows is None:
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, OSError) as error:
        raise UserError(f"{file}: cannot be read as json: {error}") from None
    return Look(len(rows), _counted([row.get(column) for row in rows if isinstance(row, dict)]))


def _counted(values: list[Any]) -> dict[str, int]:
    found: dict[str, int] = {}
    for value in values:
        if isinstance(value, str):
            found[value] = found.get(value, 0) + 1
    return found
