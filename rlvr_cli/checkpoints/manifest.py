"""What makes a folder of a checkpoint a checkpoint: a list of its files with sizes and checksums."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from rlvr_cli.core.files import from_json, sync_directory, write_atomically

NAME = "manifest.json"
FORMAT = 1


def fingerprint(file: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file, both from one reading."""
    with open(file, "rb") as opened:
        return {"sha256": hashlib.file_digest(opened, "sha256").hexdigest(), "bytes": opened.tell()}


def write(folder: Path, *, step: int, ranks: int, zero_stage: int, files: dict[str, Any]) -> None:
    """Declare `folder` complete. `files` maps names relative to it to what `fingerprint` says of them."""
    head = {"format": FORMAT, "step": step, "ranks": ranks, "zero_stage": zero_stage}
    write_atomically(folder / NAME, _render(head | {"files": dict(sorted(files.items()))}))


def read(folder: Path) -> dict[str, Any]:
    """The manifest of a checkpoint. Raises ValueError, in words, where it is missing or not as written."""
    try:
        text = (folder / NAME).read_bytes()
    except FileNotFoundError:
        raise ValueError(
            f"{NAME} is missing: the folder is damaged, or of a version before manifests"
        ) from None
    try:
        found = from_json(text)
        # The checksum alone would not see a byte between two values changed.
        whole = _render({key: value for key, value in found.items() if key != "sha256"}).encode() == text
    except (ValueError, AttributeError):
        whole = False
    if not whole:
        raise ValueError(f"{NAME} is not as it was written")
    if found.get("format") != FORMAT:
        raise ValueError(f"{NAME} has format {found.get('format')}; this version of rlvr reads {FORMAT}")
    if folder.name != f"step_{found['step']}":
        raise ValueError(f"{NAME} is that of step {found['step']}")
    return dict(found)


def wrong(folder: Path, only: Iterable[str] | None = None) -> str | None:
    """What is wrong with a checkpoint, naming the file; None: every byte is as it was written.

    Reads every file (or those named in `only`) to its end, several at a time: as fast as the disk, or about
    1 GB/s and core.
    """
    try:
        files = read(folder)["files"]
    except (ValueError, OSError) as error:
        return str(error)
    names = list(files) if only is None else list(only)
    if absent := [name for name in names if name not in files]:
        return f"{NAME} does not list {absent[0]}"
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        found = pool.map(partial(_wrong_file, folder), names, [files[name] for name in names])
        return next((said for said in found if said), None)


def steps(folder: Path) -> list[int]:
    """Steps of the checkpoints in `checkpoints/`, whole or not, the newest first."""
    named = (re.fullmatch(r"step_(\d+)", path.name) for path in folder.glob("step_*"))
    return sorted((int(name[1]) for name in named if name), reverse=True)


def recover(folder: Path) -> None:
    """Put back what a run was killed over while it replaced a checkpoint by one of the same step."""
    for old in folder.glob(".step_*.old"):
        final = folder / old.name[1 : -len(".old")]
        if not final.exists():
            os.replace(old, final)


def set_aside(folder: Path) -> Path:
    """Rename a damaged checkpoint so that it is not found again; returns its new place."""
    aside = folder.with_name(f"{folder.name}.corrupt")
    number = 1
    while aside.exists():
        number += 1
        aside = folder.with_name(f"{folder.name}.corrupt{number}")
    os.replace(folder, aside)
    sync_directory(folder.parent)
    return aside


def _render(body: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return json.dumps(body | {"sha256": digest}, indent=1) + "\n"


def _wrong_file(folder: Path, name: str, written: dict[str, Any]) -> str | None:
    try:
        size = (folder / name).stat().st_size
        if size != written["bytes"]:
            return f"{name} has {size} bytes, {written['bytes']} were written"
        if fingerprint(folder / name) != written:
            return f"{name} is not as it was written (another checksum)"
    except FileNotFoundError:
        return f"{name} is missing"
    except OSError as error:
        return f"{name} cannot be read: {error.strerror}"
    return None
