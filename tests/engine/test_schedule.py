import pytest

from rlvr_cli.engine.schedule import learning_rate
from rlvr_cli.schema import Schedule, Trainer


def rates(**settings):
    trainer = Trainer(**settings)
    return [learning_rate(trainer, step) for step in range(trainer.steps)]


def test_warmup_rises_to_lr_and_constant_stays():
    assert rates(steps=6, lr=1.0, warmup_steps=4) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_linear_ends_at_min_lr():
    assert rates(steps=5, lr=1.0, min_lr=0.2, schedule=Schedule.linear) == pytest.approx(
        [1.0, 0.8, 0.6, 0.4, 0.2]
    )


def test_cosine_is_half_way_at_the_middle():
    found = rates(steps=5, lr=1.0, schedule=Schedule.cosine)
    assert found[0] == 1.0 and found[2] == pytest.approx(0.5) and found[4] == pytest.approx(0.0)


def test_a_fresh_optimizer_is_warmed_up_to_where_the_schedule_is():
    trainer = Trainer(steps=9, lr=1.0, min_lr=0.2, warmup_steps=4, schedule=Schedule.linear)
    assert [learning_rate(trainer, step, restarted=6) for step in (6, 7, 8)] == pytest.approx(
        [0.25 * 0.6, 0.5 * 0.4, 0.75 * 0.2]
    )
    assert learning_rate(Trainer(steps=9, lr=1.0), 6, restarted=6) == 1.0
