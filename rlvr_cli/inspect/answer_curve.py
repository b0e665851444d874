"""How likely a model finds an answer after every so many tokens of a response, from one cache of it.

Answer likelihood along a trajectory (RaML, 2505.19815): after the prompt, k tokens of the response and a text
that asks for the answer, L_k = -mean logprob of the answer's tokens. The response is read once. What asks is
appended at many places in one further pass: every copy sees the cache up to its own place, and itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rlvr_cli.otv.cache import ReadOnly, additive, refusal

LOGITS = 2**25
"""Most logits of one pass."""
SEEN = 2**24
"""Most entries of one pass's attention mask."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """Token ids of what is appended: a text that asks, the answer, and what closes it."""

    lead: list[int]
    answer: list[int]
    close: list[int]

    @property
    def tokens(self) -> list[int]:
        return self.lead + self.answer + self.close


@dataclass(kw_only=True)
class Points:
    """What a model says of the answer at K places."""

    losses: list[float]
    """L_k in nats a token."""
    spelled: list[bool]
    """Every token of the answer is the likeliest one: greedy decoding writes the answer."""
    closing: list[int]
    """The likeliest token after the answer."""

    def extend(self, other: Points) -> None:
        self.losses += other.losses
        self.spelled += other.spelled
        self.closing += other.closing


@torch.no_grad()
def from_cache(model: Any, tokens: list[int], ends: list[int], ask: Ask) -> Points:
    """At each of `ends` (tokens seen before what is appended), all from one pass over `tokens`.

    `model`: a causal language model in evaluation mode whose `otv.cache.refusal` is None.
    """
    device = model.get_input_embeddings().weight.device
    length, size = len(tokens), len(ask.tokens)
    ids_1L = torch.tensor([tokens], device=device)
    stored = model.get_decoder()(input_ids=ids_1L, use_cache=True).past_key_values
    words = model.config.get_text_config().vocab_size
    at_once = max(1, min(LOGITS // (words * size), int(SEEN / (length + 256)) // size, 256))
    found = Points(losses=[], spelled=[], closing=[])
    for first in range(0, len(ends), at_once):
        ends_M = torch.tensor(ends[first : first + at_once], device=device)
        positions_1Q = (ends_M[:, None] + torch.arange(size, device=device)).reshape(1, -1)
        logits_1QV = model(
            input_ids=torch.tensor([ask.tokens], device=device).repeat(1, len(ends_M)),
            attention_mask=additive(block_visible(ends_M, length, size)[None], model.dtype),
            position_ids=positions_1Q,
            past_key_values=ReadOnly(stored),
            use_cache=True,
        ).logits
        found.extend(_points(logits_1QV.reshape(len(ends_M), size, -1), ask))
    return found


@torch.no_grad()
def anew(model: Any, tokens: list[int], ends: list[int], ask: Ask) -> Points:
    """The same with a forward pass of its own at each place: for any causal model, and to compare with."""
    device = model.get_input_embeddings().weight.device
    found = Points(losses=[], spelled=[], closing=[])
    for end in ends:
        ids_1T = torch.tensor([tokens[:end] + ask.tokens], device=device)
        logits_1TV = model(input_ids=ids_1T, use_cache=False).logits
        found.extend(_points(logits_1TV[:, end:], ask))
    return found


def curve(model: Any, tokens: list[int], ends: list[int], ask: Ask, *, cached: bool) -> Points:
    return (from_cache if cached else anew)(model, tokens, ends, ask)


def cache_gap(model: Any, tokens: list[int], ends: list[int], ask: Ask) -> float | None:
    """Largest difference of L between both ways at three of `ends`; None where the cache cannot be read."""
    if refusal(model.config) is not None:
        return None
    some = [ends[0], ends[len(ends) // 2], ends[-1]]
    pairs = zip(
        from_cache(model, tokens, some, ask).losses, anew(model, tokens, some, ask).losses, strict=True
    )
    return max(abs(one - other) for one, other in pairs)


def block_visible(ends_M: Tensor, length: int, size: int) -> Tensor:
    """bool [M size, length + M size]: a token of copy m sees `ends_M[m]` cached tokens, and of its own copy
    those up to itself."""
    device, copies = ends_M.device, len(ends_M)
    before_QL = torch.arange(length, device=device) < ends_M.repeat_interleave(size)[:, None]
    own = torch.ones(size, size, dtype=torch.bool, device=device).tril()
    return torch.cat([before_QL, torch.block_diag(*[own] * copies).bool()], -1)


def _points(logits_MSV: Tensor, ask: Ask) -> Points:
    """From the logits after each token of what was appended."""
    start, count = len(ask.lead), len(ask.answer)
    answer_A = torch.tensor(ask.answer, device=logits_MSV.device)
    at_MAV = logits_MSV[:, start - 1 : start - 1 + count]
    logp_MA = at_MAV.float().log_softmax(-1).gather(-1, answer_A.expand(len(at_MAV), -1)[..., None])[..., 0]
    return Points(
        losses=(-logp_MA.double().mean(-1)).tolist(),
        spelled=(at_MAV.argmax(-1) == answer_A).all(-1).tolist(),
        closing=logits_MSV[:, start - 1 + count].argmax(-1).tolist(),
    )
