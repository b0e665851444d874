"""Scores of tokens from their logits, with as few tensors of the logits' size as can be."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def chunk_scores(
    logits_nV: Tensor, targets_n: Tensor, temperature: float, entropy_gradient: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Logprobs, entropies and hits of one chunk, in fp32; `entropy_gradient`: entropies are no constants."""
    logits_nV = logits_nV.float()
    if temperature != 1.0:
        logits_nV = logits_nV / temperature
    if entropy_gradient and torch.is_grad_enabled():
        lse_n = logits_nV.logsumexp(-1)
        logprobs_n = logits_nV.gather(-1, targets_n[:, None])[:, 0] - lse_n
        entropies_n = lse_n - ((logits_nV - lse_n[:, None]).exp() * logits_nV).sum(-1)
    else:
        logprobs_n, entropies_n = Chosen.apply(logits_nV, targets_n)
    with torch.no_grad():
        hits_n = (logits_nV.argmax(-1) == targets_n).float()
    return logprobs_n, entropies_n, hits_n


class Chosen(torch.autograd.Function):
    """Logprobs of the targets, and entropies as constants.

    To the bit what autograd makes of `logsumexp`, `gather` and the entropy's sum (finite logits), with one
    tensor of the logits' size in either direction, where it makes four in one and five in the other.
    """

    @staticmethod
    def forward(ctx: Any, logits_nV: Tensor, targets_n: Tensor) -> tuple[Tensor, Tensor]:
        most_n1 = logits_nV.amax(-1, keepdim=True)
        buffer_nV = (logits_nV - most_n1).exp_()
        lse_n1 = buffer_nV.sum(-1, keepdim=True).log_().add_(most_n1)
        ctx.save_for_backward(logits_nV, targets_n, lse_n1)
        torch.sub(logits_nV, lse_n1, out=buffer_nV)
        entropies_n = lse_n1[:, 0] - buffer_nV.exp_().mul_(logits_nV).sum(-1)
        ctx.mark_non_differentiable(entropies_n)
        return logits_nV.gather(-1, targets_n[:, None])[:, 0] - lse_n1[:, 0], entropies_n

    @staticmethod
    def backward(ctx: Any, grad_n: Tensor, _: Tensor) -> tuple[Tensor, None]:
        logits_nV, targets_n, lse_n1 = ctx.saved_tensors
        grad_nV = (logits_nV - lse_n1).exp_().mul_(-grad_n[:, None])
        return grad_nV.scatter_add_(-1, targets_n[:, None], grad_n[:, None]), None
