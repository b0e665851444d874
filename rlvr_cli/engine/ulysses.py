"""Ulysses: ranks that share a row of tokens, a piece each, and in attention all tokens, some heads each.

Outside attention a rank computes its own tokens. Before it one all-to-all gives every rank all tokens for its
share of the heads, and after it another gives it its own tokens with all heads (Jacobs et al., 2023,
arXiv:2309.14509). DeepSpeed's class for transformers (0.19.8) gathers positions in every layer besides, and
knows nothing of where sequences lie in a row: what is taken from it is the way of computing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional

from rlvr_cli.core import distributed
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.heartbeat import heart
from rlvr_cli.schema import Trainer


@dataclass(frozen=True, eq=False)
class Ulysses:
    """`size` consecutive ranks that compute the same micro-batches together; 1: a rank by itself."""

    size: int = 1
    place: int = 0
    """Of this rank among them."""
    group: Any = None
    """torch's process group of them."""

    @property
    def leads(self) -> bool:
        """Whether this rank is the first of them: what all of them know counts once, with this one."""
        return self.place == 0

    def by_heads(self, ragged: list[Tensor], tokens: int) -> list[Tensor]:
        """Query [t, H, D], key and value [t, K, D] of the own piece -> of the row, for a share of the heads.

        `tokens`: of the row; what fills the last piece up is cut off. Where K is below `size`, neighbouring
        ranks get the same key-value head.
        """
        dealt = [self._repeated(x).unflatten(1, (self.size, -1)) for x in ragged]  # [t, ranks, heads, D]
        sent = torch.cat([x.flatten(2).transpose(0, 1) for x in dealt], 2)
        got = self.exchange(sent).flatten(0, 1)[:tokens]
        shares = got.split([x[0, 0].numel() for x in dealt], 1)
        return [share.unflatten(1, x.shape[2:]) for share, x in zip(shares, dealt, strict=True)]

    def by_tokens(self, out_THD: Tensor) -> Tensor:
        """Attention of a share of the heads to the whole row -> of all heads, at the own piece's tokens."""
        spare = -len(out_THD) % self.size
        filled = functional.pad(out_THD, (0, 0, 0, 0, 0, spare)) if spare else out_THD
        return self.exchange(filled.unflatten(0, (self.size, -1))).transpose(0, 1).flatten(1, 2)

    def _repeated(self, x: Tensor) -> Tensor:
        """With as many heads as ranks, where there are fewer."""
        return x.repeat_interleave(self.size // x.shape[1], 1) if x.shape[1] < self.size else x

    def exchange(self, sent: Tensor) -> Tensor:
        """`sent[r]` to rank r of these, for what each had for this one, in their order; differentiable."""
        got: Tensor = _Exchange.apply(sent, self)
        return got

    def traded(self, sent: Tensor) -> Tensor:
        """The same, without derivative."""
        got = torch.empty_like(sent)
        with heart.waiting("all-to-all"):
            dist.all_to_all_single(got, sent, group=self.group)
        return got

    def summed(self, values: Tensor) -> Tensor:
        """Over these ranks, in place; the same on each, bit by bit."""
        if self.size > 1:
            with heart.waiting("sum"):
                dist.all_reduce(values, group=self.group)
        return values


class _Exchange(torch.autograd.Function):
    """What was sent comes back as gradient on the same way."""

    @staticmethod
    def forward(ctx: Any, sent: Tensor, ranks: Ulysses) -> Tensor:
        ctx.ranks = ranks
        return ranks.traded(sent.contiguous())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.ranks.traded(gradient.contiguous()), None


ALONE = Ulysses()


def share_rows(settings: Trainer, config: Any, *, packed: bool) -> Ulysses:
    """This rank among those it shares the rows of a model with; all ranks must call it.

    Raises UserError where ranks or model cannot be divided so.
    """
    size = settings.sequence_parallel
    if size == 1:
        return ALONE
    ranks, heads = distributed.world_size(), Heads.of(config)
    if why := settings.no_groups(ranks) or heads.no_shares(size, packed=packed):
        raise UserError(why)
    return _group_of(size)


@cache
def _group_of(size: int) -> Ulysses:
    """Of all models that are trained: they compute one after the other."""
    group, _ = dist.new_subgroups(group_size=size)
    return Ulysses(size, distributed.rank() % size, group)


@dataclass(frozen=True, kw_only=True)
class Heads:
    """What a model's config says of its attention."""

    kind: str
    """`model_type`"""
    queries: int
    keys: int
    """Key-value heads."""
    rotations: tuple[str, ...]
    """Types of rotary embedding, of all kinds of layers."""

    @classmethod
    def of(cls, config: Any) -> Heads:
        text = config.get_text_config()
        queries = int(text.num_attention_heads)
        keys = int(getattr(text, "num_key_value_heads", None) or queries)
        found = getattr(text, "rope_parameters", None) or {}
        parts = [found, *(part for part in found.values() if isinstance(part, dict))]
        turned = {str(part["rope_type"]) for part in parts if "rope_type" in part}
        return cls(kind=str(text.model_type), queries=queries, keys=keys, rotations=tuple(sorted(turned)))

    def no_shares(self, size: int, *, packed: bool) -> str | None:
        """Why this attention cannot be shared out among `size` ranks; None where it can.

        packed: it is computed by `attention.packed_attention`.
        """
        if size == 1:
            return None
        said = f"trainer.sequence_parallel is {size}, and"
        moving = [kind for kind in self.rotations if "dynamic" in kind or kind == "longrope"]
        if not packed:
            return (
                f"{said} the attention of '{self.kind}' is not computed over sequences laid end to end; "
                "set trainer.sequence_parallel=1"
            )
        if self.queries % size:
            return f"{said} '{self.kind}' has {self.queries} attention heads; set a divisor of {self.queries}"
        if self.keys % size and size % self.keys:
            return (
                f"{said} '{self.kind}' has {self.keys} key-value heads; set a divisor or a multiple of that"
            )
        if moving:
            return (
                f"{said} rotary positions of '{self.kind}' ({moving[0]}) depend on the longest sequence of a "
                "row, of which a rank sees a piece; set trainer.sequence_parallel=1"
            )
        return None
