"""Sums of an update's loss and metrics over micro-batches and ranks."""

from __future__ import annotations

import torch
from torch import Tensor

from rlvr_cli.core import distributed

OF_TRAINED = {
    "clip_ratio_low",
    "clip_ratio_high",
    "dual_clip",
    "ratio",
    "mismatch_weight",
    "clip_fraction",
}
"""Say what happens to tokens that train: means over those with a weight. All others describe the policy, and
mean the same whichever tokens a preset trains: means over all tokens of the batch."""


OF_TAUGHT = {"distillation_kl", "teacher_logprob", "student_mass", "teacher_mass"}
"""Known where there is a teacher, NaN elsewhere: means over what is known, absent where nothing is."""


class MetricSums:
    """Loss and token means of one update."""

    def __init__(self) -> None:
        self.loss = 0.0
        self.counts = [0.0, 0.0]
        """Tokens with a weight, all tokens."""
        self.sums: dict[str, float] = {}
        self.taught: dict[str, float] = {}
        """Tokens at which each of OF_TAUGHT is known."""
        self.largest_gap = 0.0

    def add(self, loss: Tensor, metrics: dict[str, Tensor], weights_n: Tensor) -> None:
        kept_n = weights_n != 0
        self.loss += float(loss.detach())
        self.counts = [self.counts[0] + float(kept_n.sum()), self.counts[1] + len(kept_n)]
        for name, value_n in metrics.items():
            value_n = value_n.detach()[kept_n] if name in OF_TRAINED else value_n.detach()
            if name in OF_TAUGHT:
                value_n = value_n[~value_n.isnan()]
                self.taught[name] = self.taught.get(name, 0.0) + len(value_n)
            self.sums[name] = self.sums.get(name, 0.0) + float(value_n.float().sum())
        if "mismatch_abs" in metrics and len(kept_n):
            self.largest_gap = max(self.largest_gap, float(metrics["mismatch_abs"].max()))

    def reduced(self) -> dict[str, float]:
        """Global loss and token means; the same on every rank."""
        names = sorted(set().union(*distributed.gather(sorted(self.sums))))
        row = [self.loss, *self.counts, *(self.sums.get(name, 0.0) for name in names)]
        loss, kept, count, *sums = distributed.sum_over_ranks(torch.tensor(row, dtype=torch.float64)).tolist()
        over = {name: max(kept if name in OF_TRAINED else count, 1.0) for name in names}
        if taught := [name for name in names if name in OF_TAUGHT]:
            known = torch.tensor([self.taught.get(name, 0.0) for name in taught], dtype=torch.float64)
            over |= dict(zip(taught, distributed.sum_over_ranks(known).tolist(), strict=True))
        metrics = {"loss": loss} | {n: s / over[n] for n, s in zip(names, sums, strict=True) if over[n]}
        if "mismatch_abs" in metrics:
            gap = distributed.max_over_ranks(torch.tensor([self.largest_gap], dtype=torch.float64))
            metrics["mismatch_max"] = float(gap)
        return metrics
