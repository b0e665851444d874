"""What plain retrieval scores on each question, computed once and kept on disk.

One line of JSON for each question; several processes append to one file. An entry holds for the context it
was computed with, so that another corpus or retriever makes new ones.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.files import from_json


class RagCache:
    """{(question id, hash of the context): accuracy}; `path` None: in memory only."""

    def __init__(self, path: Path | None) -> None:
        self._path, self._lock = path, threading.Lock()
        self._in_work: dict[tuple[str, str], threading.Lock] = {}
        self._known: dict[tuple[str, str], float] = {} if path is None else read(path)
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with open(path, "ab"):
                    pass
            except OSError as error:
                raise UserError(
                    f"scores of plain retrieval cannot be kept in {path}: {error.strerror}; set rag_scores "
                    "to a file that can be written"
                ) from error

    def score(self, question_id: str, context: str, compute: Callable[[], float]) -> float:
        """The accuracy with this context; `compute` is called where it is not known, by one thread only."""
        key = (question_id, context_hash(context))
        with self._lock:
            turn = self._in_work.setdefault(key, threading.Lock())
        with turn:
            if key not in self._known:
                self._known[key] = compute()
                self._write(*key, self._known[key])
        return self._known[key]

    def _write(self, question_id: str, content: str, accuracy: float) -> None:
        if self._path is None:
            return
        line = json.dumps({"id": question_id, "context": content, "acc": accuracy}).encode() + b"\n"
        with open(self._path, "ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0, os.SEEK_END)
            if file.tell() and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
                line = b"\n" + line  # somebody was killed within a line
            file.write(line)


def read(path: Path) -> dict[tuple[str, str], float]:
    """All whole entries of a file; none where there is no file."""
    found: dict[tuple[str, str], float] = {}
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return found
    for line in lines:
        try:
            row = from_json(line)
            found[str(row["id"]), str(row["context"])] = float(row["acc"])
        except (ValueError, LookupError, TypeError):
            continue  # the end of a line that a killed process has left
    return found


def context_hash(context: str) -> str:
    return sha256(context.encode("utf-8", "replace")).hexdigest()[:16]
