"""Back-pressure: how much may wait for a worker."""

from __future__ import annotations

import threading


class Room:
    """Space for so many items of so many bytes together. One larger than all of it enters alone."""

    def __init__(self, items: int, size: int) -> None:
        self._items, self._bytes = items, size
        self._inside, self._used = 0, 0
        self._changed = threading.Condition()

    def enter(self, size: int) -> None:
        """Wait until there is space."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._inside == 0 or (self._inside < self._items and self._used + size <= self._bytes)
            )
            self._inside, self._used = self._inside + 1, self._used + size

    def leave(self, size: int) -> None:
        with self._changed:
            self._inside, self._used = self._inside - 1, self._used - size
            self._changed.notify_all()
