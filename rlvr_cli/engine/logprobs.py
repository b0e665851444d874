"""Log-probability, entropy and greedy hits of chosen tokens, never holding [tokens, vocabulary] in fp32.

Only the positions that predict a trained token go through the output layer, a chunk at a time; the backward
pass recomputes each but the last. The same code serves training, old and reference logprobs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rlvr_cli.core import distributed
from rlvr_cli.engine.attention import Layout, arguments
from rlvr_cli.engine.chunk_scores import chunk_scores
from rlvr_cli.vision.processor import BAN
from rlvr_cli.vision.shown import Shown, embedded, tower_of


def chunk_elements(memory: float | None) -> int:
    """Logits held at once on a device of `memory` bytes; None: on a CPU.

    2^25 fp32 elements are 128 MiB; three times that is held at once. A chunk's product reads
    the whole output layer and its gradient is written and added once a chunk, so on a GPU more at once is
    faster.
    """
    if memory is None:
        return 1 << 25
    return 1 << 28 if memory >= 44 * 2**30 else 1 << 27  # a "48 GB" device has a little less


def here() -> int:
    """`chunk_elements` of this process's device."""
    device = distributed.device()
    if device.type != "cuda":
        return chunk_elements(None)
    return chunk_elements(torch.cuda.get_device_properties(device).total_memory)


Scores = tuple[Tensor, ...]
"""logprobs_n, entropies_n (of softmax(logits / temperature), nats), hits_n (1: the most probable token), and
what a `Compare` adds."""
Compare = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, ...]]
"""(fp32 logits_cV / temperature with their gradient, targets_c, which of the n tokens these c are) -> further
scores _c. It is called again when the backward pass recomputes a chunk."""
COMPARING = 4
"""Tensors of a chunk's size that a comparison holds beside the logits: a chunk is smaller by that."""


def token_scores(
    hidden_nD: Tensor,
    targets_n: Tensor,
    logits: Callable[[Tensor], Tensor],
    *,
    vocabulary: int,
    temperature: float,
    entropy_gradient: bool = False,
    elements: int | None = None,
    compare: Compare | None = None,
) -> Scores:
    """Scores of n tokens from hidden states, `elements` logits at a time (None: `here()`).

    `entropy_gradient` keeps the entropies differentiable (entropy bonus); otherwise they are constants.
    """

    def score(hidden_cD: Tensor, targets_c: Tensor, places_c: Tensor) -> Scores:
        logits_cV = logits(hidden_cD)
        scores = chunk_scores(logits_cV, targets_c, temperature, entropy_gradient)
        if compare is None:
            return scores
        wide_cV = logits_cV if logits_cV.dtype is torch.float64 else logits_cV.float()
        return *scores, *compare(wide_cV / temperature, targets_c, places_c)

    size = max(1, (elements or here()) // vocabulary // (1 if compare is None else COMPARING))
    # The backward pass begins with the last chunk: it needs no recomputation, and is a full one.
    ends = range(len(targets_n), 0, -size)[::-1]
    sizes = [end - max(0, end - size) for end in ends]
    parts = []
    places_n = torch.arange(len(targets_n), device=targets_n.device)
    chunks = zip(hidden_nD.split(sizes), targets_n.split(sizes), places_n.split(sizes), strict=True)
    for end, (hidden_cD, targets_c, places_c) in zip(ends, chunks, strict=True):
        if torch.is_grad_enabled() and end < len(targets_n):
            parts.append(checkpoint(score, hidden_cD, targets_c, places_c, use_reentrant=False))
        else:
            parts.append(score(hidden_cD, targets_c, places_c))
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))


class Scorer(nn.Module):
    """The module DeepSpeed wraps: a Hugging Face causal LM whose forward returns token scores."""

    def __init__(self, model: Any, *, fp32_head: bool = False, banned: Sequence[int] = ()) -> None:
        """`banned`: tokens that are never sampled, whose logits are lowered as the engines lower them."""
        super().__init__()
        self.model = model
        causal = model.get_base_model() if hasattr(model, "get_base_model") else model  # unwrap peft
        self._decoder = [causal.get_decoder()]  # in a list: not registered a second time
        self._tower = [tower_of(causal)]
        self.head = OutputLayer(causal, fp32=fp32_head, banned=banned)
        self.vocabulary: int = causal.config.get_text_config().vocab_size

    def forward(
        self,
        input_ids: Tensor,
        position_ids: Tensor,
        layout: Layout | None,
        predictors_n: Tensor,
        targets_n: Tensor,
        temperature: float,
        entropy_gradient: bool = False,
        compare: Compare | None = None,
        states: bool = False,
        routes: object = None,
        shown: Shown | None = None,
    ) -> Scores:
        """Scores of the n trained tokens; of one placeholder token when there are none (an empty share).

        `states`: in their place the hidden states that predict them, _nD, alone. `routes`: what a mixture of
        experts is told to choose (`routing_replay.Targets`). `shown`: the images of the rows, whose positions
        then have three axes.
        """
        told: dict[str, Any] = {} if routes is None else {"routes": routes}
        if shown is not None:
            told |= self.embedded(input_ids, shown)
        hidden_nD = hidden_states(self._decoder[0], input_ids, position_ids, layout, **told)
        # An empty share must still run the output layer: with ZeRO-3 its weights are gathered by all ranks.
        empty = len(predictors_n) == 0
        chosen_nD = hidden_nD[:1] if empty else hidden_nD[predictors_n]
        if states:
            return (chosen_nD,)
        scores: Scores = self.head(
            chosen_nD,
            input_ids.flatten()[:1] if empty else targets_n,
            temperature,
            entropy_gradient,
            compare,
        )
        return scores

    def embedded(self, input_ids: Tensor, shown: Shown) -> dict[str, Any]:
        """What the decoder is called with in the place of the tokens, where images are among them."""
        tower: Any = self._tower[0]
        frozen = not any(p.requires_grad for p in tower.parameters())
        return embedded(self._decoder[0], tower, input_ids, shown, frozen=frozen)


class OutputLayer(nn.Module):
    """From hidden states to token scores through the model's output layer, in chunks.

    One module for all chunks: under ZeRO-3 the weights are gathered once, however many chunks there are.
    Ranks have different numbers of tokens, and with a gather for every chunk they would wait for each other
    for ever.
    """

    def __init__(self, causal: Any, *, fp32: bool, banned: Sequence[int] = ()) -> None:
        super().__init__()
        layer, text = causal.get_output_embeddings(), causal.config.get_text_config()
        self._layer = [layer]  # in a list: it stays the model's
        import deepspeed  # here, as `rlvr plan` reads this file: its start says things on standard output

        for parameter in layer.parameters():
            deepspeed.zero.register_external_parameter(self, parameter)
        self.fp32 = fp32
        self.banned = list(banned)
        self._softcap: float | None = getattr(text, "final_logit_softcapping", None)
        # Cohere multiplies its logits, Granite divides them.
        self._scale: float = getattr(text, "logit_scale", None) or 1 / (
            getattr(text, "logits_scaling", None) or 1
        )

    def forward(
        self,
        hidden_nD: Tensor,
        targets_n: Tensor,
        temperature: float,
        entropy_gradient: bool,
        compare: Compare | None = None,
    ) -> Scores:
        linear = self.linear()
        return token_scores(
            hidden_nD,
            targets_n,
            lambda hidden_cD: self.scaled(linear(hidden_cD)),
            vocabulary=self.vocabulary,
            temperature=temperature,
            entropy_gradient=entropy_gradient,
            compare=compare,
        )

    @property
    def layer(self) -> Any:
        """The model's own output layer."""
        return self._layer[0]

    @property
    def vocabulary(self) -> int:
        """Logits of a token."""
        return int(getattr(self.layer, "base_layer", self.layer).out_features)

    def logits(self, hidden_nD: Tensor) -> Tensor:
        """[n, D] -> [n, V], all at once and without gradient; the weights must be whole."""
        with torch.no_grad():
            return self.scaled(self.linear()(hidden_nD))

    def linear(self) -> Callable[[Tensor], Tensor]:
        """[c, D] -> [c, V]. Calls no module: its ZeRO-3 hooks would gather weights for every chunk."""
        layer = self._layer[0]
        base = getattr(layer, "base_layer", layer)
        # One fp32 copy for all chunks, in which their gradients are also added up.
        cast = (lambda x: x.float()) if self.fp32 else (lambda x: x)
        weight, bias = cast(base.weight), None if base.bias is None else cast(base.bias)
        names = [] if base is layer or layer.disable_adapters else layer.active_adapters
        adapters = [
            (
                getattr(layer.lora_dropout[n], "p", 0.0),
                layer.lora_A[n].weight,
                layer.lora_B[n].weight,
                layer.scaling[n],
            )
            for n in names
        ]

        def logits(hidden_cD: Tensor) -> Tensor:
            logits_cV = F.linear(cast(hidden_cD), weight, bias)
            for share, a, b, scaling in adapters:
                dropped_cD = F.dropout(hidden_cD, share, layer.training)
                logits_cV = logits_cV + cast(F.linear(F.linear(dropped_cD, a), b) * scaling)
            return logits_cV

        return logits

    def scaled(self, logits_nV: Tensor) -> Tensor:
        """With the scalings the model's own forward applies."""
        if self._scale != 1.0:
            logits_nV = logits_nV * self._scale
        if self._softcap is not None:
            logits_nV = self._softcap * torch.tanh(logits_nV / self._softcap)
        if self.banned:
            logits_nV[:, self.banned] += BAN
        return logits_nV


def hidden_states(
    decoder: nn.Module,
    input_ids: Tensor,
    position_ids: Tensor,
    layout: Layout | None,
    inputs_embeds: Tensor | None = None,
    **told: object,
) -> Tensor:
    """Last hidden states of the tokens of all rows laid end to end: [R * L, D]. `told`: to every layer.

    `inputs_embeds` [R, L, D] in the place of the tokens' own, where images are among them.
    """
    tokens = {"input_ids": input_ids} if inputs_embeds is None else {"inputs_embeds": inputs_embeds}
    decoded = decoder(
        **tokens,
        position_ids=position_ids,
        attention_mask=None,
        use_cache=False,
        **arguments(decoder, layout),
        **told,
    )
    states: Tensor = decoded.last_hidden_state
    return states.flatten(0, 1)
