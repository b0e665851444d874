"""What is left of adapters once they are merged into weights of a coarser type."""

from __future__ import annotations

import pytest
import torch

from rlvr_cli.engine.merge import Merge

WEIGHT = torch.randn(256, 256, generator=torch.Generator().manual_seed(0)) * 0.02
DELTA = torch.randn(256, 256, generator=torch.Generator().manual_seed(1)) * 0.02


def test_a_merge_in_fp32_is_the_sum() -> None:
    merge = Merge()
    assert torch.equal(merge(WEIGHT, DELTA * 1e-4), WEIGHT + DELTA * 1e-4) and merge.error is None


def test_a_merge_in_bf16_is_rounded_once() -> None:
    """The adapters' product is not rounded before it is added."""
    merge, weight = Merge(), torch.tensor([1.0], dtype=torch.bfloat16)
    delta = torch.tensor([2**-8 + 2**-20])  # just over half of the distance to the next number above 1
    assert merge(weight, delta).item() == 1 + 2**-7


@pytest.mark.parametrize(("size", "low", "high"), [(1e-4, 0.95, 1.0), (1e-2, 0.1, 0.3), (1.0, 0.0, 0.01)])
def test_what_rounding_takes_is_measured(size: float, low: float, high: float) -> None:
    """Over all weights, by their norms: small ones count little, and those without a change not at all."""
    merge = Merge()
    merge(WEIGHT.bfloat16(), DELTA * size)
    alone = merge.error
    assert alone is not None and low < alone < high
    merge(WEIGHT.bfloat16(), DELTA * 0)
    assert merge.error == pytest.approx(alone)


def test_adapters_that_change_nothing_lose_nothing() -> None:
    merge = Merge()
    merge(WEIGHT.bfloat16(), DELTA * 0)
    assert merge.error is None
