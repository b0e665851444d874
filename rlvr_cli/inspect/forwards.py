"""Logprobs of recorded tokens by a plain forward of transformers, under one setting or another."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlvr_cli.core import distributed
from rlvr_cli.core.routes import aligned
from rlvr_cli.engine.routing_replay import ARGUMENT, Replay, Targets
from rlvr_cli.schema import Precision, RoutingReplay

DTYPES = {Precision.fp32: torch.float32, Precision.bf16: torch.bfloat16}
ROWS = 8
"""Sequences of a padded batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """What one sequence's record says."""

    prompt: list[int]
    response: list[int]
    logprobs: np.ndarray
    """float [T], the engine's."""
    text: str
    """The prompt as text, its template applied; "" where it is not known."""
    routes: np.ndarray | None = None
    """Which experts the engine took (`core/routes.py`); None where nobody has recorded it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transform:
    """What is done to logits before a token is drawn."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    """0: all."""
    repetition_penalty: float = 1.0

    @property
    def said(self) -> str:
        names = (("temperature", 1.0), ("top_p", 1.0), ("top_k", 0), ("repetition_penalty", 1.0))
        return ", ".join(
            f"{name} {getattr(self, name):g}" for name, plain in names if getattr(self, name) != plain
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How a forward is made."""

    precision: Precision = Precision.fp32
    transform: Transform = Transform()
    attention: str = "sdpa"
    together: bool = False
    """In batches of ROWS sequences, padded on the left as a decoding engine has them; else one by one."""
    bare: bool = False
    """Without the adapters."""
    routed: bool = False
    """A mixture's experts are those that the engine took, with weights of this forward's own."""


class Forwards:
    """A model in fp32, and a copy of it in the other type once that is asked for."""

    def __init__(self, model: Any, pad: int, *, routed: bool = False) -> None:
        """`pad`: a token id for the places before a sequence; `routed`: experts can be given, for which
        UserError where a router of the model is not known."""
        self._models = {Precision.fp32: model.to(distributed.device(), torch.float32).eval()}
        self._pad = pad
        # Before any copy is made: copies have the same hooks, which call on this one object.
        self._replay = Replay(model, RoutingReplay.r3) if routed else None

    def model(self, precision: Precision) -> Any:
        if precision not in self._models:
            self._models[precision] = copy.deepcopy(self._models[Precision.fp32]).to(DTYPES[precision])
        return self._models[precision]

    @torch.no_grad()
    def __call__(self, rows: Sequence[Sampled], setting: Setting) -> list[np.ndarray]:
        """float32 [T] of each row's response."""
        model = self.model(setting.precision)
        order = sorted(range(len(rows)), key=lambda n: len(rows[n].prompt) + len(rows[n].response))
        size = ROWS if setting.together else 1
        found: dict[int, np.ndarray] = {}
        with _attention(model, setting.attention), bare(model) if setting.bare else nullcontext():
            for start in range(0, len(order), size):
                places = order[start : start + size]
                scores = self._batch(model, [rows[n] for n in places], setting)
                found |= dict(zip(places, scores, strict=True))
        return [found[place] for place in range(len(rows))]

    @torch.no_grad()
    def logits(self, row: Sampled, setting: Setting) -> Tensor:
        """float32 [T, V] before any transform."""
        ids = torch.tensor([[*row.prompt, *row.response]], device=distributed.device())
        model = self.model(setting.precision)
        with _attention(model, setting.attention), self._told([row], ids.shape[1], setting) as told:
            logits = model(input_ids=ids, use_cache=False, **told).logits[0]
        return logits[len(row.prompt) - 1 : -1].float()

    def other_experts(self) -> float | None:
        """Since the last call, of (token, router) pairs with given experts the share where the model's own
        choice would have been another; None where none were given."""
        found = {} if self._replay is None else self._replay.take_metrics()
        return found.get("routing/router_disagreement")

    def _batch(self, model: Any, rows: Sequence[Sampled], setting: Setting) -> Iterator[np.ndarray]:
        device = next(model.parameters()).device
        width = max(len(row.prompt) + len(row.response) for row in rows)
        ids = torch.full((len(rows), width), self._pad, device=device)
        mask = torch.zeros_like(ids)
        for n, row in enumerate(rows):
            tokens = torch.tensor([*row.prompt, *row.response], device=device)
            ids[n, width - len(tokens) :], mask[n, width - len(tokens) :] = tokens, 1
        more: dict[str, Any] = {}
        if len(rows) > 1:
            more = {"attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}
        with self._told(rows, width, setting) as told:
            logits = model(input_ids=ids, use_cache=False, **more, **told).logits
        for n, row in enumerate(rows):
            count = len(row.response)
            own = logits[n, width - count - 1 : width - 1].float()
            response = torch.tensor(row.response, device=device)
            log_p = processed(own, [*row.prompt, *row.response], len(row.prompt), setting.transform)
            yield log_p.gather(1, response[:, None])[:, 0].cpu().numpy()

    @contextmanager
    def _told(self, rows: Sequence[Sampled], width: int, setting: Setting) -> Iterator[dict[str, Any]]:
        """What layers are called with besides, of rows that end at `width`."""
        if not setting.routed:
            yield {}
            return
        assert self._replay is not None, "it was not said that experts would be given"
        routers = self._replay.routers
        choice = np.zeros((len(rows), width, len(routers), routers[0].module.top_k), np.int64)
        given = np.zeros(choice.shape[:2], bool)
        for n, row in enumerate(rows):
            assert row.routes is not None, "there are no experts to give"
            length = len(row.prompt) + len(row.response)
            told = self._replay.of_routers(aligned(row.routes, length), n)
            choice[n, width - length : width - 1], given[n, width - length : width - 1] = told, True
        device = distributed.device()
        targets = Targets(
            choice_TLk=torch.from_numpy(choice).flatten(0, 1).to(device),
            given_T=torch.from_numpy(given).flatten().to(device),
            replays=True,
        )
        yield {ARGUMENT: targets}
        self._replay.count(targets)


def processed(logits_TV: Tensor, tokens: list[int], start: int, transform: Transform) -> Tensor:
    """Log-probabilities [T, V] of what is drawn from: penalty, temperature, the top k, the top_p nucleus, in
    the order of vLLM; row t predicts `tokens[start + t]`. A token outside has -inf."""
    logits_TV = logits_TV.clone()
    if transform.repetition_penalty != 1:
        for t in range(len(logits_TV)):
            seen = torch.tensor(sorted(set(tokens[: start + t])), device=logits_TV.device)
            values = logits_TV[t, seen]
            factor = transform.repetition_penalty
            logits_TV[t, seen] = torch.where(values > 0, values / factor, values * factor)
    log_p = (logits_TV / transform.temperature).log_softmax(-1)
    if transform.top_k:
        least = log_p.topk(transform.top_k).values[:, -1:]
        log_p = log_p.masked_fill(log_p < least, -torch.inf).log_softmax(-1)
    if transform.top_p < 1:
        sorted_p, order = log_p.exp().sort(-1, descending=True)
        out = sorted_p.cumsum(-1) - sorted_p >= transform.top_p
        log_p = log_p.masked_fill(out.gather(-1, order.argsort(-1)), -torch.inf).log_softmax(-1)
    return log_p


@contextmanager
def _attention(model: Any, name: str) -> Iterator[None]:
    before = model.config._attn_implementation
    model.set_attn_implementation(name)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def bare(model: Any) -> Any:
    """Without adapters, where the model has some."""
    return model.disable_adapter() if hasattr(model, "disable_adapter") else nullcontext()
