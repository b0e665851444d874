"""Which part of each tensor that was sent a rank has taken, and whether the parts make up the whole."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch

Place = tuple[int, tuple[int, ...], tuple[int, ...]]
"""Part of a tensor: offset in elements, shape, strides."""


@dataclass(slots=True)
class Taken:
    """Of one tensor that was sent, by one rank."""

    elements: int
    places: set[Place] = field(default_factory=set)
    """Empty where the rank's loaders copied something that was made of the tensor."""


def incomplete(of_ranks: Iterable[dict[str, Taken]]) -> list[str]:
    """Tensors of which some part was taken by no rank, or two ranks have taken parts that overlap.

    The same part on several ranks is no overlap: all of them hold norms, and few key-value heads. A tensor
    that a rank has not copied from directly is left out.
    """
    whole: dict[str, Taken] = {}
    unknown = set()
    for taken in of_ranks:
        for name, part in taken.items():
            found = whole.setdefault(name, Taken(part.elements))
            found.places |= part.places
            if not part.places:
                unknown.add(name)
    return [
        name
        for name, taken in whole.items()
        if name not in unknown
        and sum(torch.Size(shape).numel() for _, shape, _ in taken.places) != taken.elements
    ]
