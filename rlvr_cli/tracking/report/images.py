"""The images of the groups on a page: files of the runs, each once, as many as fit."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path

NAME = re.compile(r"[0-9a-f]{20}\.(png|jpg)")
TYPES = {"png": ("image/png", b"\x89PNG\r\n"), "jpg": ("image/jpeg", b"\xff\xd8\xff")}
"""Ending -> type, and what such a file begins with."""
LARGEST = 1_000_000
"""Bytes; records have reduced copies far below it."""
FOLDERS = ("rollouts/images", "eval/images", "images")
"""Of a run directory, and of the folder of an evaluation."""


class Images:
    """Blocks of a page with the images that its chunks name."""

    def __init__(self, budget: int) -> None:
        self.blocks: list[str] = []
        self._budget = budget
        self._there: set[str] = set()

    def take(self, run: Path, chunks: Iterable[Iterable[str]]) -> tuple[int, int]:
        """Of each chunk's images as many as there is room for, in turns: (on the page, not on it)."""
        names = list(dict.fromkeys(_in_turns(chunks)))
        for name in names:
            if name not in self._there and (block := self._block(run, name)) is not None:
                if len(block) > self._budget:
                    break
                self._budget -= len(block)
                self._there.add(name)
                self.blocks.append(block)
        shown = sum(name in self._there for name in names)
        return shown, len(names) - shown

    def _block(self, run: Path, name: str) -> str | None:
        """None where there is no such file, or something else by its name."""
        if not NAME.fullmatch(name):
            return None
        found = next((path for path in (run / folder / name for folder in FOLDERS) if path.is_file()), None)
        if found is None or found.stat().st_size > LARGEST:
            return None
        kind, start = TYPES[found.suffix[1:]]
        content = found.read_bytes()
        if not content.startswith(start):
            return None
        text = base64.b64encode(content).decode("ascii")
        return f'<script type="{kind}" id="image-{found.stem}">{text}</script>'


def _in_turns(chunks: Iterable[Iterable[str]]) -> Iterator[str]:
    """The first image of every chunk, the second, ..."""
    for each in zip_longest(*chunks):
        yield from (name for name in each if name is not None)
