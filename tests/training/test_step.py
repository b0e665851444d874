"""One step of the loop, with everything of it but a model."""

from __future__ import annotations

import pytest
from small_parts import Still, recipe, small_parts

from rlvr_cli.schema import Precision, Trainer
from rlvr_cli.training.loop import train_step


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
