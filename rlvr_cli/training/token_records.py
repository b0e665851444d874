"""What the update saw at each token, for the records of `tracker.tokens`; training does not depend on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rlvr_cli.core import distributed
from rlvr_cli.core.types import Batch, Group
from rlvr_cli.engine.interface import Objective

KINDS = ("trainer_logprobs", "entropies", "clipped")
CLIPPED = ("clip_ratio_low", "clip_ratio_high", "dual_clip", "off_policy")
"""Metrics of losses that say which tokens have no gradient, or a bounded one."""


def noted(batch: Batch, objective: Objective) -> Objective:
    """The objective, which also writes into `batch.notes` where the batch has them."""
    if batch.notes is None:
        return objective
    notes = batch.notes

    def watched(*arguments: Any) -> tuple[Tensor, dict[str, Tensor]]:
        loss, metrics = objective(*arguments)
        logprobs_n, entropies_n, *_, at = arguments
        clipped_n = torch.zeros_like(logprobs_n, dtype=torch.bool)
        for name in CLIPPED:
            if name in metrics:
                clipped_n |= metrics[name].bool()
        seen = torch.stack([logprobs_n.detach(), entropies_n.detach(), clipped_n.to(logprobs_n.dtype)])
        notes[:, at["tokens"]] = seen.float().cpu()
        return loss, metrics

    return watched


def blank(batch: Batch) -> None:
    """Have the update of this batch noted: 0 until then, since the ranks' shares are summed."""
    batch.notes = torch.zeros(len(KINDS), len(batch.weights_N))


def token_notes(groups: Sequence[Group], batches: Sequence[Batch]) -> dict[int, list[dict[str, list[float]]]]:
    """Index of a group -> for each sample its KINDS by name, and `old_logprobs` where they were computed.

    Nothing for a sample that no update trained on; where several did, each has its tokens. All ranks must
    call it: each has its share.
    """
    found: dict[int, list[dict[str, list[float]]]] = {g.index: [{} for _ in g.completions] for g in groups}
    size = len(groups[0].completions) if groups else 1
    for batch in batches:
        if batch.notes is None:
            continue
        columns = dict(zip(KINDS, distributed.sum_over_ranks(batch.notes), strict=True))
        if batch.old_logprobs_N is not None:
            columns["old_logprobs"] = batch.old_logprobs_N
        split = {name: values_N.split(batch.lengths_B) for name, values_N in columns.items()}
        trained = (batch.weights_N != 0).split(batch.lengths_B)
        seen: dict[int, dict[str, list[float]]] = {}
        kept: dict[int, list[bool]] = {}
        for row, sample in enumerate(batch.samples):  # a sample may have several sequences
            noted = seen.setdefault(sample, {})
            for name, rows in split.items():
                noted[name] = noted.get(name, []) + rows[row].tolist()
            kept[sample] = kept.get(sample, []) + trained[row].tolist()
        for sample, noted in seen.items():
            before = found[groups[sample // size].index][sample % size]
            for name, values in noted.items():
                old = before.get(name, values)
                before[name] = [v if k else o for v, o, k in zip(values, old, kept[sample], strict=True)]
    return found
