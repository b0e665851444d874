"""One step of the loop, with everything of it but a model."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from f1 import algorithm, make
from small_parts import Counts, Still, recipe, small_parts, two_tokens

from rlvr_cli.core.types import Completion
from rlvr_cli.rollout import Request, Sampling
from rlvr_cli.schema import Precision, Rollout, Trainer
from rlvr_cli.training.loop import train_step
from rlvr_cli.training.resets import reset_optimizer


def test_each_step_takes_the_learning_rate_of_its_own_number() -> None:
    """Warm-up over four steps: the first has a quarter of the rate, not none and not a half."""
    trainer = Still()
    settings = Trainer(steps=9, lr=1e-3, warmup_steps=4, precision=Precision.fp32)
    parts = small_parts(recipe(trainer=settings), trainer=trainer)
    for _ in range(5):
        train_step(parts)
    assert trainer.rates == pytest.approx([2.5e-4, 5e-4, 7.5e-4, 1e-3, 1e-3])
    assert parts.step == 5 and parts.sampler.position == 5 * 4


def test_the_warm_up_begins_again_with_a_fresh_optimizer() -> None:
    trainer = Still()
    settings = Trainer(steps=9, lr=1e-3, warmup_steps=2, precision=Precision.fp32)
    parts = small_parts(recipe(trainer=settings), trainer=trainer, step=4)
    parts.state["fresh_optimizer"] = 4
    for _ in range(3):
        train_step(parts)
    assert trainer.rates == pytest.approx([5e-4, 1e-3, 1e-3])


class Resettable(Still):
    """Has nothing to forget."""

    def reset_optimizer(self) -> None: ...


def test_a_reset_of_the_optimizer_begins_the_warm_up_again() -> None:
    """After step 3, with a warm-up of two steps: a half of the rate, then all of it."""
    trainer = Resettable()
    settings = Trainer(steps=9, lr=1e-3, warmup_steps=2, precision=Precision.fp32)
    parts = small_parts(recipe(trainer=settings), trainer=trainer)
    for _ in range(3):
        train_step(parts)
    reset_optimizer(parts, "why")
    for _ in range(3):
        train_step(parts)
    assert trainer.rates == pytest.approx([5e-4, 1e-3, 1e-3, 5e-4, 1e-3, 1e-3])
    assert parts.state["last_reset"] == 0, "the reference is as old as it was"


class EveryOtherRight(Counts):
    """Both samples of every other problem are right, of the rest one of two."""

    def generate(self, requests: list[Request], sampling: Sampling) -> Iterator[tuple[int, list[Completion]]]:
        for r in requests:
            yield r.key, [two_tokens(0), two_tokens(r.key % 2)]


def test_the_anchor_of_the_difficulty_knows_the_groups_that_the_filter_drops() -> None:
    """Of four groups two are all right and dropped: 3/4 of the samples are right, of those that train 1/2."""
    reweight = make("reweight", "history_difficulty")
    chosen = algorithm(reweight=reweight, filter="zero_signal")
    small = recipe(algorithm=chosen, rollout=Rollout(max_prompt_tokens=4, max_tokens=4, max_rounds=1))
    small.rollout.oversample = 1.0
    parts = small_parts(small, engine=EveryOtherRight())
    train_step(parts)
    assert reweight.observed == [0.75]


class Counting(Counts):
    """Knows how many tokens it has sampled."""

    sampled = 0

    def text(self, tokens: list[int]) -> str:
        return str(tokens[-2] - 4)

    def generate(self, requests: list[Request], sampling: Sampling) -> Iterator[tuple[int, list[Completion]]]:
        for key, found in super().generate(requests, sampling):
            self.sampled += sum(len(completion.tokens) for completion in found)
            yield key, found


def test_every_sampled_token_counts_against_the_budget_of_response_tokens() -> None:
    """Also those that measure states: 4 x 2 responses and 3 more from each of 4 prompts, of two tokens."""
    segment = make("advantage", "segment", interval=2, samples=3)
    engine = Counting()
    settings = Trainer(steps=9, response_tokens=40, precision=Precision.fp32)
    parts = small_parts(
        recipe(algorithm=algorithm(advantage=segment), trainer=settings),
        engine=engine,
        tokenizer=SimpleNamespace(decode=lambda tokens, **_: str(tokens[-2] - 4)),
    )
    train_step(parts)
    assert engine.sampled == 4 * 2 * 2 + 4 * 3 * 2
    assert parts.state["response_tokens"] == engine.sampled
    assert parts.ended, "16 tokens of responses alone would not have spent it"
