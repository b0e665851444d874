"""Seeds of the transformers engine; the slow tests compare it with vLLM and the trainer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rlvr_cli import schema
from rlvr_cli.engine.model import load_tokenizer
from rlvr_cli.rollout import Engine, Request, Sampling, make_engine

SAMPLED = Sampling(temperature=1.0, top_p=1.0, max_tokens=6)


@pytest.fixture
def engine(tiny_path: Path) -> Engine:
    return make_engine(
        schema.Rollout(engine=schema.RolloutEngine.hf),
        path=str(tiny_path),
        tokenizer=load_tokenizer(schema.Model(path=str(tiny_path))),
        eos=[1],
        seed=0,
        precision=schema.Precision.fp32,
        max_model_len=64,
    )


def texts(engine: Engine, *requests: Request) -> dict[int, list[str]]:
    found = dict(engine.generate(list(requests), SAMPLED))
    for completions in found.values():
        assert all(len(c.logprobs) == len(c.tokens) and np.isfinite(c.logprobs).all() for c in completions)
    return {key: [c.text for c in completions] for key, completions in found.items()}


def test_samples_of_a_prompt_differ_and_follow_from_its_seed_alone(engine: Engine) -> None:
    first, second = (Request(key=k, tokens=[20, 30, 40], samples=4, seed=1000 * k) for k in (1, 2))
    longer = Request(key=3, tokens=[50] * 9, samples=2, seed=5)
    together = texts(engine, first, longer, second)
    assert len({*together[1], *together[2]}) == 8, "each sample has a generator of its own"
    assert texts(engine, first)[1] == together[1] and texts(engine, longer)[3] == together[3]
