"""The transformers engine that a verifier reads: the same samples, the same confidences, real ends."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from rlvr_cli import schema
from rlvr_cli.core.types import Completion
from rlvr_cli.engine.model import load_tokenizer
from rlvr_cli.evaluation.probing import Recomputed
from rlvr_cli.otv.pruning import Halving, Race, Rule, Threshold, Winner, replayed
from rlvr_cli.otv.verifier import OneTokenVerifier
from rlvr_cli.rollout import Request, Sampling, make_engine
from rlvr_cli.rollout.probed import ProbedEngine

SAMPLED = Sampling(temperature=1.0, top_p=1.0, max_tokens=24)
REQUESTS = [
    Request(key=1, tokens=[20, 30, 40], samples=4, seed=7),
    Request(key=2, tokens=[50] * 9, samples=4, seed=900),
]


def made(path: Path, probed: bool):
    return make_engine(
        schema.Rollout(engine=schema.RolloutEngine.hf),
        path=str(path),
        tokenizer=load_tokenizer(schema.Model(path=str(path))),
        eos=[1, 30, 31, 32],  # so that samples of a model that knows nothing end
        seed=0,
        precision=schema.Precision.fp32,
        max_model_len=64,
        probed=probed,
    )


@pytest.fixture(scope="module")
def plain(tiny_path: Path):
    return made(tiny_path, False)


@pytest.fixture(scope="module")
def engine(tiny_path: Path) -> ProbedEngine:
    return made(tiny_path, True)


@pytest.fixture(scope="module")
def verifier(engine: ProbedEngine) -> OneTokenVerifier:
    torch.manual_seed(0)
    found = OneTokenVerifier(engine.model, rank=4, alpha=8.0)
    torch.nn.init.normal_(found.head, std=0.02)
    for adapter in found.adapters.values():
        torch.nn.init.normal_(adapter.b, std=0.1)
    return found


def race(rule: Callable[[], Rule | None], samples: int, longest: int) -> Race:
    return Race(traces=samples, ema=0.5, rule=rule())


def sampled(
    engine, verifier: OneTokenVerifier, rule: Callable[[], Rule | None]
) -> dict[int, list[Completion]]:
    return dict(engine.watch(verifier, 5, partial(race, rule)).generate(REQUESTS, SAMPLED))


@pytest.fixture(scope="module")
def full(engine: ProbedEngine, verifier: OneTokenVerifier) -> dict[int, list[Completion]]:
    return sampled(engine, verifier, lambda: None)


def test_being_read_changes_no_sample(plain, full: dict[int, list[Completion]]) -> None:
    wanted = dict(plain.generate(REQUESTS, SAMPLED))
    lengths = {len(c.tokens) for samples in wanted.values() for c in samples}
    assert len(lengths) > 3, "they end at different places, so that the batch shrinks"
    for key, samples in wanted.items():
        for a, b in zip(samples, full[key], strict=True):
            assert (a.tokens == b.tokens).all() and a.text == b.text and a.finished is b.finished
            assert np.allclose(a.logprobs, b.logprobs, atol=1e-5)


def test_confidences_from_the_cache_are_those_of_a_second_pass(
    plain, full: dict[int, list[Completion]], verifier: OneTokenVerifier
) -> None:
    again = dict(Recomputed(plain, verifier, 5).generate(REQUESTS, SAMPLED))
    spread = []
    for key, samples in full.items():
        for a, b in zip(samples, again[key], strict=True):
            assert a.probes is not None and b.probes is not None
            assert a.probes.tokens == b.probes.tokens and a.probes.tokens[-1] == len(a.tokens)
            assert a.probes.confidences == pytest.approx(b.probes.confidences, abs=1e-5)
            assert a.probes.recomputed == 0
            assert b.probes.recomputed == len(b.tokens) + len(REQUESTS[key - 1].tokens), "and it is counted"
            spread += a.probes.confidences
    assert np.std(spread) > 1e-3


@pytest.mark.parametrize(
    "rule",
    [
        lambda: Halving(milestones=[5, 12]),
        lambda: Threshold(below=0.5, min_tokens=10),
        lambda: Winner(above=0.3),
    ],
    ids=["halving", "threshold", "winner"],
)
def test_what_is_really_ended_early_is_what_the_replay_says(
    rule: Callable[[], Rule],
    full: dict[int, list[Completion]],
    engine: ProbedEngine,
    verifier: OneTokenVerifier,
) -> None:
    """Token for token: the samples are those of full sampling up to where they end."""
    short = sampled(engine, verifier, rule)
    saved = 0
    for key, samples in short.items():
        told = [c.probes for c in full[key] if c.probes is not None]
        wanted = replayed(race(rule, 4, 24), told, [len(c.tokens) for c in full[key]])
        for n, (cut, whole) in enumerate(zip(samples, full[key], strict=True)):
            assert len(cut.tokens) == wanted.lengths[n]
            assert (cut.tokens == whole.tokens[: len(cut.tokens)]).all()
            assert cut.probes is not None and cut.probes.dropped is (n in wanted.dropped)
            saved += len(whole.tokens) - len(cut.tokens)
    assert saved > 0
