"""Routes of the prefixes that an engine keeps in its cache: what is not computed again is not routed again.

The same tokens under the same weights take the same experts, so routes are kept as the cache keeps keys and
values: in blocks of its size, each under a hash of all tokens up to its end.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np


class RoutesLost(RuntimeError):
    """The engine has taken a prefix from its cache whose routes are not known."""


class RouteStore:
    """The least lately used blocks leave it where it is full. Emptied with the cache, for new weights."""

    def __init__(self, block: int, capacity: int) -> None:
        """`block`: tokens; `capacity`: blocks."""
        self.block, self.capacity = block, capacity
        self._blocks: OrderedDict[bytes, np.ndarray] = OrderedDict()

    def __len__(self) -> int:
        return len(self._blocks)

    def clear(self) -> None:
        self._blocks.clear()

    def put(self, tokens: Sequence[int], rows: np.ndarray) -> None:
        """Keep what is whole of the routes [rows, L, k] of the first so many tokens."""
        for number, key in enumerate(self._keys(tokens, len(rows) // self.block)):
            self._blocks[key] = rows[number * self.block : (number + 1) * self.block].copy()
            self._blocks.move_to_end(key)
        while len(self._blocks) > self.capacity:
            self._blocks.popitem(last=False)

    def get(self, tokens: Sequence[int], length: int) -> np.ndarray:
        """Routes of the first `length` tokens, which are whole blocks. RoutesLost where one is not there."""
        found = []
        for key in self._keys(tokens, length // self.block):
            if key not in self._blocks:
                break
            self._blocks.move_to_end(key)
            found.append(self._blocks[key])
        if len(found) * self.block != length:
            raise RoutesLost(
                f"the engine has taken {length} tokens of a prompt from its cache, and the experts of "
                f"{len(found) * self.block} of them are known; no sample is trained on without its routes"
            )
        return np.concatenate(found)

    def _keys(self, tokens: Sequence[int], count: int) -> list[bytes]:
        keys, digest = [], b""
        for number in range(count):
            part = np.asarray(tokens[number * self.block : (number + 1) * self.block], np.int64)
            digest = hashlib.blake2b(digest + part.tobytes(), digest_size=16).digest()
            keys.append(digest)
        return keys
