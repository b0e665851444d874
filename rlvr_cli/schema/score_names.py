"""What the scores of a bench are called, before there are any."""

from __future__ import annotations

TAUS = (0.25, 0.5, 0.75, 1.0)
"""Shares of k samples that must be right for G-Pass@k: those of its authors' code (2412.13147)."""

SMALLEST_STEADY = 4
"""Samples of a problem from which tables show G-Pass@k and mG-Pass@k: below, their thresholds are one."""


def powers(k: int) -> list[int]:
    """1, 2, 4, ... and k itself."""
    return sorted({2**i for i in range(k.bit_length()) if 2**i <= k} | {k})


def score_names(k: int, pass_at: list[int], majority: bool) -> list[str]:
    """The scores of `evaluation.scores.summarise`, all of them better the higher."""
    found = [f"avg@{k}", *(f"pass@{j}" for j in pass_at or powers(k))]
    if majority and k > 1:
        found += [f"maj@{j}" for j in powers(k)[1:]]
    if k > 1:
        found += [f"gpass@{k}_{tau}" for tau in TAUS] + [f"mgpass@{j}" for j in powers(k)[1:]]
    return found
