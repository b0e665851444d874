"""The global random generators of a rank: what dropout and unseeded sampling draw from."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def state() -> dict[str, Any]:
    """All of them, as tensors, numbers and tuples."""
    name, keys, *rest = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        "numpy": (name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest),
        "python": random.getstate(),
    }


def load(saved: dict[str, Any]) -> None:
    """Go on where `state` was taken."""
    torch.set_rng_state(saved["torch"])
    if saved["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(saved["cuda"])
    name, keys, *rest = saved["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    random.setstate(saved["python"])


def seed(number: int, rank: int) -> None:
    """Start all of them anew, each rank with numbers of its own."""
    start = random.Random(f"{number}/{rank}").getrandbits(32)
    torch.manual_seed(start)  # the devices' too
    np.random.seed(start)
    random.seed(start)
