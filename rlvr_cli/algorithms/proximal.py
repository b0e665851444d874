"""Which policy the loss's ratio is taken to, and what of a sampled token's weight is left for `mismatch`.

Three policies meet in a sample that is not of the present weights: `rollout`, which sampled it; `prox`, which
the ratio new / prox is clipped around; and `new`, which is trained. With prox / rollout as a weight beside
the clipped ratio the objective is decoupled PPO (Hilton et al. 2022, 2110.00641; AReaL, 2505.24298):

    -sg[prox / rollout] * min(u A, clamp(u, 1 - low, 1 + high) A),   u = new / prox

Everything but `new` is detached. Left attached, prox of `interpolated` would take the share alpha off every
gradient without a change of any value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from rlvr_cli.algorithms.ratio import finite

if TYPE_CHECKING:
    from torch import Tensor

    from rlvr_cli.algorithms import Algorithm


class Proximal(Enum):
    old = "old"
    rollout = "rollout"
    interpolated = "interpolated"


@dataclass(kw_only=True)
class Correction:
    """What every option of `mismatch` has."""

    proximal: Proximal = Proximal.old
    """The policy that the loss's ratio is taken to: old, that of the step's start (decoupled PPO where
    samples are older); rollout, which sampled (bypass: no old logprobs are computed); interpolated, between
    sampling and present policy by each token's age (A-3PO)."""

    @property
    def weighs(self) -> bool:
        """Whether a token that is kept can weigh anything but 1."""
        return True

    @property
    def needs_old_logprobs(self) -> bool:
        """Whether all old logprobs are needed before an update: `whole_update` is then called with them."""
        return False

    @property
    def recomputes(self) -> bool:
        """Whether several updates of a step need old logprobs."""
        return self.proximal is Proximal.old

    def __call__(self, old_N: Tensor, rollout_N: Tensor, lengths_B: Tensor) -> Tensor:
        """Weight of each token's policy loss. old_N: the numerator of rho."""
        raise NotImplementedError


def interpolation(rollout_N: Tensor, new_N: Tensor, ages_N: Tensor | None) -> Tensor:
    """log prox = rollout + alpha (new - rollout), alpha = age / (age + 1): A-3PO's approximation.

    AReaL (docs on prox_logp_method=loglinear) writes alpha = (v_prox - v_rollout) / (v_new - v_rollout), with
    versions v counted in steps and v_new = v_prox + 1; ages_N is v_prox - v_rollout. Age 0: alpha is 0 and
    prox is the rollout policy.
    """
    new_N, rollout_N = finite(new_N).detach(), finite(rollout_N).detach()
    if ages_N is None:
        return rollout_N
    return rollout_N + ages_N / (ages_N + 1) * (new_N - rollout_N)


def corrected(
    algorithm: Algorithm,
    *,
    new_N: Tensor,
    old_N: Tensor | None,
    rollout_N: Tensor,
    ages_N: Tensor | None,
    lengths_B: Tensor,
) -> tuple[Tensor, Tensor]:
    """prox_N, which the loss gets for old_N, and the weights of the mismatch; both detached.

    old_N None: the update is on-policy, or nothing needs it.
    """
    present_N = new_N.detach()
    if algorithm.mismatch.proximal is Proximal.rollout:
        # The ratio new / rollout has it all; what is rejected, or weighs a loss without a ratio, goes by it.
        prox_N, top_N = rollout_N.detach(), present_N
    elif algorithm.mismatch.proximal is Proximal.interpolated:
        prox_N = top_N = interpolation(rollout_N, present_N, ages_N)
    else:
        prox_N = top_N = present_N if old_N is None else old_N.detach()
    return prox_N, algorithm.mismatch(top_N, rollout_N, lengths_B)


def refuse(algorithm: Algorithm) -> None:
    """Raise ValueError where the proximal policy would be without effect, or a weight counted twice."""
    mismatch, loss = algorithm.mismatch, algorithm.loss.name
    if mismatch.proximal is Proximal.old:
        return
    where = f"algorithm.mismatch.proximal={mismatch.proximal.value}"
    if loss == "reinforce" and mismatch.proximal is Proximal.interpolated:
        raise ValueError(
            f"{where} with loss=reinforce, which has no ratio to a proximal policy: choose proximal=rollout, "
            "whose weight is all of new / rollout"
        )
    if loss == "reinforce" and mismatch.name == "none":
        raise ValueError(
            f"{where} with loss=reinforce and mismatch=none is without effect: choose mismatch=truncate, or "
            "proximal=old"
        )
    if loss != "reinforce" and mismatch.proximal is Proximal.rollout and mismatch.weighs:
        how = "mismatch.weight=none" if hasattr(mismatch, "weight") else "mismatch=none"
        raise ValueError(
            f"{where} with loss={loss} and mismatch={mismatch.name}: the loss's ratio is new / rollout "
            f"already, a weight would count it twice; choose {how}, proximal=old, or loss=reinforce"
        )


def doubts(algorithm: Algorithm, max_staleness: int) -> Iterator[str]:
    """What can be meant but seldom is, a line each."""
    if algorithm.mismatch.proximal is Proximal.interpolated and not max_staleness:
        yield (
            "algorithm.mismatch.proximal=interpolated with rollout.max_staleness=0: every sample is of the "
            "present weights, and the approximation is proximal=rollout; set rollout.max_staleness, or "
            "proximal=old"
        )
