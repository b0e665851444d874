"""Losses of preferences: two answers to one prompt, of which one is better.

Every option maps the summed log-probabilities of P pairs to (loss_P, metrics):

    pi_w, pi_l    log p(answer | prompt) of the better and the worse answer under the policy, EOS included
    ref_w, ref_l  the same under the reference (not read where `needs_reference` is False)
    n_w, n_l      tokens of the answers
    margins       by how much the better answer is better, where the data say so; read by margin_coef alone

all _P, float64, of which pi_w and pi_l carry the gradient. In formulas dw = pi_w - ref_w, dl = pi_l - ref_l
and h = dw - dl, s is the logistic function. Metrics are detached _P tensors: `rewards/chosen` and
`rewards/rejected` (beta dw, beta dl), and what an option adds. `preference_sums.py` puts the pairs of an
update together; `preference_free.py` has the options without a reference, `preference_single.py` those of
single answers. These are no axis of reinforcement learning: a recipe of preferences has one of them in the
place of the twelve (`PREFERENCE` in `__init__.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from rlvr_cli.algorithms import option
from rlvr_cli.algorithms.check import require

if TYPE_CHECKING:
    from torch import Tensor


def log_sigmoid(x: Tensor) -> Tensor:
    """-log(1 + exp(-x)), exact for any x, with the gradient 1/2 at 0 (which clamps and abs have not)."""
    return -x.neg().logaddexp(x.new_zeros(()))


def require_smoothing(value: float) -> None:
    require(0 <= value < 0.5, "preference.label_smoothing", value, "at least 0 and below 0.5")


@dataclass(kw_only=True)
class Referenced:
    """What losses against a reference share; theirs is `loss(dw, dl)`."""

    beta: float = 0.1
    """Strength of the pull towards the reference; rewards are this times the log-ratio."""
    length_normalised: bool = False
    """Log-ratios are means over the answer's tokens in the place of sums; beta is then larger by about its
    length."""
    reference_free: bool = False
    """The reference counts as uniform: its log-probabilities are 0, and no reference is loaded."""
    tail_weight: float = 1.0
    """What an answer's tokens beyond the length of the shorter answer of its pair count: below 1 it is
    LD-DPO (2409.06411), whose alpha this is, against the pull of sums towards long answers."""
    unpaired: ClassVar[bool] = False
    margin_coef: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        require(self.beta > 0, "preference.beta", self.beta, "above 0")
        require(0 <= self.tail_weight <= 1, "preference.tail_weight", self.tail_weight, "between 0 and 1")
        require(
            self.tail_weight == 1 or not self.length_normalised,
            "preference.tail_weight",
            self.tail_weight,
            "1 with preference.length_normalised=true: a mean over the tokens has no weight of a tail",
        )

    @property
    def needs_reference(self) -> bool:
        return not self.reference_free

    @property
    def weighs_tails(self) -> bool:
        """Whether it asks for `with_light_tails` in the place of plain sums."""
        return self.tail_weight != 1

    def with_light_tails(self, sums_B: Tensor, heads_B: Tensor) -> Tensor:
        """Sums of answers whose beginnings, as long as the shorter answer of a pair, sum to heads_B."""
        return self.tail_weight * sums_B + (1 - self.tail_weight) * heads_B

    def __call__(
        self,
        pi_w: Tensor,
        pi_l: Tensor,
        ref_w: Tensor,
        ref_l: Tensor,
        n_w: Tensor,
        n_l: Tensor,
        margins: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        dw, dl = (pi_w, pi_l) if self.reference_free else (pi_w - ref_w, pi_l - ref_l)
        if self.length_normalised:
            dw, dl = dw / n_w, dl / n_l
        rewards = {"rewards/chosen": self.beta * dw.detach(), "rewards/rejected": self.beta * dl.detach()}
        if self.margin_coef:
            assert margins is not None  # the data have been asked for them
            dw = dw - self.margin_coef * margins / self.beta
        return self.loss(dw, dl), rewards

    def loss(self, dw: Tensor, dl: Tensor) -> Tensor:
        raise NotImplementedError


@option("preference")
class Sigmoid(Referenced):
    """DPO (2305.18290): -log s(beta h). With label_smoothing e it is cDPO: -(1-e) log s(beta h) - e log
    s(-beta h).

    The maximum likelihood of Bradley-Terry, whose reward is beta log(policy / reference). cDPO assumes that a
    share e of the labels is wrong and is smallest at beta h = log((1-e)/e), from where it pulls back. TRL's
    `sigmoid` ignores label_smoothing; OpenRLHF and open-instruct have cDPO under it, as here.
    length_normalised is open-instruct's `dpo_norm` (Tulu 3, beta 5) and TRL's `sigmoid_norm`.
    """

    name: str = "sigmoid"
    label_smoothing: float = 0.0
    """Share of the labels that is taken to be wrong."""
    margin_coef: float = 0.0  # type: ignore[misc]
    """beta h has to exceed this times the pair's margin, by which the better answer is better (ODPO,
    2402.10571); above 0 every row needs one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_smoothing(self.label_smoothing)
        require(self.margin_coef >= 0, "preference.margin_coef", self.margin_coef, "at least 0")

    def loss(self, dw: Tensor, dl: Tensor) -> Tensor:
        x, e = self.beta * (dw - dl), self.label_smoothing
        return -(1 - e) * log_sigmoid(x) - e * log_sigmoid(-x)


@option("preference")
class Robust(Referenced):
    """rDPO (2403.00409): (-(1-e) log s(beta h) + e log s(-beta h)) / (1-2e), unbiased under flipped labels.

    Unlike cDPO it never stops pushing: its slope tends to -e/(1-2e) for large h.
    """

    name: str = "robust"
    label_smoothing: float = 0.1
    """Share of the labels that is wrong."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_smoothing(self.label_smoothing)

    def loss(self, dw: Tensor, dl: Tensor) -> Tensor:
        x, e = self.beta * (dw - dl), self.label_smoothing
        return (-(1 - e) * log_sigmoid(x) + e * log_sigmoid(-x)) / (1 - 2 * e)


@option("preference")
class Hinge(Referenced):
    """SLiC's hinge (2305.10425) on DPO's log-ratios, as in RSO and TRL: max(0, 1 - beta h).

    SLiC itself is reference-free: reference_free=true.
    """

    name: str = "hinge"

    def loss(self, dw: Tensor, dl: Tensor) -> Tensor:
        return (1 - self.beta * (dw - dl)).clamp(min=0)


@option("preference")
class IPO(Referenced):
    """IPO (2310.12036): (h - 1/(2 beta))^2, which stops at a margin in the place of pushing on.

    On means over tokens, as TRL and AReaL have it after asking the authors; OpenRLHF sums. On means beta
    0.1 asks for a gap of 5 nats a token: choose beta accordingly.
    """

    name: str = "ipo"
    length_normalised: bool = True
    """Log-ratios are means over the answer's tokens; false: sums, as the paper's formula reads."""

    def loss(self, dw: Tensor, dl: Tensor) -> Tensor:
        return (dw - dl - 1 / (2 * self.beta)).square()


@option("preference")
class APOZero(Referenced):
    """APO-zero (2408.06266): 1 - s(beta dw) + s(beta dl): the better answer up, the worse down.

    For answers that are better than what the model writes.
    """

    name: str = "apo_zero"

    def loss(self, dw: Tensor, dl: Tensor) -> Tensor:
        return 1 - (self.beta * dw).sigmoid() + (self.beta * dl).sigmoid()


@option("preference")
class APODown(Referenced):
    """APO-down (2408.06266): s(beta dw) + 1 - s(beta h): both answers down, the worse one further.

    For chosen answers that are worse than what the model writes.
    """

    name: str = "apo_down"

    def loss(self, dw: Tensor, dl: Tensor) -> Tensor:
        return (self.beta * dw).sigmoid() + 1 - (self.beta * (dw - dl)).sigmoid()


@option("preference")
class BCO(Referenced):
    """BCO on pairs (2404.04656): -log s(beta dw - m) - log s(m - beta dl), a classifier of answers.

    m is 0, as in TRL's `bco_pair`, or with shift=true the mean reward, from which the classifier counts. It
    is a statistic, not a part of what is differentiated. The paper takes the mean of its batch and
    of those before with a moving average; here it is that of the update, so that no run depends on where it
    was resumed.
    """

    name: str = "bco"
    shift: bool = False
    """Subtract the mean of the update's rewards, beta dw and beta dl, from each of them."""

    def loss(self, dw: Tensor, dl: Tensor) -> Tensor:
        mean = self.beta * (dw.mean() + dl.mean()).detach() / 2 if self.shift else dw.new_zeros(())
        return classified(self.beta * dw, self.beta * dl, mean)


def classified(rewards_w: Tensor, rewards_l: Tensor, shift: Tensor) -> Tensor:
    """BCO's cross entropy of a classifier that is indifferent at `shift`."""
    return -log_sigmoid(rewards_w - shift) - log_sigmoid(shift - rewards_l)


@option("preference")
class NCA(Referenced):
    """NCA on pairs (2402.05369): -log s(rw) - log s(-rw) / 2 - log s(-rl) / 2 with r = beta d.

    It keeps the likelihood of the better answer from falling.
    """

    name: str = "nca"

    def loss(self, dw: Tensor, dl: Tensor) -> Tensor:
        rw, rl = self.beta * dw, self.beta * dl
        return -log_sigmoid(rw) - (log_sigmoid(-rw) + log_sigmoid(-rl)) / 2


@option("preference")
class SPPO(Referenced):
    """SPPO with hard labels (2405.00675): (dw - 1/(2 beta))^2 + (dl + 1/(2 beta))^2."""

    name: str = "sppo"

    def loss(self, dw: Tensor, dl: Tensor) -> Tensor:
        aim = 1 / (2 * self.beta)
        return (dw - aim).square() + (dl + aim).square()


@option("preference")
class EXO(Referenced):
    """EXO on pairs (2402.00856): KL of q = s(beta h) from labels smoothed by e:

    q (log q - log(1-e)) + (1-q) (log(1-q) - log e).
    """

    name: str = "exo"
    label_smoothing: float = 1e-3
    """Smooths the labels; must be above 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            0 < self.label_smoothing < 0.5,
            "preference.label_smoothing",
            self.label_smoothing,
            "above 0 and below 0.5",
        )

    def loss(self, dw: Tensor, dl: Tensor) -> Tensor:
        x, e = self.beta * (dw - dl), self.label_smoothing
        right, wrong = log_sigmoid(x), log_sigmoid(-x)
        return right.exp() * (right - math.log(1 - e)) + wrong.exp() * (wrong - math.log(e))
