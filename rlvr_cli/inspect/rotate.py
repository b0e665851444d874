"""`rlvr inspect rotate`: another basis for a layer's attention, the same function.

Zhu et al. 2025 (arXiv 2511.08567), section 3: if training follows the geometry of the weights, an edited
layer's updates lose their overlap with those of the original model, and other layers keep theirs.

Values of head h are v_h = W_v,h x + b_h, and the output is the sum of W_o,h v_h over heads. For orthogonal R,
(R' W_v, R' b, W_o R) is the same function. So is any order of heads; with grouped queries the groups are
permuted, each with the query heads that read it. Positions (RoPE) turn queries and keys within a head, alike
in all heads, and norms of queries and keys within a head have one weight for all: both commute with the order
of heads, but not with a rotation of queries or keys, which there is none of here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rlvr_cli.core.errors import UserError


@dataclass(frozen=True)
class Heads:
    """The attention of a layer: `queries` heads of `size`, in groups that share one of `keys` heads."""

    queries: int
    keys: int
    size: int

    @property
    def shared(self) -> int:
        """Query heads that read the same keys and values."""
        return self.queries // self.keys


Layer = dict[str, Tensor]
"""`q_proj.weight` [queries * size, hidden], k_proj and v_proj [keys * size, hidden], o_proj [hidden,
queries * size], biases and norms where there are some."""


def rotate_values(layer: Layer, heads: Heads, seed: int) -> Layer:
    """V and O in a random orthogonal basis of each key-value head. Computed in fp64, stored as it was."""
    generator = torch.Generator().manual_seed(seed)
    turns = _orthogonal(heads, generator)  # [keys, size, size]
    found = dict(layer)
    for name in ("v_proj.weight", "v_proj.bias"):
        if name in layer:
            values = layer[name].double().view(heads.keys, heads.size, -1)
            found[name] = (turns.mT @ values).view(layer[name].shape).to(layer[name].dtype)
    output = layer["o_proj.weight"]
    cut = output.double().view(len(output), heads.queries, heads.size)
    each = turns.repeat_interleave(heads.shared, 0)  # [queries, size, size]
    turned = torch.einsum("dqi,qij->dqj", cut, each)
    found["o_proj.weight"] = turned.reshape(output.shape).to(output.dtype)
    return found


def _orthogonal(heads: Heads, generator: torch.Generator) -> Tensor:
    """A uniformly random orthogonal matrix for each key-value head: [keys, size, size]."""
    drawn = torch.randn(heads.keys, heads.size, heads.size, generator=generator, dtype=torch.float64)
    q, r = torch.linalg.qr(drawn)
    return q * r.diagonal(dim1=-2, dim2=-1).sign()[:, None, :]


def permute_heads(layer: Layer, heads: Heads, seed: int) -> Layer:
    """Key-value heads in another order, and query heads with them, these in another order within each group.

    Every number is copied, none is computed. The order is never the one there was, where there is another.
    """
    generator = torch.Generator().manual_seed(seed)
    order = _order(heads.keys, generator)
    inner = torch.stack([_order(heads.shared, generator) for _ in range(heads.keys)])
    queries = (order[:, None] * heads.shared + inner[order]).flatten()
    found = dict(layer)
    for name, tensor in layer.items():
        if name.startswith("q_proj"):
            found[name] = _reordered(tensor, queries, heads.size)
        elif name.startswith(("k_proj", "v_proj")):
            found[name] = _reordered(tensor, order, heads.size)
        elif name == "o_proj.weight":
            found[name] = _reordered(tensor.T, queries, heads.size).T.contiguous()
    return found


def _order(size: int, generator: torch.Generator) -> Tensor:
    """A random permutation that moves something."""
    order = torch.randperm(size, generator=generator)
    return order.roll(1) if torch.equal(order, torch.arange(size)) else order


def _reordered(tensor: Tensor, order: Tensor, size: int) -> Tensor:
    """Blocks of `size` rows in another order: block i is what block order[i] was."""
    return tensor.reshape(-1, size, *tensor.shape[1:])[order].reshape(tensor.shape).contiguous()


EDITS = {"values": rotate_values, "heads": permute_heads}
"""What may be done to a layer."""
KNOWN = {f"{name}_proj.{part}" for name in "qkvo" for part in ("weight", "bias")} | {
    "q_norm.weight",
    "k_norm.weight",
}


def heads_of(config: dict[str, Any], folder: Path) -> Heads:
    """From config.json; UserError where it does not say."""
    text = config.get("text_config") or config
    try:
        queries, hidden = int(text["num_attention_heads"]), int(text["hidden_size"])
        keys = int(text.get("num_key_value_heads") or queries)
        return Heads(queries, keys, int(text.get("head_dim") or hidden // queries))
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError):
        raise UserError(f"{folder}/config.json does not say how many attention heads there are") from None


def check(layer: Layer, heads: Heads, where: str) -> None:
    """UserError where a layer's attention is not four projections of these heads, and norms alike in all."""
    if other := sorted(set(layer) - KNOWN):
        raise UserError(
            f"{where}{other[0]}: attention with such a weight is not rotated; its heads may differ in it"
        )
    wanted = {"q_proj": heads.queries, "k_proj": heads.keys, "v_proj": heads.keys}
    rows = {name: count * heads.size for name, count in wanted.items()}
    for name, count in rows.items():
        weight = layer.get(f"{name}.weight")
        if weight is None or weight.shape[0] != count:
            found = "is not there" if weight is None else f"has {weight.shape[0]} rows"
            raise UserError(
                f"{where}{name}.weight {found}, and config.json promises {count}; fused, gated, latent and "
                "linear attention is not rotated"
            )
    output = layer.get("o_proj.weight")
    if output is None or output.shape[1] != heads.queries * heads.size:
        raise UserError(f"{where}o_proj.weight does not have {heads.queries * heads.size} columns")
    for name in ("q_norm.weight", "k_norm.weight"):
        if name in layer and len(layer[name]) != heads.size:
            raise UserError(f"{where}{name} has a weight for every head, which another order would mix up")
