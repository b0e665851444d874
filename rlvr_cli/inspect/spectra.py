"""Singular values and directions of a weight before and after training, and where its changes lie.

Zhu et al. 2025 (arXiv 2511.08567), section 2: spectral drift, rotation of the principal subspaces, overlap of
the changed entries with masks made of the base. Exact values are those of the Gram matrix of the smaller side
in fp64: absolute errors up to 1e-8 of the largest. Estimates are subspace iterations from the same random
start (Halko et al. 2011) for every model, so that what they miss is nearly the same before and after.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rlvr_cli.core.weight_masks import count_of, largest_mask, low_magnitude_mask, overlap

EXACT_SIDE = 512
"""Matrices whose smaller side is at most this have all their singular values; of others the top ones are
estimated, unless all are asked for: at 1536 x 8960 that takes seconds a matrix."""
OVERSAMPLED = 16
ITERATIONS = 2


@dataclass(frozen=True)
class Options:
    """What is looked at."""

    rank: int = 32
    """Size of the principal subspaces, and of the truncation whose large entries are principal."""
    share: float = 0.5
    """Of the entries that a mask holds."""
    exact: bool = False
    """All singular values of every matrix."""


@dataclass(frozen=True)
class Spectrum:
    """The largest singular values of a matrix [rows, columns] and their directions, fp32 or fp64."""

    values: Tensor
    """[all] where exact, else [k]; the largest first."""
    left: Tensor
    """[rows, k], orthonormal."""
    right: Tensor
    """[columns, k], orthonormal."""
    exact: bool


@dataclass(frozen=True)
class Directions:
    """One model against the base. Angles in degrees."""

    drift: float
    """|s1 - s0| / |s0| over the singular values there are (NSS)."""
    left_max: float
    left_mean: float
    right_max: float
    right_mean: float
    principal: float
    """Share of the changed entries that lies in the principal mask; NaN where nothing has changed."""
    low: float
    """The same, of the mask of small entries."""
    principal_not_low: float
    """The same, of entries that are principal and not small."""
    top: list[float]
    """The k largest singular values."""
    exact: bool


@dataclass(frozen=True)
class Base:
    """What the base is compared by: made once for all models."""

    spectrum: Spectrum
    principal: Tensor
    low: Tensor

    @property
    def principal_not_low(self) -> float:
        """Share of all entries that is principal and not small: what random changes would have there."""
        return float((self.principal & ~self.low).float().mean())


def drift(before: Tensor, after: Tensor) -> float:
    """NSS: norm of the difference of the singular values over that of the first; NaN for a weight of 0."""
    whole = float(before.norm())
    return float((after - before).norm()) / whole if whole else math.nan


def angles(first: Tensor, second: Tensor) -> Tensor:
    """Principal angles between two subspaces, degrees [k], the smallest first; both are orthonormal [n, k].

    The cosine of an angle is a singular value of U0' U1. Near 0 it says nothing in floating point, so angles
    below 45 degrees are taken from their sines (Björck and Golub 1973).
    """
    first, second = first.double(), second.double()
    inner = first.T @ second
    cosines = torch.linalg.svdvals(inner).clamp(max=1)
    sines = torch.linalg.svdvals(second - first @ inner).clamp(max=1).flip(0)
    small = cosines.square() > 0.5
    return torch.where(small, torch.asin(sines[: len(cosines)]), torch.acos(cosines)).rad2deg()


def spectrum(weight: Tensor, options: Options) -> Spectrum:
    """Of a finite matrix."""
    if options.exact or min(weight.shape) <= EXACT_SIDE:
        return exact_spectrum(weight, options.rank)
    return estimated_spectrum(weight, options.rank)


def exact_spectrum(weight: Tensor, rank: int) -> Spectrum:
    """All singular values, and the directions of the `rank` largest."""
    if weight.shape[0] < weight.shape[1]:
        turned = exact_spectrum(weight.T, rank)
        return Spectrum(turned.values, turned.right, turned.left, exact=True)
    exact = weight.double()
    squares, vectors = torch.linalg.eigh(exact.T @ exact)  # the smallest first
    right = vectors.flip(1)[:, :rank].contiguous()
    left = torch.linalg.qr(exact @ right).Q
    return Spectrum(squares.flip(0).clamp(min=0).sqrt(), left, right, exact=True)


def estimated_spectrum(weight: Tensor, rank: int) -> Spectrum:
    """The `rank` largest, by subspace iteration in fp32."""
    matrix = weight.float()
    size = min(rank + OVERSAMPLED, *matrix.shape)
    generator = torch.Generator().manual_seed(0)
    left = torch.linalg.qr(matrix @ torch.randn(matrix.shape[1], size, generator=generator)).Q
    for _ in range(ITERATIONS):
        left = torch.linalg.qr(matrix @ torch.linalg.qr(matrix.T @ left).Q).Q
    u, values, vh = torch.linalg.svd(left.T @ matrix, full_matrices=False)
    return Spectrum(values[:rank], left @ u[:, :rank], vh[:rank].T.contiguous(), exact=False)


def base_of(weight: Tensor, options: Options) -> Base:
    """`weight` is the finite matrix before training."""
    found = spectrum(weight, options)
    right = found.right.float()
    truncated = (weight.float() @ right) @ right.T
    principal = largest_mask(truncated.abs_(), count_of(weight, options.share))
    return Base(found, principal, low_magnitude_mask(weight, options.share))


def overlaps(base: Base, changed: Tensor) -> tuple[float, float]:
    """Shares of the changed entries in the principal mask and in that of small ones; NaN: nothing changed."""
    return overlap(changed, base.principal), overlap(changed, base.low)


def directions(base: Base, weight: Tensor, changed: Tensor, options: Options) -> Directions:
    """`weight` is the finite matrix after training, `changed` its mask of changed entries."""
    after = spectrum(weight, options)
    left = angles(base.spectrum.left, after.left)
    right = angles(base.spectrum.right, after.right)
    principal, low = overlaps(base, changed)
    return Directions(
        drift=drift(base.spectrum.values.double(), after.values.double()),
        left_max=float(left.max()),
        left_mean=float(left.mean()),
        right_max=float(right.max()),
        right_mean=float(right.mean()),
        principal=principal,
        low=low,
        principal_not_low=overlap(changed, base.principal & ~base.low),
        top=after.values[: options.rank].tolist(),
        exact=after.exact,
    )
