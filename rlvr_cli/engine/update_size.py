"""How large an optimizer update was beside the weights it changed, out of AdamW's state after it.

The change of an entry follows from its moments, so that no copy of the weights has to be made before a step.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.linalg import vector_norm

from rlvr_cli.core import distributed
from rlvr_cli.engine.universal import MOMENTS, Home, find_home

BLOCK = {"cpu": 1 << 18, "cuda": 1 << 24}
"""Entries looked at together, by device; some copies of them are made, which a CPU's cache should hold."""


@torch.no_grad()
def update_size(optimizer: Any, parameters: Iterable[Any], zero_stage: int) -> dict[str, float]:
    """`relative_update`: norm of the last step's change over the norm of what it changed, over all trained
    weights of all ranks, as the fp32 copies have them; absent where these are 0.

    `optimizer`: DeepSpeed's, or torch's in ZeRO-0 with fp32. All ranks must call it.
    """
    inner = getattr(optimizer, "optimizer", optimizer)
    settings = inner.param_groups[0]  # of all weights there is one setting
    squares = [torch.zeros(2)]
    for parameter in parameters:
        home = find_home(optimizer, parameter, zero_stage)
        state = inner.state.get(home.tensor) if home is not None and home.count else None
        if home is None or not state:
            continue
        still = getattr(inner, "frozen", {}).get(id(home.tensor))
        for part in blocks(home):
            after, first, second = (
                x.detach().view(-1)[part] for x in (home.tensor, *map(state.get, MOMENTS))
            )
            change, before = change_of(after, first, second, float(state["step"]), settings)
            if still is not None:
                change, before = change.masked_fill(still[part], 0.0), torch.where(still[part], after, before)
            squares.append(torch.stack([vector_norm(change), vector_norm(before)]).square())
    total = torch.stack([each.to(squares[-1].device) for each in squares]).double().sum(0).cpu()
    moved, size = distributed.sum_over_ranks(total).tolist()
    return {"relative_update": math.sqrt(moved / size)} if size else {}


def blocks(home: Home) -> Iterator[slice]:
    """Where the parameter's entries lie in `home.tensor`, piece by piece. What lies between parameters is
    padding, and in ZeRO-3 whatever the memory had before."""
    end, size = home.at + home.count, BLOCK[home.tensor.device.type]
    return (slice(at, min(at + size, end)) for at in range(home.at, end, size))


def change_of(
    after: Tensor, first: Tensor, second: Tensor, step: float, settings: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    """What AdamW's step number `step` (from 1) took from each entry, and what stood there before it."""
    lr, (beta1, beta2) = float(settings["lr"]), settings["betas"]
    scale = math.sqrt(1 - beta2**step)
    moved = torch.div(first, second.sqrt().add_(settings["eps"] * scale)).mul_(lr * scale / (1 - beta1**step))
    before = after + moved
    if decay := lr * float(settings["weight_decay"]):
        moved.add_(before.div_(1 - decay), alpha=decay)  # not before - after, of which rounding is a part
    return moved, before
