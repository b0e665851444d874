"""Advantages of several rewards, each compared by itself."""

import math

import pytest
import torch
from f1 import advantages, make, near
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

NAN = math.nan
ONES = torch.ones(4, dtype=torch.long)
FIRST, SECOND = [1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 1.0, 1.0]


def found(*parts: tuple[float, list[float]], **fields: bool | float) -> list[float]:
    """Advantages of one group of four; each part: a verifier's weight and its scores."""
    weighted = {
        f"v{i}": (w, torch.tensor([[w * x for x in each]], dtype=torch.float64))
        for i, (w, each) in enumerate(parts)
    }
    total: Tensor = sum(x for _, x in weighted.values())  # type: ignore[assignment]
    return advantages(make("advantage", "separate_rewards", **fields), total, ONES, parts=weighted).tolist()


def test_two_kinds_of_success() -> None:
    """The sums 1 1 2 1 merge them, a z-score of each does not."""
    sums = torch.tensor([[1.0, 1.0, 2.0, 1.0]], dtype=torch.float64)
    assert advantages(make("advantage", "group_zscore"), sums, ONES).tolist() == near([-0.5, -0.5, 1.5, -0.5])
    both = (1.0, FIRST), (1.0, SECOND)
    four = [-0.6340, -0.3660, 1.3660, -0.3660]
    assert found(*both, whiten=False) == pytest.approx(four, abs=1e-4)
    assert found(*both, eps=0.0) == pytest.approx([-0.6896, -0.3981, 1.4858, -0.3981], abs=1e-4)


def test_one_reward_is_grpo_and_a_weight_is_a_factor() -> None:
    rewards = torch.tensor([FIRST], dtype=torch.float64)
    plain = advantages(make("advantage", "group_zscore"), rewards, ONES).tolist()
    assert found((1.0, FIRST), whiten=False) == near(plain)
    assert found((3.0, FIRST), whiten=False, eps=0.0) == near([3 * a for a in plain])
    assert found((-1.0, FIRST), whiten=False) == near([-a for a in plain])
    assert found((3.0, FIRST), eps=0.0) == near(found((1.0, FIRST), eps=0.0))


def test_what_is_equal_or_unknown_teaches_nothing() -> None:
    assert found((1.0, [0.1] * 4), (2.0, [0.7] * 4)) == [0.0] * 4
    alone = found((1.0, FIRST), (1.0, [0.3] * 4))
    assert alone == near(found((1.0, FIRST)))
    assert found((1.0, [1.0, 0.0, NAN, NAN]), (1.0, [NAN] * 4))[2:] == [0.0, 0.0]


def test_a_verifier_without_a_say_compares_the_others() -> None:
    """Its scores are NaN where the sample has a reward by the other one."""
    rewards = torch.tensor([[1.0, 0.0, 2.0, 0.0]], dtype=torch.float64)
    parts = {
        "a": (1.0, torch.tensor([[1.0, 0.0, 1.0, 0.0]])),
        "b": (1.0, torch.tensor([[NAN, NAN, 1.0, 0.0]])),
    }
    option = make("advantage", "separate_rewards", whiten=False)
    a, b = 0.5 / (1 / 3) ** 0.5, 0.5 / 0.5**0.5
    assert advantages(option, rewards, ONES, parts=parts).tolist() == near([a, -a, a + b, -a - b])


@settings(deadline=None)
@given(
    st.lists(st.lists(st.floats(0, 1), min_size=4, max_size=4), min_size=1, max_size=3), st.floats(0.1, 10)
)
def test_scales_of_verifiers_do_not_matter(scores: list[list[float]], factor: float) -> None:
    """The weight is what a verifier counts, whatever its unit."""
    scores = [[round(x, 3) for x in each] for each in scores]
    plain = found(*((1.0, each) for each in scores), eps=0.0)
    scaled = found((1.0, [factor * x for x in scores[0]]), *((1.0, each) for each in scores[1:]), eps=0.0)
    assert scaled == pytest.approx(plain, abs=1e-6)
    assert sum(plain) == pytest.approx(0, abs=1e-9)


def test_it_needs_the_scores_of_each() -> None:
    with pytest.raises(ValueError, match="needs the verifiers' scores"):
        advantages(make("advantage", "separate_rewards"))
