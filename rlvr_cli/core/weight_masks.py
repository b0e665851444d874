"""Which entries of a weight are principal, which are small: masks made of the start weights.

Zhu et al. 2025 (arXiv 2511.08567): what reinforcement learning changes lies beside the principal entries.
"""

from __future__ import annotations

import torch
from torch import Tensor


def count_of(w0: Tensor, alpha: float) -> int:
    """How many entries a share is, rounded to the nearest (halves to even)."""
    return round(alpha * w0.numel())


def largest_mask(size: Tensor, count: int) -> Tensor:
    """The `count` largest entries of `size`, boolean of its shape.

    Of equal entries, of which bf16 has many, the first are taken: the count is exact and the same
    everywhere.
    """
    return smallest_mask(-size, count)


def smallest_mask(size: Tensor, count: int) -> Tensor:
    """The `count` smallest entries of `size`, of equal ones the first; boolean of its shape."""
    flat = size.flatten()
    if count <= 0:
        return torch.zeros_like(size, dtype=torch.bool)
    limit = _smallest(flat, count)
    mask = flat < limit
    left = count - int(torch.count_nonzero(mask))
    mask[(flat == limit).nonzero().flatten()[:left]] = True
    return mask.view(size.shape)


def _smallest(flat: Tensor, count: int) -> Tensor:
    """The `count`-th smallest entry. Of many, only those near it are sorted: a sample says where it is."""
    every = flat.numel() // 2**14
    if every < 64:
        return flat.kthvalue(count).values
    sample = flat[::every].sort().values
    at, margin = count * len(sample) // flat.numel(), len(sample) // 50  # five standard errors
    low, high = sample[max(0, at - margin)], sample[min(len(sample) - 1, at + margin)]
    near = flat[(flat >= low) & (flat <= high)]
    rank = count - int(torch.count_nonzero(flat < low))
    if not 1 <= rank <= len(near):  # the sample was of another kind than the rest
        return flat.kthvalue(count).values
    return near.kthvalue(rank).values


def leading(weight: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """The k largest singular values of a matrix [rows, columns], with vectors: [rows, k], [k], [k, columns].

    In fp64, from the eigenvectors of the smaller of the two products of the matrix with itself: what is lost
    by squaring lies far below fp32. Where a singular value is 0 its right vector (of a tall matrix its left
    one) is 0 too.
    """
    exact = weight.detach().double()
    if exact.shape[0] > exact.shape[1]:
        u, s, vh = leading(exact.T, k)
        return vh.T, s, u.T
    u = torch.linalg.eigh(exact @ exact.T).eigenvectors[:, -k:].flip(1)
    scaled = u.T @ exact
    s = torch.linalg.vector_norm(scaled, dim=1)
    return u, s, scaled / s.clamp_min(torch.finfo(torch.float64).tiny)[:, None]


def principal_mask(w0: Tensor, k: int, alpha: float) -> Tensor:
    """The share alpha of entries that are largest in the rank-k truncation of a matrix [rows, columns].

    Boolean of its shape.
    """
    u, s, vh = leading(w0, k)
    return largest_mask(((u * s) @ vh).abs(), count_of(w0, alpha))


def low_magnitude_mask(w0: Tensor, alpha: float) -> Tensor:
    """The share alpha of entries that are smallest. Boolean of the weight's shape."""
    return smallest_mask(w0.abs(), count_of(w0, alpha))


def off_principal_mask(w0: Tensor, k: int, alpha: float) -> Tensor:
    """Small entries, and those that are not principal: M_low with the complement of M_princ."""
    return low_magnitude_mask(w0, alpha) | ~principal_mask(w0, k, alpha)


def random_mask(w0: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` entries drawn without replacement. Boolean of the weight's shape, on the generator's device."""
    drawn = torch.rand(w0.numel(), generator=generator, device=generator.device, dtype=torch.float64)
    return smallest_mask(drawn, count).view(w0.shape)


def overlap(changed: Tensor, mask: Tensor) -> float:
    """|changed and mask| / |changed|: what share of the changed entries lies in the mask; NaN where none did.

    The share of the mask is what a change at random entries would have.
    """
    return float(torch.count_nonzero(changed & mask) / torch.count_nonzero(changed))
