"""Raw rows out of files, folders and the Hugging Face hub, each with the place it came from."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlvr_cli import schema
from rlvr_cli.core.errors import UserError
from rlvr_cli.data.folders import SUFFIXES, data_files

DEPTH = 100
"""Levels of lists and objects in a row."""
BOM = b"\xef\xbb\xbf"
"""The byte-order mark that Windows programs put before UTF-8 text."""

Located = tuple[str, dict[str, Any]]
"""(`file row n`, the row as it is stored)"""


def read(source: schema.Source) -> Iterator[Located]:
    """Rows of a local path if there is one or it can only be one; otherwise of the hub id."""
    files = local_files(source)
    if files is None:
        yield from _hub(source)
        return
    for file in files:
        yield from _file(file)


def local_files(source: schema.Source) -> list[Path] | None:
    """The files of a source that is on this machine, or can only be; None: it is a hub id."""
    path = Path(source.path).expanduser()
    here = path.exists() or path.suffix in SUFFIXES or source.path.startswith((".", "/", "~"))
    place = path if here else local_copy(source)
    if place is None:
        return None
    return data_files(place, source) if place.is_dir() else [place]


def count_rows(files: list[Path], most: int = 2**26) -> int | None:
    """Rows of `.jsonl` and `.parquet` files without parsing them; None for other files, and more than `most`
    bytes."""
    if sum(file.stat().st_size for file in files) > most or {file.suffix for file in files} - {
        ".jsonl",
        ".parquet",
    }:
        return None
    return sum(_parquet_rows(file) if file.suffix == ".parquet" else _lines(file) for file in files)


def _lines(file: Path) -> int:
    with open(file, "rb") as lines:
        return sum(1 for line in lines if line.strip())


def _parquet_rows(file: Path) -> int:
    import pyarrow.parquet

    return int(pyarrow.parquet.read_metadata(file).num_rows)


def local_copy(source: schema.Source) -> Path | None:
    """What the folder in RLVR_DATA has of a hub id: `<owner>/<name>` as downloaded, or `<name>.jsonl`."""
    if not (root := os.environ.get("RLVR_DATA")):
        return None
    folder = Path(root).expanduser() / source.path
    places = [folder, *(Path(root).expanduser() / f"{folder.name}{suffix}" for suffix in SUFFIXES)]
    return next((place for place in places if place.exists()), None)


def _file(path: Path) -> Iterator[Located]:
    readers = {".parquet": _parquet, ".jsonl": _jsonl, ".json": _json, ".csv": _csv}
    if path.suffix not in readers:
        raise UserError(f"{path} is no data file; formats are {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise UserError(f"there is no file {path}; check the path (relative paths start where rlvr runs)")
    number = 0
    for number, row in readers[path.suffix](path):
        if not isinstance(row, dict):
            raise UserError(f"{path} row {number} is {type(row).__name__}; a row must be a JSON object")
        yield f"{path} row {number}", row
    if number == 0:
        raise UserError(f"{path} is empty; give a file with at least one row")


def _jsonl(path: Path) -> Iterator[tuple[int, Any]]:
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            line = line.removeprefix(BOM) if number == 1 else line
            if line.strip():
                yield number, _loads(line, f"{path} row {number}", "fix or remove it")


def _json(path: Path) -> Iterator[tuple[int, Any]]:
    """An array of objects; many .json files on the hub are JSON lines instead."""
    text = path.read_bytes().removeprefix(BOM)
    if not text.lstrip().startswith(b"["):
        yield from _jsonl(path)
        return
    yield from enumerate(_loads(text, str(path), "fix it, or write one object per line"), 1)


def _loads(text: bytes, where: str, remedy: str) -> Any:
    try:
        found = json.loads(text)
    except RecursionError:
        found = None
    except ValueError as error:
        raise UserError(f"{where} is not valid JSON: {error}; {remedy}") from error
    if text.count(b"[") + text.count(b"{") > DEPTH and (found is None or _deep(found)):
        raise UserError(f"{where} is nested too deep, more than {DEPTH} levels; {remedy}")
    return found


def _deep(value: Any) -> bool:
    """Whether it is nested more than DEPTH levels: it could be read, and not be sent to a verifier."""
    level = [value]
    for _ in range(DEPTH):
        inner = (each.values() if isinstance(each, dict) else each for each in level)
        level = [item for items in inner for item in items if isinstance(item, list | dict)]
        if not level:
            return False
    return True


def _csv(path: Path) -> Iterator[tuple[int, Any]]:
    number = 0
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            for number, row in enumerate(csv.DictReader(file), 1):
                if None in row:
                    raise UserError(f"{path} row {number} has more fields than the header; fix or remove it")
                yield number, row
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path} row {number + 1} is not readable as CSV in UTF-8: {error}") from error


def _parquet(path: Path) -> Iterator[tuple[int, Any]]:
    import pyarrow.lib
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pyarrow.lib.ArrowException, OSError) as error:
        place = f"{path} row {number + 1}: the file is damaged" if number else f"{path} is not a parquet file"
        raise UserError(f"{place}: {' '.join(str(error).split())}") from error


def _absent(source: schema.Source, error: Exception) -> str:
    """Why a set cannot be had, how to fetch it, and where a local file would go."""
    name, reason = source.path, (str(error).splitlines() or [""])[0]
    fetch = f"`hf download --repo-type dataset {name} --local-dir DIR/{name}`"
    if source.config not in (None, "default"):
        fetch += f" (with --include '{source.config}/*' that config alone, where it has a folder)"
    if "gated" in f"{type(error).__name__} {error}".lower():
        return (
            f"data set '{name}' is gated: accept its terms at https://huggingface.co/datasets/{name}, run "
            f"`hf auth login`, and try again (or {fetch} elsewhere and set RLVR_DATA=DIR)"
        )
    return (
        f"cannot load data set '{name}' (config {source.config}, split {source.split}) from the Hugging Face "
        f"hub ({type(error).__name__}: {reason}); check id, split, network and login, or fetch it where "
        f"there is a network: {fetch}, and set RLVR_DATA=DIR, where {Path(name).name}.jsonl is found too"
    )


def _hub(source: schema.Source) -> Iterator[Located]:
    import datasets

    try:
        rows = datasets.load_dataset(source.path, source.config, split=source.split)
    # The hub client raises a dozen unrelated types for a wrong id, split, login or network.
    except Exception as error:
        raise UserError(_absent(source, error)) from error
    for number, row in enumerate(rows, 1):
        yield f"{source.path} ({source.split}) row {number}", row
