"""A micro-batch cut over the ranks that share it, and the scores of all of it on each of them.

A rank runs the model over its piece of the row, and the output layer over the trained tokens that are
predicted there. The scores are then gathered, so that the loss sees whole sequences, as on one rank: every
rank of a group computes the same loss, whose gradient enters the model at the rank's own scores. Summed over
the group that is the gradient of the loss, as every token is one rank's own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from rlvr_cli.engine.pack import MicroBatch
from rlvr_cli.engine.ulysses import Ulysses


@dataclass(frozen=True, slots=True)
class Piece:
    """A rank's part of a micro-batch."""

    micro: MicroBatch
    """Its tokens, and those trained tokens that they predict; the layout is that of the whole row."""
    own: Tensor
    """Which of the whole micro-batch's trained tokens these are."""
    count: int
    """Trained tokens of the whole micro-batch."""
    ranks: Ulysses

    def whole(self, scores: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Scores of all the micro-batch's trained tokens from those of the piece; only these have a graph.

        Where the piece has none they are one token's, a placeholder: it stays in the graph, as the backward
        pass through attention needs every rank.
        """
        if self.ranks.size == 1 or not self.count:
            return scores
        own = self.own.to(scores[0].device)
        mine = [score[: len(own)] for score in scores]
        found = scores[0].new_zeros(len(scores), self.count)
        found[:, own] = torch.stack(mine).detach()
        gathered = self.ranks.summed(found)
        return tuple(row.index_copy(0, own, score) for row, score in zip(gathered, mine, strict=True))


def cut(micro: MicroBatch, ranks: Ulysses) -> Piece:
    """This rank's piece: as many tokens as every other's, the last filled up with some that count nowhere."""
    count = len(micro.tokens_n)
    if ranks.size == 1:
        return Piece(micro, torch.arange(count), count, ranks)
    if micro.layout is None:
        raise ValueError("padded rows cannot be cut over ranks")
    length = micro.input_ids.shape[1]
    each = -(-length // ranks.size)
    first = ranks.place * each
    inside_n = (micro.predictors_n >= first) & (micro.predictors_n < first + each)
    own = inside_n.nonzero().flatten()
    tokens, positions = (
        functional.pad(row, (0, each * ranks.size - length))[:, first : first + each]
        for row in (micro.input_ids, micro.position_ids)
    )
    part = replace(
        micro,
        input_ids=tokens,
        position_ids=positions,
        layout=replace(micro.layout, ulysses=ranks),
        predictors_n=micro.predictors_n[own] - first,
        targets_n=micro.targets_n[own],
        tokens_n=micro.tokens_n[own],
    )
    return Piece(part, own, count, ranks)
