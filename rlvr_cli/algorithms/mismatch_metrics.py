"""How far apart the trainer and the policy that sampled are, and what a correction makes of it: metrics.

By token, and by sequence where the name says so; what is no mean of anything is found in the end, from the
means of moments (`derived`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rlvr_cli.algorithms.proximal import Correction
from rlvr_cli.algorithms.ratio import BOUND, finite
from rlvr_cli.algorithms.segments import segment_mean, segment_sum

if TYPE_CHECKING:
    from torch import Tensor

EXTREME = math.log(2.0)
"""|log ratio| from which a token counts as extreme."""
FLAT = 1e-12
"""Variance of a probability below which there is no correlation to tell: rounding."""


def mismatch_metrics(
    old_N: Tensor, rollout_N: Tensor, weight_N: Tensor, lengths_B: Tensor
) -> dict[str, Tensor]:
    """Of d = old - rollout: k1 = -d and k3 = exp(d) - 1 - d, whose means estimate KL(rollout, trainer), and
    rho = exp(d). Extreme is a token whose two probabilities differ by more than a factor of 2 (R3,
    2510.11370). Probabilities and their products, for Pearson's correlation, in float64."""
    d_N = (finite(old_N) - finite(rollout_N)).detach()
    bounded_N = d_N.clamp(-BOUND, BOUND)
    p_N, q_N = old_N.detach().double().exp(), rollout_N.double().exp()
    return {
        "mismatch_k1": -d_N,
        "mismatch_k3": bounded_N.expm1() - bounded_N,
        "mismatch_abs": d_N.abs(),
        "mismatch_extreme": (d_N.abs() > EXTREME).to(d_N.dtype),
        "mismatch_rho": bounded_N.exp(),
        "mismatch_rho_square": (2 * bounded_N.double()).exp(),
        "mismatch_weight": weight_N,
        "mismatch_probability": (p_N - q_N).abs(),
        "mismatch_probability_square": (p_N - q_N).square(),
        "mismatch_p": p_N,
        "mismatch_q": q_N,
        "mismatch_pp": p_N.square(),
        "mismatch_qq": q_N.square(),
        "mismatch_pq": p_N * q_N,
    } | sequence_metrics(finite(old_N).detach(), finite(rollout_N), lengths_B)


def sequence_metrics(old_N: Tensor, rollout_N: Tensor, lengths_B: Tensor) -> dict[str, Tensor]:
    """By sequence with tokens: perplexities exp(-mean logprob) of both, the mean logprob's difference and its
    exponential (the ratio of the perplexities), and the square of the whole sequence's rho."""
    some_B = lengths_B > 0
    each_B = [segment_mean(x_N.double(), lengths_B)[some_B] for x_N in (old_N, rollout_N)]
    apart_B = each_B[1] - each_B[0]
    whole_B = segment_sum((old_N - rollout_N).double(), lengths_B)[some_B]
    return {
        "mismatch_trainer_ppl": (-each_B[0]).exp(),
        "mismatch_rollout_ppl": (-each_B[1]).exp(),
        "mismatch_ppl_ratio": apart_B.clamp(-BOUND, BOUND).exp(),
        "mismatch_log_ppl": apart_B,
        "mismatch_log_ppl_abs": apart_B.abs(),
        "mismatch_sequence_square": (2 * whole_B.clamp(-BOUND, BOUND)).exp(),
    }


def correction_metrics(
    correction: Correction, weight_N: Tensor, advantages_N: Tensor, trained_N: Tensor
) -> dict[str, Tensor]:
    """What a correction keeps, by the sign of A besides (NaN where A is not of it), and what it caps.

    A rejection can drop exactly what was rewarded: of all tokens as many may be kept as ever.
    """
    kept_N = (weight_N != 0).to(weight_N.dtype)
    found = {"mismatch_kept": kept_N}
    for name, sign_N in (("positive", advantages_N > 0), ("negative", advantages_N < 0)):
        found[f"mismatch_kept_{name}"] = kept_N.masked_fill(~(sign_N & trained_N), float("nan"))
    cap, floor = getattr(correction, "cap", None), getattr(correction, "floor", 0.0)
    if cap is not None:
        found["mismatch_capped"] = ((weight_N >= cap) | ((weight_N <= floor) & (floor > 0))).to(
            weight_N.dtype
        )
    return found


def derived(update: Mapping[str, float]) -> dict[str, float]:
    """The metrics of an update, with what follows from its moments in their place.

    chi2 of rho over tokens and over sequences: mean(rho^2) - 1, below 0 on a sample whose mean rho is below
    1. Effective sample sizes mean(x)^2 / mean(x^2) of rho and of the correction's weights. Pearson's
    correlation of the two probabilities of a token; absent where one of them is the same everywhere.
    """
    found = dict(update)
    if square := found.pop("mismatch_square", 0.0):
        found["mismatch_ess"] = found["mismatch_weight"] ** 2 / square
    if square := found.pop("mismatch_rho_square", 0.0):
        found["mismatch_chi2"] = square - 1
        found["mismatch_rho_ess"] = found["mismatch_rho"] ** 2 / square
    if square := found.pop("mismatch_sequence_square", 0.0):
        found["mismatch_sequence_chi2"] = square - 1
    if "mismatch_p" in found:
        square = found.pop("mismatch_probability_square")
        found["mismatch_probability_std"] = math.sqrt(max(square - found["mismatch_probability"] ** 2, 0.0))
        p, q, pp, qq, pq = (found.pop(f"mismatch_{name}") for name in ("p", "q", "pp", "qq", "pq"))
        spreads = pp - p * p, qq - q * q
        if min(spreads) > FLAT:
            found["mismatch_pearson"] = (pq - p * q) / math.sqrt(math.prod(spreads))
    return found
