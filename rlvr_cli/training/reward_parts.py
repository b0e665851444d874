"""What each verifier gave, for advantages that compare rewards one by one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rlvr_cli.core.types import Group


def needs_parts(advantage: Any) -> bool:
    """Whether every rank is to be told `Group.parts`."""
    return bool(getattr(advantage, "needs_parts", False))


def parts_of(
    groups: list[Group], verifiers: Mapping[str, Any], advantage: Any
) -> dict[str, tuple[float, Tensor]] | None:
    """As `AdvantageInputs.parts` has them; None where the option does not ask."""
    if not needs_parts(advantage):
        return None
    names = sorted({name for group in groups for each in group.parts for name in each})
    return {
        name: (
            float(verifiers[name].weight),
            torch.tensor(
                [[each.get(name, math.nan) for each in g.parts] for g in groups], dtype=torch.float64
            ),
        )
        for name in names
    }
