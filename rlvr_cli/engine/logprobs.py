"""Log-probability, entropy and greedy hits of chosen tokens, never holding [tokens, vocabulary] in fp32.

Only the positions that predict a trained token go through the output layer, a chunk at a time; with
more than one chunk the backward pass recomputes each. The same code serves training, old and
reference logprobs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

CHUNK_ELEMENTS = 1 << 25
"""Logits held at once: 2^25 fp32 elements are 128 MiB; with gradients about five times that was measured."""


Scores = tuple[Tensor, Tensor, Tensor]
"""logprobs_n, entropies_n (of softmax(logits / temperature), nats), hits_n (1: the most probable token)."""


def chunk_scores(logits_nV: Tensor, targets_n: Tensor, temperature: float, entropy_gradient: bool) -> Scores:
    """Scores of one chunk, in fp32."""
    logits_nV = logits_nV.float() / temperature
    lse_n = logits_nV.logsumexp(-1)
    logprobs_n = logits_nV.gather(-1, targets_n[:, None])[:, 0] - lse_n
    with torch.set_grad_enabled(entropy_gradient and torch.is_grad_enabled()):
        entropies_n = lse_n - ((logits_nV - lse_n[:, None]).exp() * logits_nV).sum(-1)
    with torch.no_grad():
        hits_n = (logits_nV.argmax(-1) == targets_n).float()
    return logprobs_n, entropies_n, hits_n


def token_scores(
    hidden_nD: Tensor,
    targets_n: Tensor,
    output_layer: Callable[[Tensor], Tensor],
    *,
    vocabulary: int,
    temperature: float,
    entropy_gradient: bool = False,
    chunk_elements: int = CHUNK_ELEMENTS,
) -> Scores:
    """Scores of n tokens from the hidden states that predict them.

    `entropy_gradient` keeps the entropies differentiable (entropy bonus); otherwise they are constants.
    """

    def score(hidden_cD: Tensor, targets_c: Tensor) -> Scores:
        return chunk_scores(output_layer(hidden_cD), targets_c, temperature, entropy_gradient)

    size = max(1, chunk_elements // vocabulary)
    parts = []
    for hidden_cD, targets_c in zip(hidden_nD.split(size), targets_n.split(size), strict=True):
        if torch.is_grad_enabled() and len(hidden_nD) > size:
            parts.append(checkpoint(score, hidden_cD, targets_c, use_reentrant=False))
        else:
            parts.append(score(hidden_cD, targets_c))
    logprobs_n, entropies_n, hits_n = (torch.cat(column) for column in zip(*parts, strict=True))
    return logprobs_n, entropies_n, hits_n


class Scorer(nn.Module):
    """The module DeepSpeed wraps: a Hugging Face causal LM whose forward returns token scores."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        causal = model.get_base_model() if hasattr(model, "get_base_model") else model  # unwrap peft
        text = causal.config.get_text_config()
        self._decoder = [causal.get_decoder()]  # in a list: not registered a second time
        self._output_layer = [causal.get_output_embeddings()]
        self._softcap: float | None = getattr(text, "final_logit_softcapping", None)
        # Cohere multiplies its logits, Granite divides them.
        self._scale: float = getattr(text, "logit_scale", None) or 1 / (
            getattr(text, "logits_scaling", None) or 1
        )
        self.vocabulary: int = text.vocab_size

    def logits(self, hidden_nD: Tensor) -> Tensor:
        """[n, D] -> [n, V], with the scalings the model's own forward applies."""
        logits_nV = self._output_layer[0](hidden_nD) * self._scale
        return logits_nV if self._softcap is None else self._softcap * torch.tanh(logits_nV / self._softcap)

    def forward(
        self,
        input_ids: Tensor,
        position_ids: Tensor,
        predictors_n: Tensor,
        targets_n: Tensor,
        temperature: float,
        entropy_gradient: bool = False,
    ) -> Scores:
        """Scores of the n trained tokens; of one placeholder token when there are none (an empty share)."""
        decoded = self._decoder[0](
            input_ids=input_ids, position_ids=position_ids, attention_mask=None, use_cache=False
        )
        hidden_nD = decoded.last_hidden_state.flatten(0, 1)
        # An empty share must still run the output layer: with ZeRO-3 its weights are gathered by all ranks.
        empty = len(predictors_n) == 0
        return token_scores(
            hidden_nD[:1] if empty else hidden_nD[predictors_n],
            input_ids.flatten()[:1] if empty else targets_n,
            self.logits,
            vocabulary=self.vocabulary,
            temperature=temperature,
            entropy_gradient=entropy_gradient,
        )
