"""Singular values, directions, masks: the paper's worked numbers, theorems, estimates against exact ones."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rlvr_cli.core.weight_masks import largest_mask, overlap, smallest_mask
from rlvr_cli.inspect.changed import changed_in_bf16
from rlvr_cli.inspect.spectra import (
    Options,
    angles,
    base_of,
    directions,
    drift,
    estimated_spectrum,
    exact_spectrum,
)


def test_drift_of_the_papers_example() -> None:
    """Of sqrt(0.0014) / sqrt(14); exactly 0.01."""
    before, after = torch.tensor([3.0, 2.0, 1.0]).double(), torch.tensor([3.03, 1.98, 1.01]).double()
    assert float((after - before).norm()) == pytest.approx(0.0374, abs=5e-5)
    assert float(before.norm()) == pytest.approx(3.742, abs=5e-4)
    assert drift(before, after) == pytest.approx(0.01)
    assert math.isnan(drift(torch.zeros(2), torch.ones(2)))


def test_an_update_of_the_small_direction_turns_nothing() -> None:
    base = torch.diag(torch.tensor([10.0, 1.0])).double()
    before = exact_spectrum(base, 1)
    beside = exact_spectrum(base + torch.diag(torch.tensor([0.0, 0.5])).double(), 1)
    assert beside.values.tolist() == pytest.approx([10, 1.5])
    assert float(angles(before.right, beside.right)) == pytest.approx(0, abs=1e-6)
    across = exact_spectrum(base + 0.5 * torch.tensor([[0.0, 1.0], [1.0, 0.0]]).double(), 1)
    assert float(angles(before.left, across.left)) == pytest.approx(3.17, abs=0.005)
    assert float(angles(before.left, across.left)) == pytest.approx(math.degrees(math.atan(1 / 9) / 2))


@pytest.mark.parametrize("degrees", [1e-9, 1e-4, 1.0, 44.0, 46.0, 89.9, 90.0])
def test_angles_small_and_large(degrees: float) -> None:
    """From cosines alone the first would be 0."""
    turn = math.radians(degrees)
    first = torch.eye(4).double()[:, :2]
    second = first.clone()
    second[:, 1] = torch.tensor([0, math.cos(turn), math.sin(turn), 0]).double()
    found = angles(first, second)
    assert found.tolist() == pytest.approx([0, degrees], rel=1e-6, abs=1e-12)


def test_overlap_of_the_papers_example() -> None:
    changed = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0]]).bool()
    principal = torch.tensor([[1, 0, 1, 1], [0, 0, 1, 0]]).bool()
    assert principal.float().mean() == 0.5 and overlap(changed, principal) == 0.25
    assert math.isnan(overlap(torch.zeros_like(changed), principal))


matrices = st.tuples(st.integers(1, 7), st.integers(1, 7), st.integers(0, 2**31 - 1), st.floats(1e-4, 2))


def drawn(rows: int, columns: int, seed: int, size: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    pair = torch.randn(2, rows, columns, generator=generator, dtype=torch.float64)
    return pair[0], size * pair[1]


@settings(max_examples=60, deadline=None)
@given(matrices)
def test_weyl_mirsky_and_ky_fan(of: tuple[int, int, int, float]) -> None:
    """No singular value moves by more than the update's largest, nor all together by more than its norm."""
    base, update = drawn(*of)
    before, after = (exact_spectrum(each, 3).values for each in (base, base + update))
    moved = after - before
    sizes = torch.linalg.svdvals(update)
    allowed = 1e-6
    assert moved.abs().max() <= sizes[0] + allowed
    assert moved.norm() <= update.norm() + allowed
    assert bool((moved.cumsum(0) <= sizes.cumsum(0) + allowed).all())
    assert drift(before, after) <= update.norm() / base.norm() + allowed


@settings(max_examples=60, deadline=None)
@given(matrices, st.integers(1, 5))
def test_wedin(of: tuple[int, int, int, float], rank: int) -> None:
    """The principal subspace turns by at most the update's largest singular value over the gap behind it."""
    base, update = drawn(*of)
    rank = min(rank, *base.shape)
    before, after = exact_spectrum(base, rank), exact_spectrum(base + update, rank)
    behind = float(after.values[rank]) if rank < min(base.shape) else 0.0
    gap = float(before.values[rank - 1]) - behind
    if gap < 1e-3:
        return
    bound = float(torch.linalg.matrix_norm(update, 2)) / gap + 1e-6
    for first, second in ((before.left, after.left), (before.right, after.right)):
        assert math.sin(math.radians(float(angles(first, second).max()))) <= bound


@pytest.mark.parametrize("shape", [(40, 90), (90, 40), (30, 30)])
def test_exact_values_are_those_of_an_svd(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    weight = torch.randn(shape)
    u, s, vh = torch.linalg.svd(weight.double(), full_matrices=False)
    found = exact_spectrum(weight, 5)
    assert torch.allclose(found.values, s, rtol=1e-10)
    assert (
        float(angles(found.left, u[:, :5]).max()) < 1e-6 and float(angles(found.right, vh[:5].T).max()) < 1e-6
    )


def test_estimates_of_a_trained_spectrum() -> None:
    """Singular values that fall as 1/n, as trained ones about do: within 0.1 %, angles within 2 %."""
    torch.manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(size, 200).double()).Q for size in (600, 550))
    base = left @ torch.diag(1 / torch.arange(1, 201).double()) @ right.T
    tuned = base + 1e-5 * torch.randn(600, 550)
    estimates = [estimated_spectrum(each.float(), 16) for each in (base, tuned)]
    exact = [exact_spectrum(each, 16) for each in (base, tuned)]
    assert torch.allclose(estimates[0].values.double(), exact[0].values[:16], rtol=1e-3)
    found = drift(*(each.values.double() for each in estimates))
    assert found == pytest.approx(drift(*(each.values[:16] for each in exact)), rel=0.01)
    turned = [float(angles(pair[0].left, pair[1].left).max()) for pair in (estimates, exact)]
    assert turned[0] == pytest.approx(turned[1], rel=0.02)


def test_planted_updates_are_told_apart() -> None:
    """One only of principal entries, one only of small ones, one anywhere."""
    torch.manual_seed(0)
    options = Options(rank=4, share=0.5)
    weight = torch.randn(64, 4) @ torch.randn(4, 48) + 0.3 * torch.randn(64, 48)
    base = base_of(weight, options)
    assert base.principal.sum() == base.low.sum() == 64 * 48 // 2
    for mask, principal, low in ((base.principal, 1, None), (base.low, None, 1)):
        tuned = torch.where(mask, weight * 1.1, weight)
        found = directions(base, tuned, changed_in_bf16(weight, tuned), options)
        assert principal is None or found.principal == principal
        assert low is None or found.low == low
        assert found.exact and 0 < found.drift < 0.1 and len(found.top) == 4
    anywhere = torch.where(torch.rand(64, 48) < 0.5, weight * 1.1, weight)
    found = directions(base, anywhere, changed_in_bf16(weight, anywhere), options)
    assert found.principal == pytest.approx(0.5, abs=0.04) and found.low == pytest.approx(0.5, abs=0.04)
    assert found.principal_not_low == pytest.approx(base.principal_not_low, abs=0.04)
    same = directions(base, weight, changed_in_bf16(weight, weight), options)
    assert same.drift == 0 and same.left_max < 1e-6 and math.isnan(same.principal)


@pytest.mark.parametrize("kind", ["normal", "ties", "sorted"])
def test_masks_of_large_weights_are_exact(kind: str) -> None:
    """Where a sample says near which entry the limit is, sorted ones are those that it misjudges."""
    torch.manual_seed(0)
    values = torch.randn(2**21)
    if kind == "ties":
        values = values.bfloat16()
    elif kind == "sorted":
        values = torch.cat([torch.arange(2.0**21 - 2**14), torch.zeros(2**14)])
    count = 700_001
    mask = smallest_mask(values, count)
    assert mask.sum() == count and values[mask].max() <= values[~mask].min()
    at = values == values.float().kthvalue(count).values.to(values.dtype)
    assert at.nonzero()[: int((mask & at).sum())].equal((mask & at).nonzero())  # of equal ones the first
    assert largest_mask(values, count).sum() == count
