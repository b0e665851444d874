"""Reward -> advantage for pass@k: what a group of samples achieves with its best one.

As in `advantage.py`. Samples without a verdict belong to no subset.
"""

from __future__ import annotations

import math
from math import comb
from typing import TYPE_CHECKING, ClassVar

from rlvr_cli.algorithms import option
from rlvr_cli.algorithms.advantage import AdvantageInputs, broadcast, deviation, outcomes
from rlvr_cli.algorithms.check import require

if TYPE_CHECKING:
    from torch import Tensor


def best_of_subsets(rewards: list[float], k: int) -> tuple[float, float, list[float]]:
    """Over all subsets of k rewards the best one's mean and standard deviation, and its mean over those
    subsets that have a given reward, for each.

    Exact: of rewards in ascending order the j-th is the best of comb(j, k - 1) subsets (j from 0).
    """
    n = len(rewards)
    order = sorted(range(n), key=rewards.__getitem__)
    ascending = [rewards[i] for i in order]
    counts = [comb(j, k - 1) for j in range(n)]
    mean = sum(c * r for c, r in zip(counts, ascending, strict=True)) / comb(n, k)
    square = sum(c * (r - mean) ** 2 for c, r in zip(counts, ascending, strict=True)) / comb(n, k)
    own = [0.0] * n
    for p, i in enumerate(order):  # it is the best itself, or a later one is
        above = sum(comb(j - 1, k - 2) * ascending[j] for j in range(p + 1, n)) if k > 1 else 0.0
        own[i] = (counts[p] * ascending[p] + above) / comb(n - 1, k - 1)
    return mean, math.sqrt(square), own


@option("advantage")
class PassAtK:
    """Pass@k training (2508.10751): the z-score of subsets of k samples, whose reward is their best one's.

        A_i = (mean over the subsets with i - mean over all) / (std over all + eps)

    exactly. With c right of n, r = 1 - C(n-c, k) / C(n, k) and s = sqrt(r (1 - r)) that is (1 - r) / s for
    right samples and (1 - r - C(n-c-1, k-1) / C(n-1, k-1)) / s for wrong ones, the paper's; other rewards
    than 0 and 1 count as they are. Sums to 0 over a group. k = 1 is GRPO with ddof 0. Once fewer than k are
    wrong every subset succeeds and all are 0: easy prompts stop teaching, hard ones weigh most. Corrects for
    samples that exploit what is known; biased for pass@1, as it optimises pass@k. Not the plain gradient of
    pass@k either, in which wrong samples have 0 before a baseline. verl's grpo_passk is `best_margin`.
    """

    name: str = "pass_at_k"
    k: int = 4
    """Samples of a subset; below batch.group_size."""
    eps: float = 1e-6
    """Added to the standard deviation."""
    needs_group: ClassVar[bool] = True
    needs_critic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require(self.k >= 1, "advantage.k", self.k, "at least 1")
        require(self.eps >= 0, "advantage.eps", self.eps, "at least 0")

    def __call__(self, inputs: AdvantageInputs) -> Tensor:
        r_PG = outcomes(inputs)
        return broadcast(r_PG.new_tensor([self._of_group(row) for row in r_PG.tolist()]), inputs)

    def _of_group(self, row: list[float]) -> list[float]:
        known = [i for i, r in enumerate(row) if not math.isnan(r)]
        found = [0.0] * len(row)
        if len(known) < max(self.k, 2):
            return found
        top = max(row[i] for i in known)  # less the best, so that equal bests give exactly 0
        mean, std, own = best_of_subsets([row[i] - top for i in known], self.k)
        if std > 0:
            for i, x in zip(known, own, strict=True):
                found[i] = (x - mean) / (std + self.eps)
        return found


@option("advantage")
class BestMargin:
    """verl's grpo_passk (2503.19595): only the group's best sample counts, by its lead over the second.

        A = (r_1 - r_2) / (std(r) + eps) for the best, ddof 1, and 0 for all others

    Two equal bests give 0: with rewards of 0 and 1 only groups with one right sample teach. Favours what
    lifts the best of a group; nothing is pushed down, so it is biased and no gradient of pass@k.
    """

    name: str = "best_margin"
    normalise: bool = True
    """Divide by the standard deviation of the group."""
    eps: float = 1e-6
    """Added to the standard deviation."""
    needs_group: ClassVar[bool] = True
    needs_critic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require(self.eps >= 0, "advantage.eps", self.eps, "at least 0")

    def __call__(self, inputs: AdvantageInputs) -> Tensor:
        r_PG = outcomes(inputs)
        known_PG = r_PG.masked_fill(r_PG.isnan(), -math.inf)
        first_P1, second_P1 = known_PG.topk(min(2, r_PG.shape[1]), 1).values.chunk(2, 1)
        lead_P1 = (first_P1 - second_P1).nan_to_num(0, posinf=0)  # a sample alone leads nobody
        if self.normalise:
            lead_P1 = lead_P1 / (deviation(r_PG, ddof=1) + self.eps)
        return broadcast(lead_P1.where(known_PG == first_P1, 0), inputs)
