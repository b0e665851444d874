"""Divergences of two next-token distributions, the student's s and the teacher's t, position by position.

    forward   KL(t, s) = sum_v t (log t - log s)        covers what the teacher may say
    reverse   KL(s, t) = sum_v s (log s - log t)        keeps to what the teacher would say
    jensen_shannon      beta KL(t, M) + (1 - beta) KL(s, M),  M = (1 - beta) s + beta t

The last tends to 0 for beta -> 0 and 1; divided by beta it tends to the forward KL at 0, by 1 - beta to the
reverse one at 1 (GKD, 2306.13649). By convention, TRL's and this code's, 0 and 1 *are* those two, so
that beta = 0.1 is a loss about ten times weaker than beta = 0.

Over k tokens only (`buckets`) all other tokens are one more outcome with the probability that is left: by
the data processing inequality a lower bound that grows with k and ends at the whole divergence. Without that
outcome the sum over k tokens may be negative, and drives the others down whatever the teacher thinks of
them; renormalised to the k it never learns how much probability belongs to them (verl, NeMo-RL and SDPO
differ in this).

The student's tensors carry the gradient, the teacher's none. Everything is in the dtype of the input,
float32 at least where the engine calls it.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

FLOOR = -100.0
"""Log-probabilities count as at least this: an outcome that one of the two excludes costs 100 nats, not
inf."""


class Kind(Enum):
    forward = "forward"
    reverse = "reverse"
    jensen_shannon = "jensen_shannon"


class Support(Enum):
    auto = "auto"
    teacher = "teacher"
    student = "student"


def divergence(student_nV: Tensor, teacher_nV: Tensor, kind: Kind, beta: float = 0.5) -> Tensor:
    """The divergence of each row, from log-probabilities that add up to one: _n, nats."""
    s_nV, t_nV = student_nV.clamp(min=FLOOR), teacher_nV.detach().clamp(min=FLOOR)
    if kind is Kind.forward or (kind is Kind.jensen_shannon and beta == 0):
        return (t_nV.exp() * (t_nV - s_nV)).sum(-1)
    if kind is Kind.reverse or beta == 1:
        return (s_nV.exp() * (s_nV - t_nV)).sum(-1)
    m_nV = (s_nV + math.log1p(-beta)).logaddexp(t_nV + math.log(beta))
    from_t_n = (t_nV.exp() * (t_nV - m_nV)).sum(-1)
    from_s_n = (s_nV.exp() * (s_nV - m_nV)).sum(-1)
    return beta * from_t_n + (1 - beta) * from_s_n


def buckets(logprobs_nV: Tensor, ids_nk: Tensor) -> Tensor:
    """Log-probabilities of k tokens of each row and of all others together: _n(k+1).

    What is left is summed itself: 1 minus the sum of the k is rounding where the k are nearly all.
    """
    rest_n = logprobs_nV.scatter(-1, ids_nk, -math.inf).logsumexp(-1, keepdim=True)
    return with_rest(logprobs_nV.gather(-1, ids_nk), rest_n)


def with_rest(chosen_nk: Tensor, rest_n1: Tensor) -> Tensor:
    """_nk and _n1 side by side; -inf becomes FLOOR, whose gradient is none."""
    both = chosen_nk.new_empty(len(chosen_nk), chosen_nk.shape[-1] + 1)
    both[:, :-1], both[:, -1:] = chosen_nk, rest_n1.clamp(min=FLOOR)
    return both


def rest_of(logprobs_nk: Tensor) -> Tensor:
    """log(1 - sum of the k probabilities), where only these are known: _n1."""
    left_n1 = 1 - logprobs_nk.double().exp().sum(-1, keepdim=True)
    return left_n1.clamp(min=math.exp(FLOOR)).log().to(logprobs_nk.dtype)


def mass(buckets_nk: Tensor) -> Tensor:
    """Probability of all outcomes but the last: _n."""
    return buckets_nk[..., :-1].detach().exp().sum(-1)
