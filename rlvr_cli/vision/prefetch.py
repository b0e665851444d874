"""Images that are opened before they are needed, in worker processes where these are worth it."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from rlvr_cli.vision import workers
from rlvr_cli.vision.album import album
from rlvr_cli.vision.pictures import Encoded, Linked, Picture, Stored

if TYPE_CHECKING:
    import numpy as np

Tokens = Sequence[int] | Any
"""A row of them, or an array."""
LARGE_BYTES = 64 * 2**10
"""Of a file, from which on it is worth another process where nobody says how many there are."""
LARGE_PIXELS = 2**18
"""The same of an image whose size is known."""
ENOUGH = 32
"""Large images from which on processes are started; each takes half a second to begin."""


def resized(picture: Picture, width: int, height: int, resample: int) -> np.ndarray:
    """uint8 [height, width, 3] of a picture at the size in which a model sees it. Raises BadImage."""
    import numpy as np
    from PIL import Image

    pixels = picture.rgb()
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.array(Image.fromarray(pixels).resize((width, height), resample=resample))


def size_of(picture: Picture) -> tuple[int, int]:
    return picture.size()


class Prefetch:
    """Of one processor. `count`: worker processes; None: as many as is usual, and for large images alone."""

    def __init__(self, count: int | None) -> None:
        self.count = workers.usual() if count is None else count
        self._all = count is not None
        self._met = 0
        self._lock = threading.Lock()  # servers are asked in a thread of their own
        self._waiting: deque[tuple[int, int]] = deque()
        self._made: dict[int, Future[np.ndarray]] = {}

    @property
    def width(self) -> int:
        """Pictures to be asked for before the first is needed; 0: there is no use in it."""
        return 4 * self.count

    def size(self, picture: Picture) -> Future[tuple[int, int]] | None:
        """`picture.size()` to come; None: it is as well asked here."""
        if not self.count or not (self._all or _heavy(picture)):
            return None
        self._met += 1
        if not self._all and self._met < ENOUGH:
            return None
        return workers.shared(self.count).submit(size_of, picture)

    def coming(self, rows: Iterable[Tokens], resample: int) -> None:
        """Rows of tokens whose images are needed soon, in this order; what was said before is forgotten."""
        import numpy as np

        if not self.count:
            return
        found = (np.asarray(row) for row in rows)
        numbers = dict.fromkeys(number for row in found for number in row[row < 0].tolist())
        wanted = [n for n in numbers if album.kept(n) is None and (self._all or _large(n))]
        with self._lock:
            self._made = {n: future for n, future in self._made.items() if n in numbers}
            self._met += len(wanted)
            ready = self._all or self._met >= ENOUGH
            self._waiting = deque((n, resample) for n in wanted if ready and n not in self._made)
            self._fill()

    def take(self, number: int) -> np.ndarray | None:
        """The pixels of an image that was asked for; None: nobody has begun it. Raises BadImage."""
        with self._lock:
            future = self._made.pop(number, None)
            self._fill()
        return None if future is None else future.result()

    def _fill(self) -> None:
        while self._waiting and len(self._made) < 2 * self.count:
            number, resample = self._waiting.popleft()
            if number not in self._made and album.kept(number) is None:
                image = album[number]
                self._made[number] = workers.shared(self.count).submit(
                    resized, image.picture, image.width, image.height, resample
                )


def _heavy(picture: Any) -> bool:
    if isinstance(picture, Encoded):
        return len(picture.data) >= LARGE_BYTES
    if isinstance(picture, Stored):
        try:
            return os.stat(picture.path).st_size >= LARGE_BYTES
        except (OSError, ValueError):
            return False
    return isinstance(picture, Linked)


def _large(number: int) -> bool:
    width, height = album[number].original
    return width * height >= LARGE_PIXELS
