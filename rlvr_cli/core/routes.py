"""Routes: which experts each token of a sequence went through.

uint8 or int16 [rows, L, k]: of each token that was fed to the model (the last one of a sequence never was),
for each of its L routers in order, the numbers of k experts.
"""

from __future__ import annotations

import numpy as np


def numbers_for(experts: int) -> type[np.uint8] | type[np.int16]:
    """The narrowest type that holds so many experts' numbers."""
    return np.uint8 if experts <= 256 else np.int16


def aligned(routes: np.ndarray, length: int) -> np.ndarray:
    """Routes of all but the last of a sequence's `length` tokens.

    The last one predicts nothing that is trained: what engines say of it, if they do, is a placeholder.
    Raises ValueError where they are of another sequence.
    """
    if len(routes) not in (length - 1, length):
        raise ValueError(f"there are routes of {len(routes)} tokens for a sequence of {length}")
    return routes[: length - 1]
