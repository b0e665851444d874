"""NaN and infinity in an update: noticed before weights or optimizer have changed, and traced to a token."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rlvr_cli.core import distributed
from rlvr_cli.core.errors import Hopeless
from rlvr_cli.core.types import Batch
from rlvr_cli.engine.interface import Objective, ScoringModel
from rlvr_cli.engine.localise import localise
from rlvr_cli.engine.pack import MicroBatch, select
from rlvr_cli.schema import Precision

BUDGET = 128
"""Gradients computed at most to find where one stops being finite, besides one for each micro-batch."""


class NonFinite(Hopeless):
    """A number of an update is NaN or infinite; weights and optimizer are as before it.

    `where`: `what` is not finite, `value`, `count` of `of` tokens and, where one can be named, `sequences` of
    the batch, `position` among the trained tokens, `token` id; `weights`: one of these that is not finite.
    """

    def __init__(self, message: str, where: dict[str, Any]) -> None:
        super().__init__(message)
        self.where = where


class Check:
    """Whether everything that went into an update is finite, over micro-batches and ranks."""

    def __init__(self) -> None:
        self.fine = True

    def add(self, loss: Tensor, scores: Sequence[Tensor], at_tokens: dict[str, Tensor]) -> None:
        seen = [loss.detach(), *scores, *(x for x in at_tokens.values() if x.is_floating_point())]
        self.fine &= bool(torch.stack([x.detach().isfinite().all() for x in seen]).all())

    def agreed(self) -> bool:
        """The same on every rank; all must call it."""
        return not float(distributed.max_over_ranks(torch.tensor([float(not self.fine)])))


def trace(model: ScoringModel, batch: Batch, objective: Objective, norm: float) -> NonFinite:
    """What is not finite in this update, and where; all ranks must call it and get the same."""
    given = {
        "rollout logprob": batch.rollout_logprobs_N,
        "reference logprob": batch.ref_logprobs_N,
        "teacher's logprob": batch.teacher_logprobs_N,
        "logprob at the start of the step": batch.old_logprobs_N,
        "value": batch.values_N,
        "return": batch.returns_N,
        "advantage": batch.advantages_N,
        "aggregation weight": batch.weights_N,
    }
    for what, values_N in given.items():
        if values_N is not None and not values_N.isfinite().all():
            return _named(model, batch, what, values_N)
    scores = model.collect(model.engine, batch.sequences, batch.trained, owners=batch.owners)
    for what, values_N in zip(model.scores, scores, strict=False):
        if not values_N.isfinite().all():
            return _named(model, batch, what, values_N)
    losses = partial(_losses, model, batch, objective)
    (losses_N,) = model.collect(model.engine, batch.sequences, batch.trained, losses, batch.owners)
    if not losses_N.isfinite().all():
        return _named(model, batch, "loss", losses_N)
    return _gradient(model, batch, objective, norm)


def _losses(
    model: ScoringModel, batch: Batch, objective: Objective, module: Any, micro: MicroBatch
) -> tuple[Tensor]:
    """The loss of each token: the derivative of the loss by the token's weight, as it is linear in these."""
    scores = model.forward(module, micro)
    if not len(micro.tokens_n):
        return (scores[0],)
    at = select(batch, micro)
    with torch.enable_grad():
        at["weights"] = at["weights"].requires_grad_()
        loss, _ = objective(*(s.detach() for s in scores), at)
        (losses_n,) = torch.autograd.grad(loss, at["weights"])
    return (losses_n,)


def _named(model: ScoringModel, batch: Batch, what: str, values_N: Tensor) -> NonFinite:
    bad = (~values_N.isfinite()).nonzero().flatten().tolist()
    ends = torch.tensor(batch.lengths_B).cumsum(0)
    b = int((ends <= bad[0]).sum())
    left = bad[0] - int(ends[b]) + batch.lengths_B[b]
    token = _token(batch, b, left)
    value, total = float(values_N[bad[0]]), len(values_N)
    where = {"what": what, "value": str(value), "count": len(bad), "of": total}
    where |= {"sequences": [b], "position": left, "token": token}
    broken = broken_weight(model) if "logprob" in what and len(bad) == total else None
    said = f"the {what} is {value} at {len(bad)} of {total} tokens"
    if broken is not None:
        where["weights"] = broken
        said += f", as the weights are ({broken})"
    return NonFinite(said, where)


def _token(batch: Batch, b: int, place: int) -> int:
    """Id of a trained token of sequence `b`, from the rank that has it; all ranks must call it."""
    here = batch.owners is None or batch.owners[b] == distributed.rank()
    token = int(batch.sequences[b][batch.trained[b]][place]) if here else -1
    return int(distributed.max_over_ranks(torch.tensor([token])))


def _gradient(model: ScoringModel, batch: Batch, objective: Objective, norm: float) -> NonFinite:
    rows = localise(model, batch, objective, spike=None, budget=BUDGET)
    where: dict[str, Any] = {"what": "gradient", "value": str(norm)}
    said = f"the norm of the gradient is {norm:.3g}"
    if not rows:
        return NonFinite(f"{said}, of no micro-batch alone", where)
    worst = min(rows, key=lambda row: row["tokens"])
    where |= {key: worst[key] for key in ("sequences", "position", "token", "layers") if key in worst}
    alone = "a token" if worst["tokens"] == 1 else f"a segment of {worst['tokens']} tokens"
    return NonFinite(f"{said}, that of {alone} by itself {worst['norm']:.3g}", where)


def broken_weight(model: ScoringModel) -> str | None:
    """Name of the first weight that is not finite; all ranks must call it."""
    found = [name for name, weight in model.weights() if not weight.isfinite().all()]
    return found[0] if found else None


def discard(engine: Any, stage: int, precision: Precision) -> None:
    """Forget the gradients accumulated for this update: what DeepSpeed does itself when fp16 overflows."""
    optimizer = engine.optimizer
    if stage == 0:
        (optimizer if precision is Precision.bf16 else engine).zero_grad()
    elif stage == 3:
        optimizer._overflow_clean_up(0)
    else:
        optimizer.micro_step_id = -1  # the next gradients replace those in the buffers
        optimizer.zero_grad(set_to_none=True)
        if optimizer.cpu_offload:
            optimizer._offload_accumulated_param_ids = set()
            optimizer.reset_cpu_buffers()
        for group in optimizer.averaged_gradients:  # with offload too: fp32 sums are made on the device
            optimizer.averaged_gradients[group] = None
            optimizer.all_grad_tensors[group] = None
