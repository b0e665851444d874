"""Raw rows out of files, folders and the Hugging Face hub, each with the place it came from."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlvr_cli import schema
from rlvr_cli.core.errors import UserError

SUFFIXES = (".parquet", ".jsonl", ".json", ".csv")
SPLIT_NAME = re.compile(r"(train|test|validation|valid|val|dev|eval)(?=[-_.])")

Located = tuple[str, dict[str, Any]]
"""(`file row n`, the row as it is stored)"""


def read(source: schema.Source) -> Iterator[Located]:
    """Rows of a local path if there is one or it can only be one; otherwise of the hub id."""
    path = Path(source.path).expanduser()
    if path.is_dir():
        for file in _files(path, source.split):
            yield from _file(file)
    elif path.exists() or path.suffix in SUFFIXES or source.path.startswith((".", "/", "~")):
        yield from _file(path)
    elif (copy := local_copy(source)) is not None:
        for file in [copy] if copy.is_file() else _files(copy, source.split):
            yield from _file(file)
    else:
        yield from _hub(source)


def local_copy(source: schema.Source) -> Path | None:
    """What the folder in RLVR_DATA has of a hub id: `<owner>/<name>` as downloaded, or `<name>.jsonl`."""
    if not (root := os.environ.get("RLVR_DATA")):
        return None
    folder = Path(root).expanduser() / source.path
    config = source.config or ""
    places = [folder / config, *(folder / f"{config}{s}" for s in SUFFIXES if config), folder]
    places += [Path(root).expanduser() / f"{folder.name}{suffix}" for suffix in SUFFIXES]
    return next((place for place in places if place.exists()), None)


def _files(folder: Path, split: str) -> list[Path]:
    """The folder's data files of one format; those of the split, where names tell splits apart."""
    for suffix in SUFFIXES:
        files = sorted(p for p in folder.rglob(f"*{suffix}") if not p.name.startswith("."))
        if not files:
            continue
        chosen = [p for p in files if re.match(rf"{re.escape(split)}[-_.]", p.name)]
        if chosen:
            return chosen
        # Falling back to all files here would train on a test file.
        if splits := sorted({m[1] for p in files if (m := SPLIT_NAME.match(p.name))}):
            raise UserError(f"{folder} has no '{split}' file; its splits are {', '.join(splits)}: set split")
        return files
    raise UserError(f"{folder} holds no {', '.join(SUFFIXES)} file")


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
            if not line.strip():
                continue
            try:
                yield number, json.loads(line)
            except ValueError as error:
                raise UserError(
                    f"{path} row {number} is not valid JSON: {error}; fix or remove it"
                ) from error


def _json(path: Path) -> Iterator[tuple[int, Any]]:
    """An array of objects; many .json files on the hub are JSON lines instead."""
    text = path.read_bytes()
    if not text.lstrip().startswith(b"["):
        yield from _jsonl(path)
        return
    try:
        yield from enumerate(json.loads(text), 1)
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}; fix it, or write one object per line") from error


def _csv(path: Path) -> Iterator[tuple[int, Any]]:
    with open(path, encoding="utf-8", newline="") as file:
        yield from enumerate(csv.DictReader(file), 1)


def _parquet(path: Path) -> Iterator[tuple[int, Any]]:
    import pyarrow.lib
    import pyarrow.parquet

    number = 0
    try:
        file = pyarrow.parquet.ParquetFile(path)
    except pyarrow.lib.ArrowInvalid as error:
        raise UserError(f"{path} is not a parquet file: {error}") from error
    with file:
        for batch in file.iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                number += 1
                yield number, row


def _absent(source: schema.Source, error: Exception) -> str:
    """Why a set cannot be had, how to fetch it, and where a local file would go."""
    name, reason = source.path, (str(error).splitlines() or [""])[0]
    fetch = f"`hf download --repo-type dataset {name} --local-dir DIR/{name}`"
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
