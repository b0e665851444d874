"""The files of a checkpoint on their way to the disk, in a thread of each rank: no collectives here."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from rlvr_cli.checkpoints import manifest
from rlvr_cli.core.files import sync_directory, write_atomically

POLL_S = 0.05


class Writer(threading.Thread):
    """Writes this rank's files into `aside`; on rank 0 also calls `commit(files)` when every rank has.

    The ranks tell rank 0 by files beside their data, as a thread must not enter a collective that the
    training may be in. Where one fails, nothing is committed and `aside` is removed.
    """

    def __init__(
        self, aside: Path, content: dict[str, Any], rank: int, ranks: int, commit: Callable[[Any], None]
    ) -> None:
        super().__init__(name=f"checkpoint {aside.name}", daemon=True)
        self.aside, self.content, self.rank, self.ranks, self.commit = aside, content, rank, ranks, commit
        self.written = threading.Event()
        """This rank has written its files, or failed to."""
        self.cancelled = threading.Event()
        """Set where a rank failed and could not even write that down: rank 0 stops waiting."""
        self.error: str | None = None
        self.seconds = 0.0

    def run(self) -> None:
        began = time.monotonic()
        files: dict[str, Any] = {}
        try:
            files = {name: write_file(self.aside / name, what) for name, what in self.content.items()}
        except Exception as error:
            self.error = cause(error)
            for name in self.content:  # room for others, on a full disk
                with suppress(OSError):  # a disk that fails twice; the loop waits for what follows
                    (self.aside / name).unlink()
        self.content = {}  # the copies
        if self.rank > 0:
            self._leave_word({"error": self.error, "files": files})
        self.written.set()
        if self.rank == 0:
            self._finish(files)
        self.seconds = time.monotonic() - began

    def _leave_word(self, word: dict[str, Any]) -> None:
        try:
            write_atomically(self._word(self.rank), json.dumps(word))
        except OSError as error:
            self.error = self.error or cause(error)

    def _finish(self, files: dict[str, Any]) -> None:
        """Rank 0: wait for the others, then make a checkpoint of it, or nothing."""
        words = [self._await(rank) for rank in range(1, self.ranks)]
        self.error = next((e for e in (self.error, *(word["error"] for word in words)) if e), None)
        try:
            if self.error is None:
                for rank, word in enumerate(words, start=1):
                    files |= word["files"]
                    self._word(rank).unlink()
                self.commit(files)
        except Exception as error:
            self.error = cause(error)
        if self.error is not None:
            shutil.rmtree(self.aside, ignore_errors=True)

    def _await(self, rank: int) -> dict[str, Any]:
        while not self._word(rank).exists():
            if self.cancelled.wait(POLL_S):
                return {"error": f"rank {rank} could not write", "files": {}}
        return dict(json.loads(self._word(rank).read_text()))

    def _word(self, rank: int) -> Path:
        return self.aside / f"rank{rank}.json"


def write_file(path: Path, content: Any) -> dict[str, Any]:
    """Write text, or anything else by torch.save, down to the disk; returns its fingerprint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        if isinstance(content, str):
            file.write(content.encode())
        else:
            torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    return manifest.fingerprint(path)


def sync_tree(folder: Path) -> None:
    """Make the names in `folder` and below survive a power cut."""
    for path in [*folder.rglob("*/"), folder]:
        if path.is_dir():
            sync_directory(path)


def cause(error: BaseException) -> str:
    """What to tell a user: torch hides the system's reason behind an error of its own."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, OSError) and link.strerror:
            return link.strerror + (f": {link.filename}" if link.filename else "")
        link = link.__context__
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
