"""What the forward pass keeps for the backward pass, per token.

Counted on transformers' decoder layers; tests/planning/ compares with the tensors autograd saves.
"""

from __future__ import annotations

from rlvr_cli.engine.logprobs import CHUNK_ELEMENTS
from rlvr_cli.planning.shapes import Shape

LOGIT_COPIES = {True: 5, False: 4}
"""fp32 tensors of a chunk's logits at once, with and without gradients; measured by benchmarks/memory.py."""


def layer(shape: Shape, width: int, *, attention: str, row: int, packed: bool) -> float:
    """Bytes that one layer keeps of one token of a row of `row` tokens; `width`: bytes of a number."""
    norms = 2 * (3 * width * shape.hidden if width == 4 else 8 * shape.hidden) + 8
    whole = packed or attention == "eager"  # keys and values are repeated for every query head
    heads = width * (2 * shape.queries + 2 * (shape.queries if whole else shape.keys))
    if shape.normed_queries:
        heads += (8 if width == 4 else 6) * (shape.queries + shape.keys)
    if attention == "eager":
        heads += shape.heads * row * (4 if width == 4 else 6)
    else:
        heads += 4 * shape.heads + (width * row if packed else 0)
    return norms + heads + width * shape.inner * (4 if shape.gated else 2)


def ends(shape: Shape, width: int) -> float:
    """Bytes outside the layers: embedding, last norm, the hidden states that predict a token."""
    return shape.hidden * (10 if width == 4 else 7) + width * shape.hidden


def kept(
    shape: Shape, width: int, tokens: int, *, attention: str, row: int, packed: bool, checkpointing: bool
) -> float:
    """Bytes kept of a micro-batch; recomputing, one layer at a time is held besides the layers' inputs."""
    one = layer(shape, width, attention=attention, row=row, packed=packed)
    layers = width * shape.hidden * shape.layers + one if checkpointing else one * shape.layers
    return tokens * (layers + ends(shape, width))


def passing(shape: Shape, width: int, tokens: int) -> float:
    """Bytes of what is held for a moment: the feed-forward layer and its gradients."""
    return tokens * width * (4 * shape.inner + 4 * shape.hidden)


def logits(shape: Shape, width: int, tokens: int, *, gradient: bool) -> float:
    """Bytes of a chunk of logits while it is scored."""
    elements = min(tokens, max(1, CHUNK_ELEMENTS // shape.vocabulary)) * shape.vocabulary
    return elements * (4 * LOGIT_COPIES[gradient] + (width if width < 4 else 0))
