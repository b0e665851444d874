"""The loss of a reward model: the probability that the chosen answer of a pair has the higher score."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlvr_cli.algorithms.preference import log_sigmoid
from rlvr_cli.algorithms.preference_sums import slopes

if TYPE_CHECKING:
    from torch import Tensor


def bradley_terry(
    scores_2P: Tensor, margins_P: Tensor, weights_P: Tensor, centre: float
) -> tuple[Tensor, dict[str, float]]:
    """-log sigmoid(s_chosen - s_rejected - margin) + centre * (s_chosen + s_rejected)^2, a weighted mean.

    `scores_2P`: of pair j rows 2j (chosen) and 2j + 1 (rejected). The margin is that of Llama 2 (2307.09288),
    the second term holds the scores around 0, which the first leaves free (Eisenstein et al. 2023,
    2312.09244). Bradley and Terry 1952; as a reward model Stiennon et al. 2020 (2009.01325).
    """
    chosen_P, rejected_P = scores_2P[0::2], scores_2P[1::2]
    gaps_P = chosen_P - rejected_P
    shares_P = weights_P / weights_P.sum()
    loss_P = -log_sigmoid(gaps_P - margins_P) + centre * (chosen_P + rejected_P).square()
    told = {"accuracies": gaps_P > 0, "margins": gaps_P, "chosen": chosen_P, "rejected": rejected_P}
    metrics = {f"rewards/{name}": float((shares_P * x_P.detach()).sum()) for name, x_P in told.items()}
    return (shares_P * loss_P).sum(), metrics


def token_weights(
    scores_2P: Tensor, margins_P: Tensor, weights_P: Tensor, centre: float
) -> tuple[Tensor, Tensor, dict[str, float]]:
    """(loss, dL/ds of every score, metrics).

    The loss compares two sequences, which may be in different micro-batches and on different ranks. A second
    pass with the loss sum(dL/ds * s) has its gradient, however that is cut.
    """
    return slopes(lambda leaf_2P: bradley_terry(leaf_2P, margins_P, weights_P, centre), scores_2P)
