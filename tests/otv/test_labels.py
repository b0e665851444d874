"""Pseudo-labels: the worked numbers, and which positions are probed."""

from __future__ import annotations

import numpy as np
import pytest

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
