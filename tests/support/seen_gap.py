"""An engine's logprobs of what it has sampled from prompts with images, against a trainer's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from rlvr_cli import schema
from rlvr_cli.core.types import Completion
from rlvr_cli.data.prompts import problems
from rlvr_cli.engine import process_group
from rlvr_cli.engine.model import load_tokenizer
from rlvr_cli.engine.trainer import Trainer
from rlvr_cli.rollout import Request, Sampling, make_engine
from rlvr_cli.schema import Model, Precision, RolloutEngine, Source
from rlvr_cli.vision.album import album

SAMPLED = Sampling(temperature=1.0, top_p=1.0, max_tokens=24)
LIMIT = 1e-5
"""Mean gap of logprobs in fp32."""


@contextmanager
def trainer_of(model: Model) -> Iterator[Trainer]:
    import os

    before = dict(os.environ)
    process_group.initialise()
    settings = schema.Trainer(precision=Precision.fp32, zero_stage=0)
    yield Trainer(model, settings, tokens_per_microbatch=300, max_grad_norm=1.0)
    os.environ.clear()
    os.environ.update(before)


def requests_of(model: Model) -> list[Request]:
    """Prompts of one image each, one of two images, and one of text."""
    source = Source(path="synthetic:shapes_box", options={"size": 4})
    rows = problems("train", source, load_tokenizer(model), 99, 0)[0]
    prompts = [problem.tokens for problem in rows]
    album.most = max(album.most, 2)  # as a data set with such a prompt would have said
    prompts += [[*prompts[0][:-1], *prompts[1][1:]], [2, 71, 84, 36, 2]]
    return [Request(key=i, tokens=tokens, samples=3, seed=100 * i) for i, tokens in enumerate(prompts)]


def engine_of(model: Model, kind: str, frozen: bool = False, **more: Any) -> Any:
    rollout = schema.Rollout(engine=RolloutEngine[kind], kv_cache_gb=0.1, **more)
    size = {"precision": Precision.fp32, "max_model_len": 128, "frozen_tower": frozen}
    tokenizer = load_tokenizer(model)
    return make_engine(rollout, path=model.path, tokenizer=tokenizer, eos=[1], seed=0, **size)


def gap(trainer: Trainer, requests: list[Request], engine: Any, skip: int = 0) -> float:
    """Mean difference of the engine's logprobs of what it has sampled to the trainer's; `skip`: of the first
    tokens of each response nothing is looked at."""
    return gap_of(trainer, requests, dict(engine.generate(requests, SAMPLED)), skip)


def gap_of(
    trainer: Trainer, requests: list[Request], found: dict[int, list[Completion]], skip: int = 0
) -> float:
    """The same of what was sampled."""
    sequences, trained, theirs = [], [], []
    for request in requests:
        for completion in found[request.key]:
            assert (completion.tokens >= 0).all() and not np.isin(completion.tokens, trainer.banned).any()
            sequences.append(np.concatenate([np.asarray(request.tokens, np.int32), completion.tokens]))
            trained.append(np.arange(len(sequences[-1])) >= len(request.tokens) + skip)
            theirs.append(completion.logprobs[skip:])
    ours = trainer.score(sequences, trained)[0].numpy()
    return float(np.abs(ours - np.concatenate(theirs)).mean())


def going_on(requests: list[Request], found: dict[int, list[Completion]]) -> list[Request]:
    """Requests whose samples were cut off as far as they are."""
    for completion in (each for group in found.values() for each in group):
        completion.partial = not completion.finished
    return [replace(request, begun=found[request.key]) for request in requests]


def move(trainer: Trainer, part: str = "") -> None:
    """Change the trainer's weights whose names hold this."""
    generator = torch.Generator().manual_seed(len(part))
    with torch.no_grad():
        for name, parameter in trainer.hf.named_parameters():
            if part in name:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
