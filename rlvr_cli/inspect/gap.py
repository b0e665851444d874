"""How far two sets of logprobs of the same tokens are apart: estimators of KL, ratios, perplexities.

d = trainer - engine at each token, r = exp(d): what `mismatch/*` of a run has, and the rest of what verl and
MiniMax-M1 look at. k1 and k3 after Schulman ("Approximating KL divergence").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

CLAMP = 20.0
"""Nats beyond which a ratio says no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    tokens: int
    mean_abs: float
    """Nats, and so is the maximum."""
    max: float
    k1: float
    """mean(-d)"""
    k3: float
    """mean(r - 1 - d)"""
    ratio_mean: float
    ratio_min: float
    ratio_max: float
    ess: float
    """1 / mean((r / mean r)^2): share of the tokens that weighted ones are worth."""
    chi2_token: float
    """mean(r^2) - 1; may be below 0 on a sample."""
    chi2_sequence: float
    """The same of whole sequences: r = exp(sum d)."""
    trainer_ppl: float
    """exp(-mean logprob of a sequence), mean over the sequences."""
    engine_ppl: float
    probability: float
    """Largest difference of a token's probabilities."""
    pearson: float | None
    """Of the two probabilities over the tokens (MiniMax-M1 asks for 0.99); None where one never differs."""

    def as_dict(self) -> dict[str, float | None]:
        return asdict(self)


def gap(trainer: Sequence[np.ndarray], engine: Sequence[np.ndarray]) -> Gap:
    """Of sequences of logprobs [T], float, each with a token or more. ValueError where lengths differ."""
    pairs = [
        (np.asarray(a, float), np.asarray(b, float)) for a, b in zip(trainer, engine, strict=True) if len(a)
    ]
    if any(len(a) != len(b) for a, b in pairs):
        raise ValueError("the two have different numbers of tokens")
    ours, theirs = (np.concatenate(side) for side in zip(*pairs, strict=True))
    off = np.clip(ours - theirs, -CLAMP, CLAMP)
    ratio = np.exp(off)
    sums = np.array([np.clip((a - b).sum(), -CLAMP, CLAMP) for a, b in pairs])
    p, q = np.exp(ours), np.exp(theirs)
    varies = len(p) > 1 and p.std() > 0 and q.std() > 0
    return Gap(
        tokens=len(off),
        mean_abs=float(np.abs(off).mean()),
        max=float(np.abs(off).max()),
        k1=float(-off.mean()),
        k3=float((np.expm1(off) - off).mean()),
        ratio_mean=float(ratio.mean()),
        ratio_min=float(ratio.min()),
        ratio_max=float(ratio.max()),
        ess=float(ratio.mean() ** 2 / (ratio**2).mean()),
        chi2_token=float((ratio**2).mean() - 1),
        chi2_sequence=float(np.exp(2 * sums).mean() - 1),
        trainer_ppl=float(np.mean([np.exp(-a.mean()) for a, _ in pairs])),
        engine_ppl=float(np.mean([np.exp(-b.mean()) for _, b in pairs])),
        probability=float(np.abs(p - q).max()),
        pearson=float(np.corrcoef(p, q)[0, 1]) if varies else None,
    )
