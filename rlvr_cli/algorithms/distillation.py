"""A teacher beside the verifier: its opinion of the policy's own tokens as advantage, or as a loss.

With d = log pi - log teacher at a sampled token, what is differentiated decides what is learned (expectation
over the policy's token, for the policy and teacher of `tests/algorithms/test_distillation.py`):

| form | expected gradient |
|---|---|
| -sg(-d) grad log pi (`reward`) | that of the reverse KL(pi, teacher) |
| grad d (k1) | 0: teaches nothing |
| grad d^2 / 2 (k2) | that of the reverse KL |
| grad k3 | that of the forward KL(teacher, pi) |

`loss` compares whole distributions at each sampled position instead, without that variance, and needs the
teacher's logits. How the states are reached, the policy's sampling, is differentiated by neither unless
`discount` is above 0: the gradient of the sequence's reverse KL has a term for it, which is usually small.

Options have `needs_teacher`, `in_reward` and `in_loss`; `task_coef` is the factor on the verifier's
advantages, and on data (`training/kd.py`) on the cross-entropy of the right tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rlvr_cli.algorithms import option
from rlvr_cli.algorithms.check import require
from rlvr_cli.algorithms.divergence import Kind, Support, buckets, divergence, mass, rest_of, with_rest
from rlvr_cli.algorithms.ratio import BOUND, log_ratio
from rlvr_cli.algorithms.segments import segment_sum, spread, suffix_sum

if TYPE_CHECKING:
    from torch import Tensor

METRICS = ("distillation_kl", "teacher_logprob", "student_mass", "teacher_mass")
"""Of tokens that the teacher has seen, in the order of what `DistillationLoss.compare` returns."""


@option("distillation")
class NoDistillation:
    """No teacher."""

    name: str = "none"
    needs_teacher: ClassVar[bool] = False
    in_reward: ClassVar[bool] = False
    in_loss: ClassVar[bool] = False
    task_coef: ClassVar[float] = 1.0

    def __call__(self, advantages_N: Tensor) -> Tensor:
        return advantages_N


def check_common(coef: float, task_coef: float) -> None:
    require(
        coef > 0, "distillation.coef", coef, "above 0; without a teacher choose algorithm/distillation=none"
    )
    require(task_coef >= 0, "distillation.task_coef", task_coef, "at least 0")


@option("distillation")
class DistillationReward:
    """On-policy distillation: per-token reverse KL as advantage (Thinking Machines' post; tinker-cookbook),

        A_t = task_coef * A_t(verifier) + coef * sum_{u >= t} discount^(u - t) * (teacher_u - old_u)

    at the sampled tokens. No group statistics: one sample a prompt is enough. The student's term is the
    policy's at the start of the step (tinker: as recorded at sampling; prime-rl: the present one, detached).
    slime adds it with a coefficient as here; AReaL's KDRL differentiates the difference itself, which in
    expectation is no signal, beside the RL loss; verl takes it as a loss of kind k1 with policy gradient.
    With `iw` above 0 early tokens count more (IW-OPD, 2606.22600): times 1 + iw (1 - prefix / total) of |a|.
    """

    name: str = "reward"
    coef: float = 1.0
    """Factor on the teacher's part."""
    task_coef: float = 1.0
    """Factor on the verifier's advantages; 0: the teacher alone."""
    discount: float = 0.0
    """0: each token answers for itself; 1: for all that follow, too."""
    iw: float = 0.0
    """How much more the first token counts than the last; 0: all the same (IW-OPD: 0.5)."""
    clamp_log_ratio: float | None = BOUND
    """The difference of a token is held within +- this; null: no bound."""
    needs_teacher: ClassVar[bool] = True
    in_reward: ClassVar[bool] = True
    in_loss: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_common(self.coef, self.task_coef)
        require(0 <= self.discount <= 1, "distillation.discount", self.discount, "in [0, 1]")
        require(self.iw >= 0, "distillation.iw", self.iw, "at least 0")
        bound = self.clamp_log_ratio
        require(bound is None or bound > 0, "distillation.clamp_log_ratio", bound, "positive or null")

    def __call__(self, old_N: Tensor, teacher_N: Tensor, lengths_B: Tensor) -> Tensor:
        """The teacher's part of the advantages, float64: _N."""
        bound = float("inf") if self.clamp_log_ratio is None else self.clamp_log_ratio
        reward_N = log_ratio(teacher_N, old_N, bound).detach().double()
        weight_N = importance(reward_N, lengths_B, self.iw)
        return self.coef * weight_N * discounted(reward_N, lengths_B, self.discount)


def discounted(x_N: Tensor, lengths_B: Tensor, discount: float) -> Tensor:
    """x_t + discount x_{t+1} + discount^2 x_{t+2} + ... within each sequence, float64: _N."""
    if discount == 0:
        return x_N.double()
    if discount == 1:
        return suffix_sum(x_N, lengths_B)
    out_N, after = x_N.double().clone(), 0.0
    ends = set((lengths_B.cumsum(0) - 1).tolist())
    values = out_N.tolist()
    for t in reversed(range(len(values))):
        after = values[t] + (0.0 if t in ends else discount * after)
        values[t] = after
    return out_N.new_tensor(values)


def importance(reward_N: Tensor, lengths_B: Tensor, strength: float) -> Tensor:
    """1 + strength (1 - share of |a| that lies before the token), detached: _N."""
    if strength == 0:
        return reward_N.new_ones(len(reward_N))
    size_N = reward_N.abs()
    total_N = spread(segment_sum(size_N, lengths_B), lengths_B)
    before_N = total_N - suffix_sum(size_N, lengths_B)
    share_N = (before_N / total_N.clamp(min=1e-12)).clamp(0, 1)
    return 1 + strength * (1 - share_N)


@option("distillation")
class DistillationLoss:
    """GKD (2306.13649), SDFT (2601.19897), SDPO (2601.20802): a divergence at every sampled position, as loss

        sum_N weights_N * (policy loss) + coef * sum_N weights'_N * D(policy, teacher)_N

    over the whole vocabulary, or over k tokens and all others as one (`divergence.py`). weights' is the
    aggregation over the tokens that have a teacher. Both are divided by rollout.temperature first (TRL's
    GKD samples at 0.9 and compares at 1, its later trainer does as here). The forward KL takes the teacher's
    k tokens (what it would say must be covered), the others the student's own: a reverse KL on the teacher's
    would ignore what the student invents.
    """

    name: str = "loss"
    coef: float = 1.0
    """Factor on the divergence."""
    task_coef: float = 1.0
    """Factor on the verifier's advantages, on data on the cross-entropy; 0: the teacher alone."""
    divergence: Kind = Kind.reverse
    """forward, reverse or jensen_shannon."""
    beta: float = 0.5
    """Of jensen_shannon; 0 is the forward and 1 the reverse KL, by convention, not as limits."""
    top_k: int | None = None
    """Tokens compared one by one at each position, all others as one; null: the whole vocabulary."""
    support: Support = Support.auto
    """Whose most probable tokens these are. auto: the teacher's for forward, else the student's."""
    ratio_cap: float | None = None
    """Each token's divergence times min(pi / pi old, this), detached (SDPO: 2); null: times 1."""
    needs_teacher: ClassVar[bool] = True
    in_reward: ClassVar[bool] = False
    in_loss: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_common(self.coef, self.task_coef)
        require(0 <= self.beta <= 1, "distillation.beta", self.beta, "in [0, 1]")
        require(self.top_k is None or self.top_k >= 1, "distillation.top_k", self.top_k, "at least 1 or null")
        cap = self.ratio_cap
        require(cap is None or cap >= 1, "distillation.ratio_cap", cap, "at least 1 or null")

    @property
    def forward(self) -> bool:
        """Whether it is the forward KL, under either name."""
        js = self.divergence is Kind.jensen_shannon
        return self.divergence is Kind.forward or (js and self.beta == 0)

    @property
    def of_teacher(self) -> bool:
        """Whether the k tokens are the teacher's."""
        return self.support is Support.teacher or (self.support is Support.auto and self.forward)

    def compare(self, student_nV: Tensor, teacher_nV: Tensor, targets_n: Tensor) -> tuple[Tensor, ...]:
        """METRICS of each position from log-probabilities, the first with its gradient; 4 times _n."""
        size = student_nV.shape[-1]
        spoken_n = teacher_nV.gather(-1, targets_n[:, None])[:, 0].detach()
        if self.top_k is None or self.top_k >= size:
            found_n = divergence(student_nV, teacher_nV, self.divergence, self.beta)
            return found_n, spoken_n, spoken_n.new_ones(len(spoken_n)), spoken_n.new_ones(len(spoken_n))
        chosen_nV = teacher_nV if self.of_teacher else student_nV
        ids_nk = chosen_nV.detach().topk(self.top_k, dim=-1).indices
        s_nk, t_nk = buckets(student_nV, ids_nk), buckets(teacher_nV.detach(), ids_nk)
        return divergence(s_nk, t_nk, self.divergence, self.beta), spoken_n, mass(s_nk), mass(t_nk)

    def compare_given(
        self, student_nV: Tensor, ids_nk: Tensor, teacher_nk: Tensor, spoken_n: Tensor
    ) -> tuple[Tensor, ...]:
        """As `compare`, where of the teacher its k most probable tokens and the sampled one are known."""
        s_nk = buckets(student_nV, ids_nk)
        t_nk = with_rest(teacher_nk, rest_of(teacher_nk))
        return divergence(s_nk, t_nk, self.divergence, self.beta), spoken_n, mass(s_nk), mass(t_nk)

    def __call__(self, divergence_N: Tensor, new_N: Tensor, old_N: Tensor | None) -> Tensor:
        """The loss of each token: _N."""
        if self.ratio_cap is None or old_N is None:
            return divergence_N
        ratio_N = log_ratio(new_N.detach(), old_N.detach()).exp().clamp(max=self.ratio_cap)
        return divergence_N * ratio_N
