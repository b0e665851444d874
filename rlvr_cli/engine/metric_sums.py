"""Sums of an update's loss and metrics over micro-batches and ranks."""

from __future__ import annotations

import torch
from torch import Tensor

from rlvr_cli.core import distributed

OF_TRAINED = {
    "clip_ratio_low",
    "clip_ratio_high",
    "dual_clip",
    "chosen",
    "off_policy",
    "ratio",
    "mismatch_weight",
    "mismatch_square",
    "mismatch_kept",
    "mismatch_capped",
    "clip_fraction",
}
"""Say what happens to tokens that train: means over those with a weight. All others describe the policy, and
mean the same whichever tokens a preset trains: means over all tokens of the batch."""


OF_KNOWN = {"distillation_kl", "teacher_logprob", "student_mass", "teacher_mass"}
OF_KNOWN |= {"mismatch_kept_positive", "mismatch_kept_negative"}
"""Known at some tokens (where there is a teacher, of one sign of A), NaN elsewhere: means over what is known,
absent where nothing is."""
LARGEST = {"mismatch_abs": "mismatch_max", "mismatch_rho": "mismatch_rho_max"}
"""Metrics of which the largest over all tokens is told as well, and what it is called."""


class MetricSums:
    """Loss and token means of one update."""

    def __init__(self) -> None:
        self.loss = 0.0
        self.counts = [0.0, 0.0]
        """Tokens with a weight, all tokens."""
        self.sums: dict[str, float] = {}
        self.known: dict[str, float] = {}
        """Tokens at which each of OF_KNOWN is known."""
        self.largest = dict.fromkeys(LARGEST, 0.0)

    def add(self, loss: Tensor, metrics: dict[str, Tensor], weights_n: Tensor) -> None:
        kept_n = weights_n != 0
        self.loss += float(loss.detach())
        self.counts = [self.counts[0] + float(kept_n.sum()), self.counts[1] + len(kept_n)]
        for name, value_n in metrics.items():
            value_n = value_n.detach()[kept_n] if name in OF_TRAINED else value_n.detach()
            if name in OF_KNOWN:
                value_n = value_n[~value_n.isnan()]
                self.known[name] = self.known.get(name, 0.0) + len(value_n)
            self.sums[name] = self.sums.get(name, 0.0) + float(value_n.float().sum())
        for name in LARGEST:
            if name in metrics and len(kept_n):
                self.largest[name] = max(self.largest[name], float(metrics[name].max()))

    def reduced(self) -> dict[str, float]:
        """Global loss and token means; the same on every rank."""
        names = sorted(set().union(*distributed.gather(sorted(self.sums))))
        row = [self.loss, *self.counts, *(self.sums.get(name, 0.0) for name in names)]
        loss, kept, count, *sums = distributed.sum_over_ranks(torch.tensor(row, dtype=torch.float64)).tolist()
        over = {name: max(kept if name in OF_TRAINED else count, 1.0) for name in names}
        if partly := [name for name in names if name in OF_KNOWN]:
            known = torch.tensor([self.known.get(name, 0.0) for name in partly], dtype=torch.float64)
            over |= dict(zip(partly, distributed.sum_over_ranks(known).tolist(), strict=True))
        metrics = {"loss": loss} | {n: s / over[n] for n, s in zip(names, sums, strict=True) if over[n]}
        if told := [name for name in LARGEST if name in metrics]:
            largest = torch.tensor([self.largest[name] for name in told], dtype=torch.float64)
            largest = distributed.max_over_ranks(largest)
            metrics |= {LARGEST[name]: value for name, value in zip(told, largest.tolist(), strict=True)}
        if square := metrics.pop("mismatch_square", 0.0):
            metrics["mismatch_ess"] = metrics["mismatch_weight"] ** 2 / square
        return metrics
