"""Gradient clipping, global and layer by layer."""

import math

import pytest
from f1 import make, near

NORMS = {"a": 5.0, "b": 0.5, "c": 1.0}
GRADIENTS = {"a": [3.0, 4.0], "b": [0.3, 0.4], "c": [0.6, 0.8]}


def scaled(factors: dict[str, float]) -> list[list[float]]:
    return [[x * factors[layer] for x in g] for layer, g in GRADIENTS.items()]


def test_global_clip() -> None:
    factors = make("gradient", "global_clip", max_norm=1.0)(NORMS)
    assert factors == near({"a": 0.195180, "b": 0.195180, "c": 0.195180})
    expected = [0.585540, 0.780720, 0.058554, 0.078072, 0.117108, 0.156144]
    assert [x for g in scaled(factors) for x in g] == pytest.approx(expected, abs=1e-6)
    assert set(make("gradient", "global_clip", max_norm=None)(NORMS).values()) == {1.0}


def test_layer_clip_with_a_fixed_limit() -> None:
    option = make("gradient", "layer_clip", limit=1.0, max_norm=None)
    expected = [0.6, 0.8, 0.3, 0.4, 0.599999, 0.799999]
    assert [x for g in scaled(option(NORMS)) for x in g] == pytest.approx(expected, abs=5e-7)
    unchanged = make("gradient", "layer_clip", limit=5.1, max_norm=None)(NORMS)
    assert set(unchanged.values()) == {1.0}


def test_layer_clip_is_scale_equivariant_layer_by_layer() -> None:
    """Gradients of one layer a thousand times as large: its factors stay, and so do the others'."""
    norms = [{"a": 1.0, "b": 2.0}, {"a": 1.5, "b": 1.0}, {"a": 9.0, "b": 2.5}, {"a": 1.0, "b": 8.0}]
    found = []
    for scale in (1.0, 1e3):
        option = make("gradient", "layer_clip", kappa=2.0, decay=0.9, warmup=2, max_norm=None)
        found.append([option({"a": scale * each["a"], "b": each["b"]}) for each in norms])
    assert found[1] == [near(each) for each in found[0]]
    assert found[0][2]["a"] < 1 and found[0][3]["b"] < 1


def test_layer_clip_adapts_and_a_spike_cannot_raise_its_limit() -> None:
    option = make("gradient", "layer_clip", kappa=2.0, decay=0.9, warmup=2, max_norm=None)
    assert set(option({"a": 1.0, "b": 10.0}).values()) == {1.0}
    assert set(option({"a": 3.0, "b": 10.0}).values()) == {1.0}
    assert option.means == near({"a": 2.0, "b": 10.0})
    assert option({"a": 400.0, "b": 10.0}) == near({"a": 0.01, "b": 1.0})
    assert option.means == near({"a": 0.9 * 2 + 0.1 * 4, "b": 10.0})
    again = make("gradient", "layer_clip", kappa=2.0, decay=0.9, warmup=2, max_norm=None)
    again.load(option.state())
    assert again({"a": 44.0, "b": 1.0}) == option({"a": 44.0, "b": 1.0}) == near({"a": 0.1, "b": 1.0})


def test_updates_without_a_gradient_teach_layer_clip_nothing() -> None:
    """All groups equal, or a KL right after a reset: a mean of 0 would hold the layer at 0 for good."""
    option = make("gradient", "layer_clip", kappa=2.0, decay=0.9, warmup=2, max_norm=None)
    for _ in range(5):
        option({"a": 0.0, "b": 1.0})
    assert option({"a": 3.0, "b": 1.0}) == {"a": 1.0, "b": 1.0}  # the first norm of a: it observes
    assert option({"a": 1.0, "b": 1.0}) == {"a": 1.0, "b": 1.0}
    assert option.means == near({"a": 2.0, "b": 1.0})
    for _ in range(500):
        option({"a": 0.0, "b": 0.0})
    assert option({"a": 8.0, "b": 1.0}) == near({"a": 0.5, "b": 1.0})


def test_layer_clip_in_its_warm_up_clips_globally() -> None:
    assert make("gradient", "layer_clip")(NORMS) == near({"a": 0.195180, "b": 0.195180, "c": 0.195180})


@pytest.mark.parametrize("name", ["global_clip", "layer_clip"])
@pytest.mark.parametrize("norm", [math.inf, math.nan])
def test_a_broken_norm_zeroes_the_step(name: str, norm: float) -> None:
    option = make("gradient", name)
    assert option(NORMS | {"a": norm}) == {"a": 0.0, "b": 0.0, "c": 0.0}
    if name == "layer_clip":
        assert option.state() == {"seen": {}, "means": {}, "scales": []}
