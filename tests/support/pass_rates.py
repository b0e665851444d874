"""Groups that dynamic sampling keeps, and how their pass rates mislead."""

import math

import torch
from f1 import make
from torch import Tensor


def outcomes(size: int) -> Tensor:
    """Groups with 0, 1, ... size right answers: _PG with P = size + 1."""
    return (torch.arange(size)[None] < torch.arange(size + 1)[:, None]).double()


def chances(p: Tensor, size: int) -> Tensor:
    """How likely each of them is where an answer is right with probability p: [len(p), size + 1]."""
    counts = torch.tensor([math.comb(size, k) for k in range(size + 1)], dtype=torch.float64)
    k = torch.arange(size + 1)
    return counts * p[:, None] ** k * (1 - p[:, None]) ** (size - k)


def kept(p: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Pass rates of the groups dynamic sampling keeps, and how likely each is given that it is kept."""
    grid = outcomes(size)
    keep = make("filter", "zero_signal")(grid, grid)
    weights = chances(p, size)[:, keep]
    return grid[keep].mean(1), weights / weights.sum(1, keepdim=True)


def overstated(upper: float, size: int) -> float:
    """How likely a kept group's pass rate is above p, for p spread evenly over (0, upper)."""
    p = upper * (torch.arange(8000, dtype=torch.float64) + 0.5) / 8000
    rates, weights = kept(p, size)
    # floor(G p) + 1 in exact arithmetic: at p = k / G a rate of k / G does not exceed it.
    above = rates[None] > p[:, None] + 1e-12
    return float((weights * above).sum(1).mean())
