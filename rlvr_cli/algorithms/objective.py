"""The whole objective: what the trainer differentiates for one micro-batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rlvr_cli.algorithms.advantage_tokens import value_loss
from rlvr_cli.algorithms.distillation import METRICS
from rlvr_cli.algorithms.entropy import by_tenth
from rlvr_cli.algorithms.kl import Estimator, kl_estimate
from rlvr_cli.algorithms.mismatch_metrics import correction_metrics, mismatch_metrics
from rlvr_cli.algorithms.proximal import corrected

if TYPE_CHECKING:
    from torch import Tensor

    from rlvr_cli.algorithms import Algorithm

MEASURED_KL = 10.0
"""A token counts at most this much in `ref_kl`, in nats."""


def policy_loss(
    algorithm: Algorithm,
    *,
    new_N: Tensor,
    entropy_N: Tensor | None,
    old_N: Tensor | None,
    rollout_N: Tensor,
    ref_N: Tensor | None,
    advantages_N: Tensor,
    weights_N: Tensor,
    lengths_B: Tensor,
    ages_N: Tensor | None = None,
    scale_N: Tensor | None = None,
    chosen_N: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """sum_N((mismatch * policy loss + KL penalty - entropy bonus) * weights), a scalar, and metrics _N.

    Summing the results of all micro-batches gives the loss of the update, as weights_N already holds
    the normaliser; sequences must stay whole. old_N None: this update is on-policy, old = new.detach().
    ages_N: steps since the weights that sampled each token; None: 0. scale_N: a factor on the mismatch's
    weights that only the whole update knows. chosen_N: the tokens the loss treats apart. ref_N, entropy_N and
    chosen_N may be None where the algorithm does not need them. Metrics are per token, those of perplexities
    and whole sequences per sequence: the trainer averages them over the update, what the clips do over its
    kept tokens (weights_N > 0) only.
    """
    prox_N, weight_N = corrected(
        algorithm, new_N=new_N, old_N=old_N, rollout_N=rollout_N, ages_N=ages_N, lengths_B=lengths_B
    )
    told: dict[str, Tensor | None] = {}
    if getattr(algorithm.loss, "needs_rollout", False):
        told["rollout_N"] = rollout_N
    if hasattr(algorithm.loss, "choose"):
        told["chosen_N"] = chosen_N
    loss_N, metrics = algorithm.loss(new_N, prox_N, advantages_N, lengths_B, **told)
    mismatch_N = weight_N if scale_N is None else weight_N * scale_N
    if algorithm.mismatch.name != "none":
        metrics |= correction_metrics(algorithm.mismatch, weight_N, advantages_N, weights_N != 0)
        metrics["mismatch_square"] = mismatch_N.square()
    loss_N = loss_N * mismatch_N
    metrics |= mismatch_metrics(new_N.detach() if old_N is None else old_N, rollout_N, mismatch_N, lengths_B)
    if ref_N is not None:
        # Clamped, as in verl: unbounded, one token in 100,000 that the policy has given up makes the mean.
        metrics["ref_kl"] = kl_estimate(new_N.detach(), ref_N, Estimator.k3).clamp(max=MEASURED_KL)
    if algorithm.kl.in_loss and algorithm.kl.needs_reference:
        if ref_N is None:
            raise ValueError("algorithm.kl needs ref_N, the reference's log-probabilities")
        loss_N = loss_N + algorithm.kl(new_N, ref_N)
    if entropy_N is not None:
        metrics["entropy"] = entropy_N.detach()
        metrics |= {f"entropy/{part}": x_N for part, x_N in by_tenth(entropy_N.detach(), lengths_B).items()}
    if algorithm.entropy.needs_entropy:
        if entropy_N is None:
            raise ValueError("algorithm.entropy needs entropy_N")
        loss_N = loss_N + algorithm.entropy(entropy_N)
    return (loss_N * weights_N).sum(), metrics


def teacher_loss(
    algorithm: Algorithm,
    compared: Sequence[Tensor],
    *,
    new_N: Tensor,
    old_N: Tensor | None,
    rollout_N: Tensor | None,
    teacher_N: Tensor | None,
    weights_N: Tensor,
    lengths_B: Tensor,
    ages_N: Tensor | None = None,
    scale_N: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """sum_N(mismatch * loss of the divergence * weights), to be added to the policy's, and metrics _N.

    `compared`: what `DistillationLoss.compare` has found, or nothing; teacher_N: the teacher's logprobs
    where these are in the advantages already. weights_N are the teacher's own, 0 where there is none:
    metrics are NaN there. rollout_N None: the tokens are data, not samples.
    """
    option, seen_N, loss = algorithm.distillation, weights_N != 0, new_N.new_zeros(())
    if teacher_N is not None:
        metrics = {"distillation_kl": new_N.detach() - teacher_N, "teacher_logprob": teacher_N}
    elif compared:
        metrics = dict(zip(METRICS[: 2 if option.top_k is None else None], compared, strict=False))
        loss_N = option(compared[0], new_N, old_N)
        if rollout_N is not None:
            _, mismatch_N = corrected(
                algorithm, new_N=new_N, old_N=old_N, rollout_N=rollout_N, ages_N=ages_N, lengths_B=lengths_B
            )
            loss_N = loss_N * (mismatch_N if scale_N is None else mismatch_N * scale_N)
        loss = (loss_N * weights_N).sum()
    else:
        metrics = {}
    return loss, {name: x_N.detach().masked_fill(~seen_N, math.nan) for name, x_N in metrics.items()}


def critic_loss(
    clip: float | None, *, values_N: Tensor, old_values_N: Tensor, returns_N: Tensor, weights_N: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """sum_N(value loss * weights), a scalar, and which tokens the clip holds back, _N."""
    loss_N = value_loss(values_N, old_values_N, returns_N, clip)
    # Both: rounding alone can make the clipped loss of a value within the range the larger one.
    far_N = (values_N.detach() - old_values_N).abs() > (math.inf if clip is None else clip)
    held_N = far_N & (loss_N.detach() > (values_N.detach() - returns_N).square() / 2)
    return (loss_N * weights_N).sum(), {"clip_fraction": held_N.to(loss_N.dtype)}
