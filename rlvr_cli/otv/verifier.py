"""The token, the adapters that are on for it alone, and the head: confidence that a trace will end right.

One-token verification (2603.01025); no official code was found, so what the paper leaves open is a choice of
ours (docs/otv.md). The model itself is frozen and no part of this module: it is read, and never changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rlvr_cli.core.errors import UserError
from rlvr_cli.otv.cache import ReadOnly, additive, refusal, visible

GAIN = 10.0
"""Token and head are stored divided by it: a step of Adam is as large as the learning rate whatever the
gradient, so they learn so many times as fast as the adapters, in one group of the optimizer."""


class Adapter(nn.Module):
    """alpha / rank * B A x beside one linear layer; B begins at 0."""

    def __init__(self, layer: nn.Linear, rank: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.a = nn.Parameter(torch.empty(rank, layer.in_features))
        self.b = nn.Parameter(torch.zeros(layer.out_features, rank))
        nn.init.kaiming_uniform_(self.a, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = nn.functional.linear(nn.functional.linear(x, self.a), self.b) * self.scale
        return found


class OneTokenVerifier(nn.Module):
    """Reads the cache of `model`, a causal language model of transformers.

    Its parameters are those that are trained: `adapters`, `token` [D], `head` [D] and `bias`.
    """

    def __init__(self, model: Any, *, rank: int, alpha: float) -> None:
        """UserError for a model whose cache cannot be read at any position."""
        super().__init__()
        if (why := refusal(model.config)) is not None:
            raise UserError(
                f"one-token verification needs full attention in every layer; this model has {why}"
            )
        self._model = [model.requires_grad_(False).eval()]  # in a list: no part of this module
        self._decoder = [model.get_decoder()]
        self.rank, self.alpha = rank, alpha
        self.reading = False
        """The pass that runs is one of probes: the adapters are on."""
        width = model.get_input_embeddings().weight.shape[1]
        spread = float(model.get_input_embeddings().weight.float().std())
        self.token = nn.Parameter(torch.randn(width) * spread / GAIN)
        self.head = nn.Parameter(torch.zeros(width))
        self.bias = nn.Parameter(torch.zeros(1))
        self.adapters = nn.ModuleDict()
        for name, layer in self._decoder[0].named_modules():
            if isinstance(layer, nn.Linear):
                adapter = self.adapters[name.replace(".", "/")] = Adapter(layer, rank, alpha / rank)
                layer.register_forward_hook(partial(self._adapted, [adapter]))

    @property
    def model(self) -> Any:
        """The frozen one."""
        return self._model[0]

    def forward(self, input_ids_RL: Tensor, position_ids_RL: Tensor, places_n: Tensor) -> Tensor:
        """Logits of the confidence at n places of right-padded rows, all in one pass; fp32 [n].

        places_n: index into the flattened rows of the last token that each probe sees.
        """
        length = input_ids_RL.shape[1]
        rows_n, columns_n = places_n // length, places_n % length
        counts_R = torch.bincount(rows_n, minlength=len(input_ids_RL))
        order_n = (
            torch.arange(len(places_n), device=places_n.device) - (counts_R.cumsum(0) - counts_R)[rows_n]
        )
        places_RM = places_n.new_zeros(len(input_ids_RL), int(counts_R.max()))
        places_RM[rows_n, order_n] = columns_n
        stored = self.read(input_ids_RL, position_ids_RL)
        seen_RL = torch.ones_like(input_ids_RL, dtype=torch.bool)  # padding comes after all that is looked at
        return self.probe(stored, places_RM, seen_RL, places_RM + 1)[rows_n, order_n]

    @torch.no_grad()
    def read(self, input_ids_RL: Tensor, position_ids_RL: Tensor | None = None) -> Any:
        """The cache that the frozen model makes of these rows."""
        out = self._decoder[0](input_ids=input_ids_RL, position_ids=position_ids_RL, use_cache=True)
        return out.past_key_values

    def probe(self, stored: Any, places_RM: Tensor, seen_RL: Tensor, positions_RM: Tensor) -> Tensor:
        """Logits of the confidence at M places of each row, fp32 [R, M]; `stored` is left as it is.

        places_RM: column of the last token seen; positions_RM: of the probes themselves, one after that
        token's. No probe sees another.
        """
        weight = self.model.get_input_embeddings().weight
        token_RMD = (self.token * GAIN).to(weight.dtype).expand(*places_RM.shape, -1)
        with self._adapters_on():
            out = self._decoder[0](
                inputs_embeds=token_RMD,
                attention_mask=additive(visible(places_RM, seen_RL), weight.dtype),
                position_ids=positions_RM,
                past_key_values=ReadOnly(stored),
                use_cache=True,
            )
        wide = torch.float64 if weight.dtype is torch.float64 else torch.float32
        states_RMD = out.last_hidden_state.to(wide)
        logits_RM: Tensor = (states_RMD @ self.head.to(wide) + self.bias.to(wide)) * GAIN
        return logits_RM

    @torch.no_grad()
    def verify(self, stored: Any, seen_RL: Tensor) -> Tensor:
        """Confidence in [0, 1] after the last cached token of each row, fp32 [R]."""
        last_R1 = torch.full((len(seen_RL), 1), seen_RL.shape[1] - 1, device=seen_RL.device)
        confidence_R: Tensor = self.probe(stored, last_R1, seen_RL, seen_RL.sum(1, keepdim=True)).sigmoid()[
            :, 0
        ]
        return confidence_R

    def train(self, mode: bool = True) -> OneTokenVerifier:
        """The frozen model never trains: no dropout, no checkpointing, always a cache."""
        super().train(mode)
        self.model.eval()
        return self

    def _adapted(self, adapter: list[Adapter], layer: nn.Module, inputs: tuple[Tensor], out: Tensor) -> Any:
        return out + adapter[0](inputs[0]).to(out.dtype) if self.reading else None

    @contextmanager
    def _adapters_on(self) -> Iterator[None]:
        self.reading = True
        try:
            yield
        finally:
            self.reading = False
