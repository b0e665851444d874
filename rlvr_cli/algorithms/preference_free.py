"""Losses of pairs without a reference: signature and names as in `preference.py`; mw, ml are means over
tokens, pi_w / n_w and pi_l / n_l."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rlvr_cli.algorithms import option
from rlvr_cli.algorithms.check import require
from rlvr_cli.algorithms.preference import log_sigmoid, require_smoothing

if TYPE_CHECKING:
    from torch import Tensor

LEAST = -1e-6
"""A mean log-probability above it (an answer that is certain) has no finite odds."""


@option("preference")
class CPO:
    """CPO (2401.08417): -log s(beta (pi_w - pi_l)); its NLL of the better answer is `algorithm.sft_coef` 1.

    DPO with a uniform reference. label_smoothing as in cDPO.
    """

    name: str = "cpo"
    beta: float = 0.1
    """Factor on the gap of log-probabilities."""
    label_smoothing: float = 0.0
    """Share of the labels that is taken to be wrong."""
    needs_reference: ClassVar[bool] = False
    unpaired: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require(self.beta > 0, "preference.beta", self.beta, "above 0")
        require_smoothing(self.label_smoothing)

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
        x, e = self.beta * (pi_w - pi_l), self.label_smoothing
        loss_P = -(1 - e) * log_sigmoid(x) - e * log_sigmoid(-x)
        return loss_P, _rewards(self.beta, pi_w, pi_l)


@option("preference")
class SimPO:
    """SimPO (2405.14734): -log s(beta (mw - ml) - gamma).

    gamma stands inside the logistic function and is not multiplied by beta; papers quote gamma / beta (0.5
    for Llama-3-Base, 0.55 for Instruct with beta 2.5, 0.8 for Mistral-Base). TRL computes beta (gap - gamma /
    beta), the same number; its defaults (beta 0.1) are CPO's, not SimPO's.
    """

    name: str = "simpo"
    beta: float = 2.0
    """Factor on the gap of mean log-probabilities; the authors try up to 10."""
    gamma: float = 1.0
    """Margin by which the better answer is to win."""
    needs_reference: ClassVar[bool] = False
    unpaired: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require(self.beta > 0, "preference.beta", self.beta, "above 0")
        require(self.gamma >= 0, "preference.gamma", self.gamma, "at least 0")

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
        mw, ml = pi_w / n_w, pi_l / n_l
        return -log_sigmoid(self.beta * (mw - ml) - self.gamma), _rewards(self.beta, mw, ml)


@option("preference")
class ORPO:
    """ORPO (2403.07691): -mw - beta log s(log odds(w) - log odds(l)), log odds = m - log(1 - exp m).

    Fine-tuning on the better answer and a penalty on the odds of the worse, in one stage from a base model.
    The NLL is of the answer, a mean over its tokens and then over pairs; TRL's runs over the prompt too.
    """

    name: str = "orpo"
    beta: float = 0.1
    """Weight of the odds ratio, the paper's lambda."""
    needs_reference: ClassVar[bool] = False
    unpaired: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require(self.beta >= 0, "preference.beta", self.beta, "at least 0")

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
        mw, ml = pi_w / n_w, pi_l / n_l
        odds = log_odds(mw) - log_odds(ml)
        ratio = log_sigmoid(odds)
        told = {"preference/log_odds": odds.detach(), "preference/log_odds_ratio": ratio.detach()}
        told["preference/nll_loss"] = -mw.detach()
        return -mw - self.beta * ratio, _rewards(self.beta, mw, ml) | told


def log_odds(mean: Tensor) -> Tensor:
    """log(p / (1 - p)) of a probability by its logarithm."""
    mean = mean.clamp(max=LEAST)
    return mean - (-mean.expm1()).log()


def _rewards(beta: float, w: Tensor, l: Tensor) -> dict[str, Tensor]:  # noqa: E741
    return {"rewards/chosen": beta * w.detach(), "rewards/rejected": beta * l.detach()}
