"""Pseudo-labels: the worked numbers, which positions are probed, and what a recipe may not hold."""

from __future__ import annotations

import numpy as np
import pytest

from rlvr_cli import compose
from rlvr_cli.commands.plan import run as plan
from rlvr_cli.core.errors import UserError
from rlvr_cli.otv.labels import probed_places, pseudo_labels
from rlvr_cli.schema import PseudoLabel

FOUR = np.arange(1, 5)


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        (PseudoLabel.linear, [0.625, 0.75, 0.875, 1.0], [0.375, 0.25, 0.125, 0.0]),
        (PseudoLabel.constant, [1, 1, 1, 1], [0, 0, 0, 0]),
        (PseudoLabel.step, [0.5, 0.5, 1, 1], [0.5, 0.5, 0, 0]),
        (PseudoLabel.power, [0.53125, 0.625, 0.78125, 1.0], [0.46875, 0.375, 0.21875, 0.0]),
    ],
)
def test_labels_of_four_tokens(kind: PseudoLabel, right: list[float], wrong: list[float]) -> None:
    assert pseudo_labels(FOUR, 4, True, kind, 2.0).tolist() == pytest.approx(right)
    assert pseudo_labels(FOUR, 4, False, kind, 2.0).tolist() == pytest.approx(wrong)


def test_power_one_is_linear() -> None:
    a, b = (pseudo_labels(FOUR, 4, True, kind, 1.0) for kind in (PseudoLabel.power, PseudoLabel.linear))
    assert (a == b).all()


def test_places_are_even_and_end_with_the_trace() -> None:
    assert probed_places(5, 256).tolist() == [1, 2, 3, 4, 5]
    assert probed_places(10, 4).tolist() == [1, 4, 7, 10] and probed_places(1000, 256)[-1] == 1000
    assert all(len(probed_places(n, 16)) <= 16 for n in range(1, 200))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model.lora={rank: 4}"], "model.lora.rank does not go with otv"),
        (["trainer.zero_stage=3"], "trainer.zero_stage does not go with otv"),
        (["model.gradient_checkpointing=true"], "model.gradient_checkpointing does not go with otv"),
        (["model.attention=flash_attention_2"], "model.attention=flash_attention_2 takes no mask"),
        (["algorithm.power=3"], "algorithm.power is 3, and algorithm.labels=linear has no exponent"),
        (["algorithm.probes=0"], "algorithm.probes is 0; it must be at least 1"),
        (["data.train.system=x"], "data.train.prompt and data.train.system are for problems"),
    ],
)
def test_settings_that_mean_nothing_are_refused_in_one_line(overrides: list[str], said: str) -> None:
    with pytest.raises(UserError) as found:
        compose.load("tiny_otv", overrides, "otv")
    assert said in str(found.value) and "\n" not in str(found.value)


def test_a_plan_of_it_is_refused() -> None:
    with pytest.raises(UserError, match="frozen base and cache the formulas do not know"):
        plan("plan", ["tiny_otv"])
