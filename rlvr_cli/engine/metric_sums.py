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
TENTHS = {f"entropy/tenth_{i}" for i in range(1, 11)}
OF_KNOWN |= TENTHS
"""Known at some tokens (where there is a teacher, of one sign of A, of a part of a response), NaN elsewhere:
means over what is known, absent where nothing is."""
OF_SEQUENCES = {"mismatch_trainer_ppl", "mismatch_rollout_ppl", "mismatch_ppl_ratio", "mismatch_log_ppl"}
OF_SEQUENCES |= {"mismatch_log_ppl_abs", "mismatch_sequence_square"}
"""Numbers of whole sequences: means over the sequences that have tokens."""
MOMENTS = {f"mismatch_{name}" for name in ("square", "rho_square", "probability_square")}
MOMENTS |= {f"mismatch_{name}" for name in ("p", "q", "pp", "qq", "pq")}
"""Of which other numbers are made (`mismatch_metrics.derived`)."""
OF_MANY = OF_SEQUENCES | MOMENTS | TENTHS
"""Say nothing of a single token that its other numbers do not."""
COUNTED = OF_KNOWN | OF_SEQUENCES
"""Each with a count of its own."""
LARGEST = {
    "mismatch_abs": "mismatch_max",
    "mismatch_rho": "mismatch_rho_max",
    "mismatch_probability": "mismatch_probability_max",
    "mismatch_log_ppl_abs": "mismatch_log_ppl_max",
}
"""Metrics of which the largest is told as well, and what it is called."""


class MetricSums:
    """Loss and token means of one update."""

    def __init__(self) -> None:
        self.loss = 0.0
        self.counts = [0.0, 0.0]
        """Tokens with a weight, all tokens."""
        self.sums: dict[str, float] = {}
        self.known: dict[str, float] = {}
        """Of each of COUNTED, how many values are known."""
        self.largest = dict.fromkeys(LARGEST, 0.0)

    def add(self, loss: Tensor, metrics: dict[str, Tensor], weights_n: Tensor) -> None:
        kept_n = weights_n != 0
        self.loss += float(loss.detach())
        self.counts = [self.counts[0] + float(kept_n.sum()), self.counts[1] + len(kept_n)]
        for name, value_n in metrics.items():
            value_n = value_n.detach()[kept_n] if name in OF_TRAINED else value_n.detach()
            if name in OF_KNOWN:
                value_n = value_n[~value_n.isnan()]
            if name in COUNTED:
                self.known[name] = self.known.get(name, 0.0) + len(value_n)
            self.sums[name] = self.sums.get(name, 0.0) + float(value_n.sum(dtype=torch.float64))
        for name in LARGEST:
            if name in metrics and len(kept_n):
                self.largest[name] = max(self.largest[name], float(metrics[name].max()))

    def reduced(self) -> dict[str, float]:
        """Global loss and token means; the same on every rank."""
        names = sorted(set().union(*distributed.gather(sorted(self.sums))))
        counted = [name for name in names if name in COUNTED]
        row = [self.loss, *self.counts]
        row += [self.sums.get(name, 0.0) for name in names] + [self.known.get(name, 0.0) for name in counted]
        loss, kept, count, *rest = distributed.sum_over_ranks(torch.tensor(row, dtype=torch.float64)).tolist()
        over = {name: max(kept if name in OF_TRAINED else count, 1.0) for name in names}
        over |= dict(zip(counted, rest[len(names) :], strict=True))
        sums = zip(names, rest[: len(names)], strict=True)
        metrics = {"loss": loss} | {name: total / over[name] for name, total in sums if over[name]}
        if told := [name for name in LARGEST if name in metrics]:
            largest = torch.tensor([self.largest[name] for name in told], dtype=torch.float64)
            largest = distributed.max_over_ranks(largest)
            metrics |= {LARGEST[name]: value for name, value in zip(told, largest.tolist(), strict=True)}
        return metrics
