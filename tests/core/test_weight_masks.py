"""Masks of a weight: worked numbers, exact counts, ties."""

import math

import torch

from rlvr_cli.core.weight_masks import (
    leading,
    low_magnitude_mask,
    off_principal_mask,
    overlap,
    principal_mask,
    random_mask,
)


def test_leading_singular_vectors_are_those_of_the_decomposition() -> None:
    for shape in ((12, 30), (30, 12)):
        w = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        u, s, vh = leading(w, 5)
        whole = torch.linalg.svd(w, full_matrices=False)
        assert torch.allclose(s, whole.S[:5], atol=1e-12)
        assert torch.allclose((u * s) @ vh, (whole.U[:, :5] * whole.S[:5]) @ whole.Vh[:5], atol=1e-10)
        assert torch.allclose(u.T @ u, torch.eye(5, dtype=u.dtype), atol=1e-12)
    u, s, vh = leading(torch.zeros(3, 4), 2)
    assert not s.any() and torch.isfinite(vh).all()


def test_low_magnitude_takes_the_smallest_whatever_their_sign() -> None:
    w0 = torch.tensor([[-4.0, 0.5], [-0.1, 3.0]])
    assert low_magnitude_mask(w0, 0.5).tolist() == [[False, True], [True, False]]


def test_principal_takes_the_largest_of_the_truncation_and_not_of_the_weight() -> None:
    """A block of four 3s is of rank 1 with singular value 6, a lone 5 of 5: of rank 1 the 3s are left."""
    w0 = torch.zeros(3, 3)
    w0[:2, :2], w0[2, 2] = 3.0, 5.0
    block = [[True, True, False], [True, True, False], [False, False, False]]
    assert principal_mask(w0, 1, 4 / 9).tolist() == block
    assert principal_mask(w0, 3, 1 / 9).nonzero().tolist() == [[2, 2]]


def test_shares_are_exact_with_ties() -> None:
    """bf16 has few magnitudes: a threshold alone would take more than were asked for."""
    torch.manual_seed(0)
    w0 = (torch.randn(64, 48) * 0.02).to(torch.bfloat16)
    zeros = torch.zeros(5, 7)
    for alpha in (0.0, 0.1, 0.5, 0.9, 1.0):
        assert low_magnitude_mask(w0, alpha).sum() == round(alpha * w0.numel())
        assert principal_mask(w0, 8, alpha).sum() == round(alpha * w0.numel())
        assert low_magnitude_mask(zeros, alpha).sum() == round(alpha * 35)
    assert low_magnitude_mask(zeros, 0.2).flatten().tolist() == [True] * 7 + [False] * 28


def test_the_union_is_less_than_three_quarters_as_principal_entries_tend_to_be_large() -> None:
    """1 - P(principal and not small): .75 for masks that know nothing of each other."""
    torch.manual_seed(0)
    w0 = torch.randn(200, 100)
    union = off_principal_mask(w0, 10, 0.5)
    assert torch.equal(union, low_magnitude_mask(w0, 0.5) | ~principal_mask(w0, 10, 0.5))
    assert 0.5 < union.float().mean() < 0.75


def test_overlap_of_one_in_four() -> None:
    changed = torch.tensor([True, True, True, True, False, False, False, False])
    mask = torch.tensor([True, False, False, False, True, True, True, False])
    assert overlap(changed, mask) == 0.25
    assert math.isnan(overlap(torch.zeros(8, dtype=torch.bool), mask))


def test_random_masks_are_a_function_of_the_seed() -> None:
    w0 = torch.zeros(30, 20)
    masks = [random_mask(w0, 240, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(masks[0], masks[1]) and not torch.equal(masks[0], masks[2])
    assert all(mask.sum() == 240 and mask.shape == w0.shape for mask in masks)
