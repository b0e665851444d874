"""When the reference is renewed: by the clock, by the KL, and when a bench no longer improves."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlvr_cli.algorithms import options


def reset(**settings: Any) -> Any:
    return options("reference")["reset"](**settings)


def test_causes() -> None:
    assert options("reference")["fixed"]().cause(10_000, 0, 99.0) is None
    clock = reset(every=300)
    assert [clock.cause(step, 0, None) is not None for step in (1, 299, 300, 301)] == [
        False,
        False,
        True,
        True,
    ]
    assert clock.cause(599, 300, 5.0) is None
    assert clock.cause(600, 300, 5.0) == "300 steps since the last"
    spike = reset(every=None, kl_above=0.5)
    assert [spike.cause(9, 0, kl) is not None for kl in (None, 0.5, 0.6, math.nan)] == [
        False,
        False,
        True,
        False,
    ]
    assert spike.cause(9, 0, 0.61) == "KL 0.61 is above 0.5"


def test_plateau_of_a_bench() -> None:
    rule = reset(every=None, patience=2, min_improvement=0.01)
    found = []
    #         best  up    too little   up    equal worse: 2   worse  nan: 2  better than the best ever
    for value in (0.5, 0.6, 0.605, 0.62, 0.62, 0.4, 0.5, math.nan, 0.7):
        rule.observe("sums", value)
        cause = rule.cause(100, 0, 0.0)
        found.append(cause is not None)
        if cause:
            assert cause == "sums has not improved on 0.62 in 2 evaluations"
            rule.renewed()
    assert found == [False] * 5 + [True, False, True, False]
    assert rule.state() == {"best": 0.7, "stalled": 0, "watched": "sums"}


@given(st.lists(st.floats(0, 1), max_size=12), st.integers(0, 12), st.integers(1, 3))
def test_plateau_survives_a_resume(values: list[float], cut: int, patience: int) -> None:
    def run(rule: Any, part: list[float]) -> list[str | None]:
        causes = []
        for value in part:
            rule.observe("b", value)
            causes.append(rule.cause(1, 0, None))
            if causes[-1]:
                rule.renewed()
        return causes

    whole, first, second = (reset(every=None, patience=patience) for _ in range(3))
    before = run(first, values[:cut])
    second.load(json.loads(json.dumps(first.state())))
    assert before + run(second, values[cut:]) == run(whole, values)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"every": None}, "reference.every is null; it must be given"),
        ({"patience": 0}, "reference.patience is 0; it must be positive or null"),
        ({"bench": "b"}, "reference.bench is b; it must be null without patience"),
        ({"patience": 1, "min_improvement": -0.1}, "reference.min_improvement is -0.1"),
    ],
)
def test_triggers_that_make_no_sense(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        reset(**settings)
