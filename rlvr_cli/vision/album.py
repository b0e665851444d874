"""The images of this process, and the ids that stand for them among a prompt's tokens.

Where a model's own sequence repeats its image token, a prompt of ours repeats a number below 0, which says
which image it is. So a prompt is a row of numbers like any other: it is as long as the model sees it, equal
prompts are equal, prompts that differ in an image alone are not, and nothing on its way from the data to the
engine and the trainer has to know of images. Those two put the model's token back, and look the image up.

Ranks that read the same rows in the same order give the same numbers; `fingerprint` tells whether they did.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from threading import Lock
from typing import TYPE_CHECKING

from rlvr_cli.vision.pictures import Picture

if TYPE_CHECKING:
    import numpy as np

KEPT = 256 * 2**20
"""Bytes of images as the model sees them that are kept; the others are made again."""


@dataclass(frozen=True, slots=True)
class Image:
    """A picture at the size in which a model sees it."""

    picture: Picture
    width: int
    height: int
    """Pixels after the processor's resize."""
    rows: int
    columns: int
    """Tokens, from top to bottom and from left to right."""
    original: tuple[int, int]
    """(width, height) as stored."""

    @property
    def tokens(self) -> int:
        return self.rows * self.columns

    @property
    def sizes(self) -> dict[str, int]:
        """In pixels, as stored and as the model sees it."""
        width, height = self.original
        return {"width": width, "height": height, "seen_width": self.width, "seen_height": self.height}


class Album:
    """Images by number: -1, -2, ..."""

    def __init__(self) -> None:
        self._images: list[Image] = []
        self._numbers: dict[tuple[bytes, int, int], int] = {}
        self._seen: OrderedDict[int, np.ndarray] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()  # a thread that samples beside the trainer looks at the same images
        self.most = 0
        """Images of the prompt that has most."""

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, number: int) -> Image:
        return self._images[-1 - number]

    def add(self, image: Image) -> int:
        """Its number; the one it has, where the same picture is there in the same size."""
        key = (image.picture.key, image.width, image.height)
        if key not in self._numbers:
            self._images.append(image)
            self._numbers[key] = -len(self._images)
        return self._numbers[key]

    def numbers(self, tokens: Sequence[int]) -> list[int]:
        """Of the images of a row of tokens, each once, in order."""
        return list(dict.fromkeys(token for token in tokens if token < 0))

    def keys(self, tokens: Sequence[int]) -> list[str]:
        """What tells the images of a row of tokens from others, in order; [] where it has none."""
        return [self[number].picture.key.hex() for number in self.numbers(tokens)]

    def keep(self, number: int, seen: np.ndarray) -> np.ndarray:
        """Remember uint8 [height, width, 3] of an image, while there is room."""
        with self._lock:
            if number in self._seen:  # another thread has made it meanwhile
                return self._seen[number]
            self._seen[number] = seen
            self._bytes += seen.nbytes
            while self._bytes > KEPT and len(self._seen) > 1:
                self._bytes -= self._seen.popitem(last=False)[1].nbytes
        return seen

    def kept(self, number: int) -> np.ndarray | None:
        with self._lock:
            if number in self._seen:
                self._seen.move_to_end(number)
            return self._seen.get(number)

    def fingerprint(self) -> str:
        """The same on processes whose numbers mean the same images."""
        return sha256(b"".join(key for key, _, _ in self._numbers)).hexdigest()[:16]


album = Album()
"""Of this process."""


def runs(tokens: np.ndarray) -> list[tuple[int, int]]:
    """(where it begins, its number) of each image of a row of tokens, in order.

    Two images side by side are told apart by their sizes, so that a model without marks around them has both.
    """
    import numpy as np

    found, place = [], 0
    below = np.flatnonzero(tokens < 0)
    while len(below := below[below >= place]):
        start = int(below[0])
        found.append((start, int(tokens[start])))
        place = start + album[int(tokens[start])].tokens
    return found


def expanded(tokens: Sequence[int], numbers: Sequence[int], pad: int) -> list[int]:
    """With each image token in its place repeated as the album's number. ValueError where counts differ."""
    if (count := sum(token == pad for token in tokens)) != len(numbers):
        raise ValueError(f"{count} image tokens for {len(numbers)} images")
    album.most = max(album.most, len(numbers))
    left, whole = iter(numbers), list[int]()
    for token in tokens:
        if token == pad:
            number = next(left)
            whole += [number] * album[number].tokens
        else:
            whole.append(token)
    return whole


def shortened(tokens: Sequence[int] | np.ndarray, pad: int) -> tuple[list[int], list[int]]:
    """(tokens with one image token for each image, the images' numbers)."""
    import numpy as np

    row = np.asarray(tokens)
    short, place, numbers = list[int](), 0, []
    for start, number in runs(row):
        short += [*row[place:start].tolist(), pad]
        numbers.append(number)
        place = start + album[number].tokens
    return [*short, *row[place:].tolist()], numbers
