"""The loss of a whole update of preferences, and what it comes to at each token.

Any function of the tokens' log-probabilities has the gradient sum_N dL/dnew_n grad(new_n). So an update
differentiates L once by these alone, which takes a forward pass without a graph, and then makes one ordinary
pass with the linear loss sum_N(dL/dnew_n * new_n). That is exact for one update a step. No pair has to lie in
one micro-batch, and what is shared by the update (KTO's z, the divisors) is the same on any split.

Pairs lie as rows 2j (chosen) and 2j + 1 (rejected) of _B.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rlvr_cli.algorithms.preference import Referenced
from rlvr_cli.algorithms.segments import head_sum, segment_sum

if TYPE_CHECKING:
    from torch import Tensor

Objective = Callable[["Tensor"], "tuple[Tensor, dict[str, float]]"]
"""(log-probabilities, with a graph) -> (loss, metrics)"""


def paired(
    option: Any,
    new_N: Tensor,
    ref_N: Tensor,
    lengths_B: Tensor,
    weights_P: Tensor,
    sft_coef: float = 0.0,
    margins_P: Tensor | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """Mean of the pairs' losses by weight, plus sft_coef times the NLL of a chosen token of the update."""
    sums_B, ref_B = segment_sum(new_N, lengths_B), segment_sum(ref_N, lengths_B)
    pi_w, pi_l = sums_B[::2], sums_B[1::2]
    if isinstance(option, Referenced) and option.weighs_tails:
        shorter_B = lengths_B.view(-1, 2).min(1).values.repeat_interleave(2)
        sums_B = option.with_light_tails(sums_B, head_sum(new_N, lengths_B, shorter_B))
        ref_B = option.with_light_tails(ref_B, head_sum(ref_N, lengths_B, shorter_B))
    n_w, n_l = lengths_B[::2].double(), lengths_B[1::2].double()
    loss_P, told = option(sums_B[::2], sums_B[1::2], ref_B[::2], ref_B[1::2], n_w, n_l, margins=margins_P)
    loss = (loss_P * weights_P).sum() / weights_P.sum()
    metrics = {name: float(x_P.mean()) for name, x_P in told.items()}
    metrics |= _compared(told["rewards/chosen"], told["rewards/rejected"])
    metrics |= {"logps/chosen": float(pi_w.detach().mean()), "logps/rejected": float(pi_l.detach().mean())}
    return _with_sft(loss, pi_w, n_w, sft_coef, metrics)


def single(
    option: Any,
    new_N: Tensor,
    ref_N: Tensor,
    lengths_B: Tensor,
    wanted_B: Tensor,
    weights_B: Tensor,
    z: float,
    sft_coef: float = 0.0,
) -> tuple[Tensor, dict[str, float]]:
    """Mean of the answers' losses by weight, plus sft_coef times the NLL of a token of the wanted ones."""
    sums_B, ref_B = segment_sum(new_N, lengths_B), segment_sum(ref_N, lengths_B)
    loss_B, told = option(sums_B, ref_B, wanted_B, z)
    loss = (loss_B * weights_B).sum() / weights_B.sum()
    metrics = {"preference/kl": z}
    for side, at_B in (("chosen", wanted_B), ("rejected", ~wanted_B)):
        if at_B.any():
            metrics[f"rewards/{side}"] = float(told["rewards"][at_B].mean())
            metrics[f"logps/{side}"] = float(sums_B.detach()[at_B].mean())
    if "rewards/chosen" in metrics and "rewards/rejected" in metrics:
        metrics["rewards/margins"] = metrics["rewards/chosen"] - metrics["rewards/rejected"]
    return _with_sft(loss, sums_B[wanted_B], lengths_B[wanted_B].double(), sft_coef, metrics)


def slopes(objective: Objective, values: Tensor) -> tuple[Tensor, Tensor, dict[str, float]]:
    """(L, dL/dv of each value, metrics), float64. Of tokens' log-probabilities these are the weights of the
    linear loss that has L's gradient."""
    values = values.detach().double().requires_grad_()
    loss, metrics = objective(values)
    loss.backward()
    assert values.grad is not None
    return loss.detach(), values.grad, metrics


def mean_nll(pi: Tensor, n: Tensor, weights: Tensor | None = None) -> Tensor:
    """Negative log-likelihood of a token of these answers, over all of them: no split can change its
    divisor."""
    if weights is None:
        return -pi.sum() / n.sum()
    return -(weights * pi).sum() / (weights * n).sum()


def _with_sft(
    loss: Tensor, pi_w: Tensor, n_w: Tensor, coef: float, metrics: dict[str, float]
) -> tuple[Tensor, dict[str, float]]:
    if coef and len(pi_w):
        nll = mean_nll(pi_w, n_w)
        loss = loss + coef * nll
        metrics["preference/sft_loss"] = float(nll.detach())
    return loss, metrics


def _compared(chosen_P: Tensor, rejected_P: Tensor) -> dict[str, float]:
    """Accuracy is strict: a policy that is its reference has 0."""
    return {
        "rewards/accuracies": float((chosen_P > rejected_P).double().mean()),
        "rewards/margins": float((chosen_P - rejected_P).mean()),
    }
