"""What the confidence at each position of a trace is trained towards, from its outcome alone."""

from __future__ import annotations

import numpy as np

from rlvr_cli.schema import PseudoLabel


def pseudo_labels(
    places: np.ndarray, length: int, right: bool, kind: PseudoLabel, power: float
) -> np.ndarray:
    """float32 [M]: labels after `places` of the `length` tokens of a trace (1: after its first token).

    linear: .5 +- .5 t/T; power: .5 +- .5 (t/T)^power; step: .5 up to the half, then the outcome;
    constant: the outcome.
    """
    share = places.astype(np.float64) / length
    how_far = {
        PseudoLabel.linear: share,
        PseudoLabel.power: share**power,
        PseudoLabel.step: (share > 0.5).astype(np.float64),
        PseudoLabel.constant: np.ones_like(share),
    }[kind]
    found: np.ndarray = (0.5 + (0.5 if right else -0.5) * how_far).astype(np.float32)
    return found


def probed_places(length: int, most: int) -> np.ndarray:
    """int [M]: after which of `length` tokens a trace is probed: at most `most`, evenly, the last too."""
    stride = -(-length // most)
    return np.arange(length, 0, -stride)[::-1].copy()
