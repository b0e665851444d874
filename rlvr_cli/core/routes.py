"""Routes: which experts each token of a sequence went through.

uint8 or int16 [rows, L, k]: of each token that was fed to the model (the last one of a sequence never was),
for each of its L routers in order, the numbers of k experts.
"""

from __future__ import annotations

import base64
from typing import Any

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


def as_json(routes: np.ndarray) -> dict[str, Any]:
    """For a record: numbers as bytes, as a list would be several times as long."""
    little = routes.astype(routes.dtype.newbyteorder("<"))
    return {
        "shape": list(routes.shape),
        "bits": 8 * routes.itemsize,
        "base64": base64.b64encode(little.tobytes()).decode(),
    }


def of_json(found: dict[str, Any]) -> np.ndarray:
    """What `as_json` has made one of."""
    kind = np.dtype(np.uint8) if found["bits"] == 8 else np.dtype("<i2")
    return np.frombuffer(base64.b64decode(found["base64"]), kind).reshape(found["shape"])
