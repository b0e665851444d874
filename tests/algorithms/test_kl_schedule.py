"""The KL coefficient from step to step: worked numbers, state, stages."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from f1 import make, near
from hypothesis import given
from hypothesis import strategies as st

from rlvr_cli.algorithms.kl_schedule import Schedule, adapted, annealed

NEW, REF = torch.tensor([-1.0, -2.0]), torch.tensor([-1.5, -1.0])


def test_cosine_and_linear_by_hand() -> None:
    """KL annealing of STILL-3: 1e-3 to 0 over 100 steps."""
    cosine = make("kl", "loss", coef=1e-3, schedule=Schedule.cosine, schedule_steps=100)
    linear = make("kl", "loss", coef=1e-3, schedule=Schedule.linear, final_coef=2e-4)
    found = []
    for step in (0, 25, 50, 75, 100, 150):
        cosine.begin(step, 7)  # its own steps
        linear.begin(step, 100)  # the run's
        found.append((cosine.now, linear.now))
    cosines = [1e-3, 0.5e-3 * (1 + math.sqrt(0.5)), 5e-4, 0.5e-3 * (1 - math.sqrt(0.5)), 0, 0]
    assert [each for each, _ in found] == pytest.approx(cosines, abs=1e-12)
    assert [each for _, each in found] == pytest.approx([1e-3, 8e-4, 6e-4, 4e-4, 2e-4, 2e-4])
    assert cosine.measured() == {"actor/kl_coef": pytest.approx(0.0, abs=1e-12)}


def test_adaptive_by_hand() -> None:
    """beta .001, KL twice the target: the error 1 is clipped to .2, n / horizon = .1, hence .00102."""
    assert adapted(1e-3, 0.2, 0.1, 1000, 10_000) == pytest.approx(0.00102)
    assert adapted(1e-3, 0.0, 0.1, 1000, 10_000) == pytest.approx(0.00098)
    assert adapted(1e-3, 0.11, 0.1, 1000, 10_000) == pytest.approx(0.00101)  # within the clip: 10 %
    assert adapted(1e-3, 0.1, 0.1, 1000, 10_000) == 1e-3
    assert adapted(1e-3, 0.0, 0.1, 10**6, 10_000) == 0.0  # and not below
    option = make("kl", "loss", coef=1e-3, schedule=Schedule.adaptive, target_kl=0.1, horizon=10_000)
    option.observe(0.2, 1000)
    option.begin(50, 100)
    assert option.now == pytest.approx(0.00102)
    option.observe(float("nan"), 1000)  # a step without an update
    assert option.now == pytest.approx(0.00102)


def test_the_penalty_follows_it_in_both_places() -> None:
    for name in ("loss", "reward"):
        option = make("kl", name, coef=0.5, schedule=Schedule.linear)
        whole = option(NEW, REF)
        option.begin(1, 4)
        assert option(NEW, REF).tolist() == near((0.75 * whole).tolist())
        option.begin(4, 4)
        assert option(NEW, REF).tolist() == [0.0, 0.0] and option.needs_reference
    reward = make("kl", "reward", coef=0.5, schedule=Schedule.linear)
    reward.begin(2, 4)
    assert reward.token_rewards(NEW, REF).tolist() == near([-0.25 * 0.5, 0.25])


def test_a_constant_coefficient_is_as_before() -> None:
    option = make("kl", "loss", coef=0.3)
    before = option(NEW, REF)
    option.begin(70, 100)
    option.observe(5.0, 64)
    assert torch.equal(option(NEW, REF), before) and option.measured() == {}


def test_an_adaptive_coefficient_goes_on_where_it_was() -> None:
    values = {"coef": 1e-3, "schedule": Schedule.adaptive, "horizon": 100.0}
    whole, cut = make("kl", "loss", **values), make("kl", "loss", **values)
    seen = [0.5, 0.01, 0.3, 0.09]
    for kl in seen:
        whole.observe(kl, 8)
    for kl in seen[:2]:
        cut.observe(kl, 8)
    resumed = make("kl", "loss", **values)
    resumed.load(cut.state())
    for kl in seen[2:]:
        resumed.observe(kl, 8)
    assert resumed.now == whole.now != 1e-3
    changed = make("kl", "loss", **values | {"coef": 1e-2})
    changed.load(cut.state())  # another coef was set in between
    assert changed.now == 1e-2
    fixed = make("kl", "loss", coef=1e-3)
    fixed.load(cut.state())
    assert fixed.now == 1e-3


@given(st.floats(0, 1), st.floats(1e-6, 1), st.floats(0, 1))
def test_between_its_ends(share: float, first: float, final: float) -> None:
    for schedule in (Schedule.linear, Schedule.cosine):
        value = annealed(schedule, first, final, share)
        assert min(first, final) - 1e-12 <= value <= max(first, final) + 1e-12


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"coef": 0.0, "schedule": Schedule.cosine}, r"kl\.coef is 0.0; it must be above 0 with"),
        ({"final_coef": -1.0}, "final_coef"),
        ({"target_kl": 0.0}, "target_kl"),
        ({"horizon": 0.0}, "horizon"),
        ({"schedule_steps": 0}, "schedule_steps"),
    ],
)
def test_what_cannot_be(values: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make("kl", "loss", **values)


def test_a_copy_begins_anew() -> None:
    """Stages copy an option to change its coefficient; one with a schedule is refused there instead."""
    option = make("kl", "loss", coef=1e-3, schedule=Schedule.linear)
    option.begin(1, 2)
    assert replace(option).now == 1e-3
