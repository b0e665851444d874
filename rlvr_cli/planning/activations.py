"""What the forward pass keeps for the backward pass, per token.

Counted on transformers' decoder layers; tests/planning/ compares with the tensors autograd saves.
"""

from __future__ import annotations

from rlvr_cli.engine.logprobs import chunk_elements
from rlvr_cli.planning.shapes import Shape

LOGIT_COPIES = {False: 3, True: 5}
"""fp32 tensors of a chunk's logits at once, without and with gradients of the entropy; one fewer
without at temperature 1."""


def layer(shape: Shape, width: int, *, attention: str, row: int, together: int = 1) -> float:
    """Bytes that one layer keeps of one token; `width`: bytes of a number.

    attention: `Job.attention`; row: tokens of a padded row, whose scores eager attention keeps. Where prompts
    are shared it is less: micro-batches are cut so (engine/pack.py, REPEATED). together: ranks that share a
    row; of every token it is then the part of one that a rank has.
    """
    norms = 2 * (3 * width * shape.hidden if width == 4 else 8 * shape.hidden) + 8
    keys = shape.queries if attention == "eager" else shape.shared_keys(together)  # eager repeats them
    heads = width * (2 * shape.queries + 2 * keys)
    if attention == "runs" or together > 1:
        heads += width * shape.queries  # the outputs of all runs in one piece, or back from the other ranks
    if shape.normed_queries:
        heads += (8 if width == 4 else 6) * (shape.queries + shape.keys)
    scores = row * (4 if width == 4 else 6) if attention == "eager" else 4
    return norms + heads + shape.heads * scores + width * shape.inner * (4 if shape.gated else 2)


def ends(shape: Shape, width: int) -> float:
    """Bytes outside the layers: embedding, last norm, the hidden states that predict a token."""
    return shape.hidden * (10 if width == 4 else 7) + width * shape.hidden


def kept(
    shape: Shape,
    width: int,
    tokens: int,
    *,
    attention: str,
    row: int,
    checkpointing: bool,
    together: int = 1,
) -> float:
    """Bytes kept of a micro-batch; recomputing, one layer at a time is held besides the layers' inputs.

    tokens: those of this rank, where several share the micro-batch.
    """
    one = layer(shape, width, attention=attention, row=row, together=together)
    layers = width * shape.hidden * shape.layers + one if checkpointing else one * shape.layers
    return tokens * (layers + ends(shape, width) + dora(shape, width, checkpointing=checkpointing))


def dora(shape: Shape, width: int, *, checkpointing: bool) -> float:
    """Bytes of a token that DoRA keeps: each layer's output, and that of its adapters, to scale them."""
    return 2 * width * shape.dora_outputs / (shape.layers if checkpointing else 1)


def passing(shape: Shape, width: int, tokens: int) -> float:
    """Bytes of what is held for a moment: the feed-forward layer and its gradients."""
    turned = 4 * shape.dora_largest  # weight and product of one layer with DoRA, to take their norm
    return width * (tokens * (4 * shape.inner + 4 * shape.hidden) + turned)


def logits(shape: Shape, width: int, tokens: int, memory: float | None, *, entropy: bool = False) -> float:
    """Bytes of a chunk of logits of `width` bytes while it is scored; memory: the GPU's, None: a CPU.

    entropy: whether entropies have a gradient.
    """
    elements = min(tokens, max(1, chunk_elements(memory) // shape.vocabulary)) * shape.vocabulary
    return elements * (4 * LOGIT_COPIES[entropy] + (width if width < 4 else 0))
