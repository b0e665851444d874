"""Values that cross between processes, and what the host makes of them."""

from __future__ import annotations

import json
import math
from collections import Counter, namedtuple
from enum import IntEnum
from time import perf_counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr_cli.verifiers.sandbox import numeric
from rlvr_cli.verifiers.sandbox.received import json_value, same, shown
from rlvr_cli.verifiers.sandbox.values import Unknown, decode, encode

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
)
KEYS = (
    st.integers()
    | st.text(max_size=3)
    | st.tuples(st.integers(), st.integers())
    | st.frozensets(st.integers())
)
VALUES = st.recursive(
    SCALARS | st.binary(max_size=4) | st.complex_numbers(allow_nan=False) | st.sets(KEYS, max_size=4),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(KEYS, inner, max_size=4)
    ),
)


def sent(value: Any) -> Any:
    """As it arrives at the other side of the channel."""
    return json.loads(json.dumps(encode(value, [])))


def nothing(data: Any) -> Any:
    raise AssertionError(data)


@settings(max_examples=60, deadline=None)
@given(VALUES)
def test_builtin_values_arrive_as_they_were(value: Any) -> None:
    arrived = decode(sent(value), nothing)
    assert arrived == value and type(arrived) is type(value)


@settings(max_examples=60, deadline=None)
@given(JSON, JSON)
def test_a_value_is_right_where_python_says_equal(said: Any, meant: Any) -> None:
    assert same(sent(said), said)
    assert same(sent(said), meant) == (said == meant)
    assert json_value(sent(said)) == said


Pair = namedtuple("Pair", "a b")


class Colour(IntEnum):
    red = 1


@pytest.mark.parametrize(
    ("said", "meant", "equal"),
    [
        ((1, (2, 3)), [1, [2, 3]], True),
        ({1: "a", 2: "b"}, {"1": "a", "2": "b"}, True),
        ({True: 1, None: 2, 1.5: 3}, {"true": 1, "null": 2, "1.5": 3}, True),
        ({1: 2, "1": 2}, {"1": 2, "2": 2}, False),
        ({1: 2}, {"2": 2}, False),
        ({(1, 2): 3}, {"(1, 2)": 3}, False),
        (Counter("aab"), {"a": 2, "b": 1}, True),
        (Pair(1, 2), [1, 2], True),
        (Colour.red, 1, True),
        ([Colour.red], [2], False),
        (np.int64(7), 7, True),
        (np.float64(0.5), 0.5, True),
        (np.bool_(True), True, True),
        (np.array([1, 2]), [1, 2], False),
        ({1, 2}, [1, 2], False),
        (iter([1, 2]), [1, 2], False),
        pytest.param(10**6000, 10**6000, True, id="large"),
        pytest.param(10**6000 + 1, 10**6000, False, id="large and wrong"),
        (b"a", "a", False),
        (1j, 1, False),
        (object(), 1, False),
        (math.nan, math.nan, False),
    ],
)
def test_what_equals_an_expected_value(said: Any, meant: Any, equal: bool) -> None:
    assert same(sent(said), meant) is equal


@pytest.mark.parametrize(
    "junk",
    [
        [1],
        {"list": 5},
        {"dict": [[1]]},
        {"dict": 5},
        {"dict": [[{"set": [1]}, 1]]},
        {"int": 7},
        {"plain": {"plain": 1}},
        {"value": 1},
        {"handle": 0},
        {},
    ],
)
def test_junk_equals_nothing(junk: Any) -> None:
    for meant in ([1], {"1": 1}, 0, "", None):
        assert not same(junk, meant)
    if junk != {"plain": {"plain": 1}}:
        assert shown(junk)
    with pytest.raises(ValueError, match="no JSON"):
        json_value(junk)


def test_values_whose_hashes_collide_cost_the_host_nothing() -> None:
    """All multiples of 2**61 - 1 have the hash 0: a set of 50,000 of them takes minutes to build."""
    items = [k * ((1 << 61) - 1) for k in range(1, 50_000)]
    hostile = [{"set": items}, {"dict": [[item, 0] for item in items]}, {"list": [{"frozenset": items}]}]
    started = perf_counter()
    for said in hostile:
        assert not same(said, {str(k): 0 for k in range(len(items))}) and not same(said, [[1]])
        with pytest.raises(ValueError, match="no JSON"):
            json_value(said)
        assert len(shown(said)) <= 100
    assert perf_counter() - started < 2


@pytest.mark.parametrize(
    "value", [np.arange(6.0).reshape(2, 3), np.zeros((0, 3), int), np.array([True, False])]
)
def test_arrays_of_numbers_cross(value: np.ndarray[Any, Any]) -> None:
    arrived = decode(sent(value), nothing)
    assert arrived.dtype == value.dtype and arrived.shape == value.shape and (arrived == value).all()


@pytest.mark.parametrize(
    "data", [["|O8", [1], [1]], ["<f8", [2], [1.0]], ["<f8", [1], [[1], 2]], ["f8, i4", [1], [1]]]
)
def test_no_other_array_is_made(data: Any) -> None:
    with pytest.raises(Unknown):
        decode({"array": data}, nothing)


def test_the_stand_in_compares_as_numpy_does() -> None:
    missing = numeric.numpy(KeyError)
    assert math.isnan(missing.nan) and missing.inf == math.inf
    for a, b in (([1.0, math.nan], [1.0, math.nan]), (math.nan, math.nan), (1.0, math.nan)):
        for equal in (False, True):
            assert missing.allclose(a, b, equal_nan=equal) == np.allclose(a, b, equal_nan=equal)
    with pytest.raises(KeyError, match=r"numpy\.zeros is not there"):
        missing.zeros(2)
