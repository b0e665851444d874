"""Weights of experts that somebody else has chosen: a router's mathematics after its choice.

The choice is constant, the weights are not: they are made of the live logits, so that a router goes on
learning (R3, 2510.11370). What routers add to scores for the choice alone (a bias that balances experts)
has no part in it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rlvr_cli.core.routers import Scores


def replay_gate(
    logits_TE: Tensor,
    choice_Tk: Tensor,
    scores: Scores,
    *,
    normed: bool,
    epsilon: float = 0.0,
    scale: float = 1.0,
    wide: bool = True,
) -> Tensor:
    """Weights [T, k] of the chosen experts, in the order of operations of transformers' routers.

    `choice_Tk`: int64 numbers of experts from 0 on. In fp32 where `wide`, or as the logits are: float64
    stays. Of `softmax_of_chosen` the gradient at the logits of all other experts is exactly 0; of a normed
    `softmax` it is 0 but for rounding.
    """
    if wide and logits_TE.dtype is not torch.float64:
        logits_TE = logits_TE.float()
    if scores is Scores.softmax_of_chosen:
        return logits_TE.gather(-1, choice_Tk).softmax(-1) * scale
    if scores is Scores.softmax:
        weights_Tk = logits_TE.softmax(-1).gather(-1, choice_Tk)
    else:
        weights_Tk = logits_TE.sigmoid().gather(-1, choice_Tk)
    if normed:
        total_T1 = weights_Tk.sum(-1, keepdim=True)
        weights_Tk = weights_Tk / (total_T1 + epsilon if epsilon else total_T1)
    return weights_Tk * scale


def same_experts(a_Tk: Tensor, b_Tk: Tensor) -> Tensor:
    """bool [T]: which rows name the same experts, in any order."""
    return (a_Tk.sort(-1).values == b_Tk.sort(-1).values).all(-1)
