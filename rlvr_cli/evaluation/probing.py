"""Engines whose samples a one-token verifier reads: by the engine's own cache, or by a second pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from rlvr_cli.core import distributed
from rlvr_cli.core.heartbeat import heart
from rlvr_cli.core.probes import Probes
from rlvr_cli.core.types import Completion
from rlvr_cli.engine.model import load_model
from rlvr_cli.evaluation.selection import race_of
from rlvr_cli.evaluation.stored_samples import weights_of
from rlvr_cli.otv import folder
from rlvr_cli.otv.verifier import OneTokenVerifier
from rlvr_cli.rollout import Engine, Request, Sampling
from rlvr_cli.rollout.engine import never
from rlvr_cli.rollout.probed import ProbedEngine
from rlvr_cli.schema import Model, Precision, Select, SelectBy
from rlvr_cli.tracking.journal import jsonable

ROW_TOKENS = 16384
"""Tokens, padding included, of the rows that a second pass takes at once."""


class Recomputed:
    """An engine that keeps its cache to itself, with a copy of the model that reads each sample once more."""

    def __init__(self, engine: Engine, verifier: OneTokenVerifier, every: int) -> None:
        self.engine, self.verifier, self.every = engine, verifier, every

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def generate(
        self, requests: list[Request], sampling: Sampling, enough: Callable[[], bool] = never
    ) -> Iterator[tuple[int, list[Completion]]]:
        prompts = {request.key: request.tokens for request in requests}
        for key, samples in self.engine.generate(requests, sampling, enough):
            if self.engine.leader:
                longest = len(prompts[key]) + max(len(each.tokens) for each in samples)
                size = max(1, ROW_TOKENS // longest)
                for start in range(0, len(samples), size):
                    heart.beat()
                    self._read(prompts[key], samples[start : start + size])
            yield key, samples

    @torch.no_grad()
    def _read(self, prompt: list[int], samples: list[Completion]) -> None:
        """Probe samples of one prompt as if while they were sampled; all positions in one pass."""
        width = len(prompt) + max(len(each.tokens) for each in samples)
        rows = np.zeros((len(samples), width), np.int64)
        places, probed = [], []
        for row, each in enumerate(samples):
            ids = [*prompt, *each.tokens.tolist()]
            rows[row, : len(ids)] = ids
            probed.append(sorted({*range(self.every, len(each.tokens), self.every), len(each.tokens)} - {0}))
            places += [row * width + len(prompt) + n - 1 for n in probed[-1]]
        device = distributed.device()
        positions_RL = torch.arange(width, device=device).expand(len(samples), width)
        said = self.verifier(
            torch.from_numpy(rows).to(device), positions_RL, torch.tensor(places, device=device)
        )
        confidences = iter(said.sigmoid().tolist())
        for each, tokens in zip(samples, probed, strict=True):
            found = [next(confidences) for _ in tokens]
            recomputed = len(prompt) + len(each.tokens)
            each.probes = Probes(tokens=tokens, confidences=found, recomputed=recomputed)


def read_by(select: Select, engine: Engine, model: Model, precision: Precision) -> Engine:
    """The engine with the recipe's verifier. UserError where that is of another model."""
    place = folder.find(str(select.verifier))
    if isinstance(engine, ProbedEngine):
        return engine.watch(
            folder.load(place, engine.model), select.every, partial(race_of, select, select.prune)
        )
    copy: Any = load_model(replace(model, attention="sdpa"), precision)
    verifier = folder.load(place, copy.to(distributed.device()))
    recomputed: Any = Recomputed(engine, verifier, select.every)
    return recomputed


def identity_of(select: Select) -> list[Any]:
    """What confidences, and which samples are whole, depend on; nothing where no verifier is asked."""
    if select.by is SelectBy.majority:
        return []
    return [jsonable(asdict(select)), weights_of(str(folder.find(str(select.verifier))))]
