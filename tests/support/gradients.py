"""Gradients of a loss, exact and by finite differences."""

from collections.abc import Callable

import torch
from f1 import NEW
from hypothesis import strategies as st
from torch import Tensor

from rlvr_cli.algorithms import segments

WIDE = {"clip_ratio_low": 0.9, "clip_ratio_high": 9.0}


def gradient(value_of: Callable[[Tensor], Tensor], at: Tensor = NEW) -> Tensor:
    at = at.clone().requires_grad_()
    (result,) = torch.autograd.grad(value_of(at), at)
    return result


def differences(value_of: Callable[[Tensor], Tensor], at: Tensor = NEW, h: float = 1e-6) -> Tensor:
    steps = torch.eye(len(at), dtype=at.dtype) * h
    return torch.stack([(value_of(at + step) - value_of(at - step)) / (2 * h) for step in steps])


@st.composite
def updates(draw: st.DrawFn) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Lengths (0 included), random tensors at their tokens, and which sequences are kept."""
    lengths = torch.tensor(draw(st.lists(st.integers(0, 5), min_size=2, max_size=7)))
    keep_B = torch.tensor(draw(st.lists(st.booleans(), min_size=len(lengths), max_size=len(lengths))))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    n = int(lengths.sum())
    tensors = {
        name: -torch.rand(n, generator=generator, dtype=torch.float64)
        for name in ("new_N", "old_N", "rollout_N", "ref_N", "entropy_N")
    }
    tensors["advantages_N"] = segments.spread(
        torch.randn(len(lengths), generator=generator, dtype=torch.float64), lengths
    )
    return lengths, tensors, segments.spread(keep_B, lengths)
