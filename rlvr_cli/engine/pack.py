"""Sequences -> micro-batches, balanced over ranks.

A micro-batch is one row of sequences laid end to end: attention keeps them apart (`attention.py`), nothing is
padded, and a prompt that several of them begin with is in the row once where that saves enough. For models
that cannot be computed like this, and attention implementations that do not know of it, it is rows of one
sequence each, padded on the right: under causal attention no real token sees the padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heapreplace
from itertools import accumulate, pairwise

import numpy as np
import torch
from torch import Tensor

from rlvr_cli.core import distributed
from rlvr_cli.core.types import Batch
from rlvr_cli.engine.attention import Layout

WORTH_SHARING = 0.2
"""Share of a group's tokens that having its prompt once must save."""
REPEATED = 0.25
"""Memory of a token that only attention lays out again, against one of the row: an upper bound, as
queries, keys and values are a tenth of the activations of a 1.5B model."""


@dataclass(slots=True, kw_only=True)
class MicroBatch:
    """R rows of L tokens (one row, but for padded ones) and where their n trained tokens are."""

    input_ids: Tensor
    """[R, L]"""
    position_ids: Tensor
    """[R, L]; those of each sequence count from 0."""
    layout: Layout | None
    """Where the sequences of the one row lie; None: padded rows."""
    predictors_n: Tensor
    """Index into the flattened rows of the position that predicts each trained token."""
    targets_n: Tensor
    """The trained tokens."""
    tokens_n: Tensor
    """Index of each trained token in the batch's flat _N tensors."""
    lengths_b: Tensor
    """Trained tokens of each sequence here."""
    members: list[int] = field(default_factory=list)
    """Its sequences, as they are counted in the batch."""
    places: list[np.ndarray] = field(default_factory=list)
    """Where the tokens of each lie in the flattened rows."""

    def row(self) -> tuple[Tensor, Tensor, Layout | None]:
        """Tokens, positions and layout on the device."""
        device = distributed.device()
        layout = None if self.layout is None else self.layout.to(device)
        return self.input_ids.to(device), self.position_ids.to(device), layout


@dataclass(frozen=True, slots=True)
class Bundle:
    """Sequences that are computed together, and the prompt they share."""

    members: tuple[int, ...]
    lengths: tuple[int, ...]
    """Tokens of each member."""
    prompt: int = 0
    """First tokens of all members, in the row once; 0: nothing is shared."""

    @property
    def tokens(self) -> int:
        """In the row."""
        return sum(self.lengths) - (len(self.members) - 1) * self.prompt

    @property
    def cost(self) -> int:
        """What it takes of a budget: a token that attention alone sees again counts `REPEATED`."""
        return self.tokens + int(REPEATED * (sum(self.lengths) - self.tokens))


def alone(sequences: Sequence[np.ndarray], members: Sequence[int]) -> list[Bundle]:
    """Each of these by itself, in this order."""
    return [Bundle((i,), (len(sequences[i]),)) for i in members]


def prompts_of(sequences: Sequence[np.ndarray], trained: Sequence[np.ndarray]) -> list[bytes]:
    """What comes before each sequence's first trained token, as bytes: equal prompts are equal."""
    return [s[: int(m.argmax())].astype(np.int32).tobytes() for s, m in zip(sequences, trained, strict=True)]


def bundles_of(lengths: Sequence[int], prompts: Sequence[bytes] | None, most: int) -> list[Bundle]:
    """Sequences by equal prompt (int32 bytes) where having it once saves enough, largest first.

    No bundle of several takes more than `most` tokens of budget. prompts None: nothing is shared.
    """
    found: dict[bytes | int, list[int]] = {}
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        found.setdefault(i if prompts is None else prompts[i], []).append(i)
    bundles: list[Bundle] = []
    for members in found.values():
        prompt = 0 if prompts is None else len(prompts[members[0]]) // 4
        saved = (len(members) - 1) * prompt
        if saved <= WORTH_SHARING * sum(lengths[i] for i in members):
            bundles += [Bundle((i,), (lengths[i],)) for i in members]
        else:
            bundles += split(members, lengths, prompt, most)
    return sorted(bundles, key=lambda b: (-b.cost, b.members))


def split(members: list[int], lengths: Sequence[int], prompt: int, most: int) -> list[Bundle]:
    """These, longest first, as few bundles of about the same size as `most` tokens of budget allow."""
    for parts in range(1, len(members) + 1):
        dealt = [members[p::parts] for p in range(parts)]
        bundles = [Bundle(tuple(d), tuple(lengths[i] for i in d), prompt if len(d) > 1 else 0) for d in dealt]
        if all(one.cost <= most for one in bundles):
            break
    return bundles


def plan(
    lengths: Sequence[int],
    *,
    ranks: int,
    tokens_per_microbatch: int,
    padded: bool = False,
    prompts: Sequence[bytes] | None = None,
) -> list[list[list[Bundle]]]:
    """Bundles as [rank][micro-batch][bundle]; every rank gets as many micro-batches.

    They are dealt, and each goes into the first micro-batch of its rank that has room for it. A bundle
    above the budget is a micro-batch of its own. Ranks that run out get empty micro-batches, because with
    ZeRO every rank must take part in every forward.
    """
    shares = deal(lengths, ranks=ranks, tokens_per_microbatch=tokens_per_microbatch, prompts=prompts)
    plans = [cut(share, tokens_per_microbatch, padded) for share in shares]
    count = max(1, *(len(p) for p in plans))
    return [p + [[] for _ in range(count - len(p))] for p in plans]


def deal(
    lengths: Sequence[int],
    *,
    ranks: int,
    tokens_per_microbatch: int,
    prompts: Sequence[bytes] | None = None,
) -> list[list[Bundle]]:
    """Bundles of each rank, dealt largest first to the one with the fewest tokens.

    No rank has more than an equal part of all and one bundle besides (by `Bundle.cost`).
    `prompts`: what the sequences begin with, where that may be in a row once for several of them.
    """
    bundles = bundles_of(lengths, prompts, tokens_per_microbatch)
    if ranks > 1:  # a prompt's sequences must not all be one rank's where there is little else for the others
        fair = -(-sum(one.cost for one in bundles) // ranks)
        bundles = bundles_of(lengths, prompts, min(tokens_per_microbatch, fair))
    loads = [(0, rank) for rank in range(ranks)]  # a heap: of equal loads the first rank's comes first
    shares: list[list[Bundle]] = [[] for _ in range(ranks)]
    for one in bundles:
        load, rank = loads[0]
        shares[rank].append(one)
        heapreplace(loads, (load + one.cost, rank))
    return shares


def cut(bundles: list[Bundle], budget: int, padded: bool) -> list[list[Bundle]]:
    """Micro-batches of bundles, largest first; padded, the first sets the width of all rows."""
    micro_batches: list[list[Bundle]] = []
    free: list[int] = []
    for one in bundles:
        size = 1 if padded else one.cost
        at = next((m for m, left in enumerate(free) if left >= size), len(free))
        if at == len(free):
            micro_batches.append([])
            free.append(max(budget // one.cost, 1) if padded else max(budget, one.cost))
        micro_batches[at].append(one)
        free[at] -= size
    return micro_batches


def collate(
    bundles: list[Bundle],
    sequences: Sequence[np.ndarray],
    trained: Sequence[np.ndarray],
    starts_B: np.ndarray,
    *,
    padded: bool = False,
) -> MicroBatch:
    """Tensors of one micro-batch; `starts_B[i]` is where sequence i begins in the flat _N tensors."""
    empty = not bundles
    if empty:  # an empty share still runs one token through the model, with nothing to train
        bundles, starts_B = [Bundle((0,), (1,))], np.zeros(1, np.int64)
        sequences, trained = [np.zeros(1, np.int32)], [np.zeros(1, bool)]
    rows = len(bundles) if padded else 1
    width = max(b.tokens for b in bundles) if padded else sum(b.tokens for b in bundles)
    input_ids = np.zeros(rows * width, np.int64)
    # Padding continues the positions of its row: a jump would read as one more sequence.
    position_ids = np.tile(np.arange(width), rows)
    members = [i for one in bundles for i in one.members]
    places = [place for row in placed(bundles, width if padded else None) for place in row]
    for i, place in zip(members, places, strict=True):
        input_ids[place], position_ids[place] = sequences[i], np.arange(len(place))
    where = [np.flatnonzero(trained[i]) for i in members]
    tokens = [starts_B[i] + np.arange(len(w)) for i, w in zip(members, where, strict=True)]
    return MicroBatch(
        input_ids=torch.from_numpy(input_ids).view(rows, width),
        position_ids=torch.from_numpy(position_ids).view(rows, width),
        layout=None if padded else lay_out(places, width),
        predictors_n=joined([place[w - 1] for place, w in zip(places, where, strict=True)]),
        targets_n=joined([sequences[i][w] for i, w in zip(members, where, strict=True)]),
        tokens_n=joined(tokens),
        lengths_b=torch.tensor([len(w) for w in where]),
        members=[] if empty else members,
        places=[] if empty else places,
    )


def placed(bundles: list[Bundle], width: int | None) -> Iterator[list[np.ndarray]]:
    """Where each bundle's sequences lie in the flattened rows, of `width` tokens where padded."""
    column = 0
    for row, one in enumerate(bundles):
        base = column if width is None else row * width
        ends = base + one.prompt + np.cumsum([0, *(n - one.prompt for n in one.lengths)])
        prompt = np.arange(base, base + one.prompt)
        yield [np.concatenate([prompt, np.arange(a, b)]) for a, b in pairwise(ends)]
        column = base + one.tokens


def lay_out(places: list[np.ndarray], width: int) -> Layout:
    """What attention needs to know of a row of `width` tokens whose sequences lie at these places."""
    laid = sum(len(place) for place in places)
    if laid > width:  # prompts are shared: attention lays every sequence out whole, longest first
        places = sorted(places, key=len, reverse=True)
    lengths = tuple(len(place) for place in places)
    starts = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
    if laid == width:
        return Layout(lengths, starts)
    expand = joined(places)
    collect = torch.empty(width, dtype=torch.int64)
    collect[expand.flip(0)] = torch.arange(laid).flip(0)
    return Layout(lengths, starts, expand, collect)


def joined(parts: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.concatenate(parts).astype(np.int64))


def select(batch: Batch, micro: MicroBatch) -> dict[str, Tensor]:
    """The batch's per-token tensors at this micro-batch's tokens, on the device."""
    device = distributed.device()
    picked = {name: x_N[micro.tokens_n].to(device) for name, x_N in batch.per_token().items()}
    return picked | {"lengths": micro.lengths_b.to(device), "tokens": micro.tokens_n}
