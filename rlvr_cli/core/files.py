"""Files that are either whole or absent: write aside, fsync, rename."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def sync_directory(path: Path) -> None:
    """Make renames inside `path` survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def from_json(text: str | bytes) -> Any:
    """`json.loads`; ValueError also for what is nested too deeply, which only somebody else has written."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def encodable(text: str) -> str:
    """The text with lone surrogates, which UTF-8 cannot hold, as their escapes: `\\ud800`."""
    return text.encode("utf-8", "backslashreplace").decode()


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace `path` by `content`; a reader or a crash sees the old file or the new one.

    Lone surrogates, which a data set may hold, are written as their escapes, which JSON reads back. An
    OSError names the file, also where it is the disk that is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(aside, "wb") as file:
            file.write(encodable(content).encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        error.filename = error.filename or str(path)  # of `write` it has none
        raise
    os.replace(aside, path)
    sync_directory(path.parent)


@contextmanager
def directory_atomically(path: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `path` when the block ends without an error."""
    aside = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    yield aside
    for file in aside.rglob("*"):
        if file.is_file():
            with open(file, "rb") as opened:
                os.fsync(opened.fileno())
    if path.exists():
        shutil.rmtree(path)
    os.replace(aside, path)
    sync_directory(path.parent)
