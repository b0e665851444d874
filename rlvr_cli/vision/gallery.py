"""Reduced copies of the images of a run's records, each once, for whoever reads the records later."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlvr_cli.core.files import write_atomically
from rlvr_cli.vision.album import album

if TYPE_CHECKING:
    import numpy as np

    from rlvr_cli.vision.processor import Processor

FOLDER = "images"
LONGEST = 384
"""Pixels of a copy's longer side, at most."""
EXACT = 128 * 128
"""Pixels up to which a copy is stored without loss."""


class Gallery:
    """Writes into `folder`, the `images/` beside records."""

    def __init__(self, folder: Path, most: int, processor: Processor | None) -> None:
        """`most`: new copies for one call of `shown`; processor None: a model that reads text alone."""
        self._folder, self._most, self._processor = folder, most, processor
        self._there: dict[str, str] | None = None

    def shown(self, prompts: Iterable[Sequence[int]]) -> list[list[dict[str, Any]]]:
        """Of each prompt its images in order: sizes, and `file`, the name of the copy, if there is one."""
        if self._processor is None:
            return [[] for _ in prompts]
        if self._there is None:
            self._there = {file.stem: file.name for file in self._folder.glob("[0-9a-f]*.*")}
        left, found = self._most, list[list[dict[str, Any]]]()
        for tokens in prompts:
            found.append([])
            for number in album.numbers(tokens):
                name = album[number].picture.key.hex()[:20]
                if name not in self._there and left:
                    self._there[name] = self._write(name, number)
                    left -= 1
                found[-1].append({"file": self._there.get(name)} | album[number].sizes)
        return found

    def _write(self, name: str, number: int) -> str:
        assert self._processor is not None
        ending, content = reduced(self._processor.seen(number))
        write_atomically(self._folder / f"{name}.{ending}", content)
        return f"{name}.{ending}"


def carried(images: list[dict[str, Any]], before: Path, after: Path) -> list[dict[str, Any]]:
    """A record's images with their copies put from one folder into another; those of a copy that is no longer
    there are without one."""
    found = []
    for each in images:
        name = each.get("file")
        if name is not None and not (after / name).exists():
            if (before / name).is_file():
                write_atomically(after / name, (before / name).read_bytes())
            else:
                name = None
        found.append(each | {"file": name})
    return found


def reduced(pixels: np.ndarray) -> tuple[str, bytes]:
    """(ending, file) of uint8 [height, width, 3]."""
    from PIL import Image

    image, kept = Image.fromarray(pixels), io.BytesIO()
    if image.width * image.height <= EXACT:
        image.save(kept, format="PNG")
        return "png", kept.getvalue()
    image.thumbnail((LONGEST, LONGEST))
    image.save(kept, format="JPEG", quality=80)
    return "jpg", kept.getvalue()
