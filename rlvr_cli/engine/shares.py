"""Which rank computes which sequences: dealt where every rank has all of them, else as their owners say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from rlvr_cli.core import distributed
from rlvr_cli.engine.pack import Bundle, deal, plan, prompts_of


def owners_of(
    updates: Sequence[Sequence[int]],
    lengths: Sequence[int],
    *,
    tokens_per_microbatch: int,
    prompts: Sequence[bytes] | None = None,
    together: int = 1,
) -> list[int]:
    """The rank of each sequence, the same on every rank; of `together` ranks that share it the first.

    `updates`: the sequences of each, which are dealt for themselves, so that every update is balanced;
    `prompts`: as for `pack.deal`.
    """
    owners = [0] * len(lengths)
    for members in updates:
        shares = deal(
            [lengths[i] for i in members],
            ranks=distributed.world_size() // together,
            tokens_per_microbatch=tokens_per_microbatch,
            prompts=None if prompts is None else [prompts[i] for i in members],
        )
        for group, share in enumerate(shares):
            for place in (place for bundle in share for place in bundle.members):
                owners[members[place]] = group * together
    return owners


def share_of(
    sequences: Sequence[np.ndarray],
    trained: Sequence[np.ndarray],
    owners: list[int] | None,
    *,
    tokens_per_microbatch: int,
    padded: bool,
    share_prompts: bool,
    together: int = 1,
) -> list[list[Bundle]]:
    """This rank's micro-batches, as many as every other rank has; all ranks must call it.

    `together`: so many consecutive ranks have the same.
    """
    mine, groups = distributed.rank() // together, distributed.world_size() // together
    group, count = (mine, groups) if owners is None else (0, 1)
    own = [i for i in range(len(sequences)) if owners is None or owners[i] == mine * together]
    at_hand, masks = [sequences[i] for i in own], [trained[i] for i in own]
    micro_batches = plan(
        [len(s) for s in at_hand],
        ranks=count,
        tokens_per_microbatch=tokens_per_microbatch,
        padded=padded,
        prompts=prompts_of(at_hand, masks) if share_prompts else None,
    )[group]
    if owners is None:
        return micro_batches
    most = int(distributed.max_over_ranks(torch.tensor([len(micro_batches)])))
    renamed = [
        [replace(b, members=tuple(own[i] for i in b.members)) for b in micro] for micro in micro_batches
    ]
    return renamed + [[] for _ in range(most - len(renamed))]
