"""Documents of a corpus file, and what tells one state of it from another."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import file_digest
from pathlib import Path
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.files import from_json, write_atomically
from rlvr_cli.environments.retrieval.document import Document, from_row


def documents(path: Path) -> Iterator[Document]:
    """All documents of a file; UserError names the row of one that cannot be read."""
    number = 0
    for number, row in _parquet(path) if path.suffix == ".parquet" else _jsonl(path):
        try:
            yield from_row(row, number)
        except ValueError as error:
            raise UserError(f"{path} row {number} is no document: {error}") from error
    if number == 0:
        raise UserError(f"retrieval.corpus: {path} is empty; give a file with at least one document")


def _jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = from_json(line)
            except ValueError as error:
                raise UserError(f"{path} row {number} is not valid JSON: {error}") from error
            if not isinstance(row, dict):
                raise UserError(f"{path} row {number} is {type(row).__name__}; a row must be a JSON object")
            yield number, row


def _parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow.lib
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                for number, row in enumerate(batch.to_pylist(), number + 1):  # noqa: B020
                    yield number, row
    except (pyarrow.lib.ArrowException, OSError) as error:
        raise UserError(f"{path} is not readable as parquet: {error}") from error


def digest(path: Path, folder: Path) -> str:
    """SHA-256 of the file, as hex; `folder` keeps it for as long as size and time of the file stay.

    A corpus has gigabytes, and every worker asks.
    """
    stat = path.stat()
    known = folder / f".{path.name}.sha256.json"
    state = [stat.st_size, stat.st_mtime_ns]
    try:
        kept = from_json(known.read_bytes())
        if kept["state"] == state:
            return str(kept["sha256"])
    except (OSError, ValueError, LookupError, TypeError):
        pass
    with open(path, "rb") as file:
        found = file_digest(file, "sha256").hexdigest()
    write_atomically(known, json.dumps({"state": state, "sha256": found}))
    return found
