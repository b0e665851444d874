"""Losses of preferences on pairs of a run's own samples (online DPO), as an advantage.

Of each group, pairs of a better and a worse sample are made by their rewards, whoever has given them:
verifier, reward model or judge. A loss of `preference.py` on these pairs has one number dL/dS for the summed
log-probability S of each sample (`preference_sums.py`), and -dL/dS is its advantage: with loss=reinforce and
aggregation=sum the update's gradient is that of the loss itself.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

from rlvr_cli.algorithms import PREFERENCE, option, options
from rlvr_cli.algorithms.advantage import AdvantageInputs
from rlvr_cli.algorithms.check import require
from rlvr_cli.algorithms.preference_sums import mean_nll, slopes
from rlvr_cli.algorithms.segments import segment_sum, spread

if TYPE_CHECKING:
    from torch import Tensor

Match = tuple[int, int, float]
"""(better sample, worse sample, what the pair counts)"""


def losses_of_pairs() -> dict[str, type[Any]]:
    """Name -> option, of those of `preference.py` that compare two answers."""
    known: dict[str, type[Any]] = dict(options(PREFERENCE))
    return {name: cls for name, cls in known.items() if not cls.unpaired}


class Pairing(Enum):
    best_worst = "best_worst"
    one = "one"
    min = "min"
    all = "all"


@option("advantage")
class OnlinePairs:
    """Online DPO (2402.04792) and its kin: A = -dL/dS of a loss of preferences on pairs of a group's samples.

    Pairs are made of samples whose rewards differ; groups of equal rewards make none. Samples are
    exchangeable, so the first of equals is as good as any. TRL's OnlineDPO takes two samples a prompt and
    pairs equal ones too. Samples that were cut off are never the better one: they are left out and counted
    (`preference/truncated`).
    """

    name: str = "online_pairs"
    loss: str = "sigmoid"
    """Loss of pairs, with its own defaults but for those below: sigmoid, ipo, hinge, simpo, ..."""
    beta: float = 0.1
    """Its beta."""
    pairing: Pairing = Pairing.best_worst
    """best_worst: one pair of a group; one: its first sample and the first with another reward; min: the best
    with the worst, the second best with the second worst, and so on; all: every two with different rewards,
    which count as much together as one pair."""
    sft_coef: float = 0.0
    """Weight of the negative log-likelihood of a token of the better samples (1: iterative RPO,
    2404.19733)."""
    margin_coef: float = 0.0
    """The gap of rewards times this is what the better sample has to win by (ODPO, 2402.10571); sigmoid alone
    has it."""
    needs_group: ClassVar[bool] = True
    needs_critic: ClassVar[bool] = False
    needs_old_logprobs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        known = losses_of_pairs()
        require(self.loss in known, "advantage.loss", self.loss, f"one of {', '.join(sorted(known))}")
        require(self.beta > 0, "advantage.beta", self.beta, "above 0")
        require(self.sft_coef >= 0, "advantage.sft_coef", self.sft_coef, "at least 0")
        sloped = self.margin_coef == 0 or (self.loss == "sigmoid" and self.margin_coef > 0)
        require(
            sloped, "advantage.margin_coef", self.margin_coef, "0, or above 0 with advantage.loss=sigmoid"
        )
        self._loss = self._made(known[self.loss])
        self._told: dict[str, float] = {}

    def _made(self, option: type[Any]) -> Any:
        """The loss of pairs."""
        more: dict[str, Any] = {"margin_coef": self.margin_coef} if self.margin_coef else {}
        return option(beta=self.beta, **more)

    @property
    def needs_reference(self) -> bool:
        return bool(self._loss.needs_reference)

    def metrics(self) -> dict[str, float]:
        """Of the last call, for the records."""
        return dict(self._told)

    def __call__(self, inputs: AdvantageInputs) -> Tensor:
        if inputs.old_logprobs_N is None or (self.needs_reference and inputs.ref_logprobs_N is None):
            raise ValueError("advantage=online_pairs needs old_logprobs_N and ref_logprobs_N")
        old_N = inputs.old_logprobs_N.double()
        ref_N = (
            old_N.new_zeros(len(old_N)) if inputs.ref_logprobs_N is None else inputs.ref_logprobs_N.double()
        )
        sums_B, ref_B = (segment_sum(x_N, inputs.lengths_B) for x_N in (old_N, ref_N))
        found, cut = self.matches(inputs)
        self._told = {"preference/pairs": float(len(found)), "preference/truncated": float(cut)}
        if not found:
            return sums_B.new_zeros(len(old_N))
        better, worse, weights = (sums_B.new_tensor(column) for column in zip(*found, strict=True))
        w, l = better.long(), worse.long()  # noqa: E741
        lengths_B, rewards_B = inputs.lengths_B.double(), inputs.rewards_PG.double().flatten()

        def objective(sums_B: Tensor) -> tuple[Tensor, dict[str, float]]:
            loss_Q, told = self._loss(
                sums_B[w], sums_B[l], ref_B[w], ref_B[l], lengths_B[w], lengths_B[l],
                margins=rewards_B[w] - rewards_B[l],
            )  # fmt: skip
            total = (loss_Q * weights).sum() / weights.sum()
            if self.sft_coef:
                total = total + self.sft_coef * mean_nll(sums_B[w], lengths_B[w], weights)
            return total, {name: float(x_Q.mean()) for name, x_Q in told.items()}

        loss, slopes_B, told = slopes(objective, sums_B)
        gap = told["rewards/chosen"] - told["rewards/rejected"]
        self._told |= told | {"preference/loss": float(loss), "rewards/margins": gap}
        self._told |= {"logps/chosen": float(sums_B[w].mean()), "logps/rejected": float(sums_B[l].mean())}
        return -spread(slopes_B, inputs.lengths_B)

    def matches(self, inputs: AdvantageInputs) -> tuple[list[Match], int]:
        """The pairs of all groups, by the samples' places in _B, and how many samples could not be the better
        one because they were cut off."""
        rewards, size = inputs.rewards_PG.tolist(), inputs.rewards_PG.shape[1]
        whole = [True] * len(inputs.lengths_B) if inputs.finished_B is None else inputs.finished_B.tolist()
        found: list[Match] = []
        cut = 0
        for p, row in enumerate(rewards):
            ends = whole[p * size : (p + 1) * size]
            known = [i for i, r in enumerate(row) if not math.isnan(r)]
            lowest = min((row[i] for i in known), default=0.0)
            cut += sum(not ends[i] and row[i] > lowest for i in known)
            pairs = self._pairs([(i, j) for i in known for j in known if ends[i] and row[i] > row[j]], row)
            share = 1 / len(pairs) if pairs and self.pairing is Pairing.all else 1.0
            found += [(p * size + i, p * size + j, share) for i, j in pairs]
        return found, cut

    def _pairs(self, possible: list[tuple[int, int]], row: list[float]) -> list[tuple[int, int]]:
        """Of one group, those of the possible pairs that are taken."""
        if self.pairing is Pairing.all or not possible:
            return possible
        if self.pairing is Pairing.one:
            return [min(possible, key=lambda pair: (min(pair), max(pair)))]
        taken: list[tuple[int, int]] = []
        left = possible
        while left and (self.pairing is Pairing.min or not taken):
            i, j = max(left, key=lambda pair: (row[pair[0]], -row[pair[1]], -pair[0], -pair[1]))
            taken.append((i, j))
            left = [pair for pair in left if not {i, j} & set(pair)]
        return taken
