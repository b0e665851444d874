"""Draws repeat nothing within an epoch, keep their shares, and resume where they stopped."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr_cli.core.errors import UserError
from rlvr_cli.data.sampler import Sampler, order


def sampler(sizes: dict[str, int], weights: dict[str, float] | None = None, seed: int = 0) -> Sampler[str]:
    items = {name: [f"{name}{i}" for i in range(n)] for name, n in sizes.items()}
    return Sampler(items, weights or dict.fromkeys(sizes, 1.0), seed)


def test_order_is_a_seeded_permutation() -> None:
    assert sorted(order(50, 0, 0)) == list(range(50))
    assert order(50, 0, 0) == order(50, 0, 0)
    assert len({tuple(order(50, seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4
    # Pinned: a checkpoint of an older release must continue in the same order.
    assert order(8, 0, 0, "train") == [2, 5, 0, 7, 1, 6, 3, 4]


@given(n=st.integers(1, 30), chunk=st.integers(1, 7), seed=st.integers(0, 5), epochs=st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_every_epoch_visits_each_once(n: int, chunk: int, seed: int, epochs: int) -> None:
    source = sampler({"a": n}, seed=seed)
    drawn = []
    while len(drawn) < n * epochs:
        drawn += source.take(chunk)
    assert [index for index, _ in drawn] == list(range(len(drawn)))
    for epoch in range(epochs):
        assert len({item for _, item in drawn[epoch * n : (epoch + 1) * n]}) == n


def test_each_epoch_has_an_order_of_its_own() -> None:
    drawn = [int(item.removeprefix("a")) for _, item in sampler({"a": 8}).take(24)]
    first, second, third = drawn[:8], drawn[8:16], drawn[16:]
    assert (first, second, third) == tuple(order(8, 0, epoch, "a") for epoch in range(3))
    assert first != second != third != first


@given(
    sizes=st.dictionaries(st.sampled_from("abc"), st.integers(1, 9), min_size=1),
    first=st.integers(0, 40),
    weight=st.floats(0.1, 5),
)
@settings(max_examples=60, deadline=None)
def test_resume_equals_an_uninterrupted_run(sizes: dict[str, int], first: int, weight: float) -> None:
    weights = {name: weight + i for i, name in enumerate(sizes)}
    whole = sampler(sizes, weights).take(first + 25)
    before = sampler(sizes, weights)
    head = before.take(first)
    after = sampler(sizes, weights)
    after.load(json.loads(json.dumps(before.state())))
    assert head + after.take(25) == whole
    assert after.position == first + 25


def test_chunking_does_not_matter() -> None:
    one, many = sampler({"a": 5, "b": 3}), sampler({"a": 5, "b": 3})
    assert one.take(20) == [draw for size in (1, 7, 4, 8) for draw in many.take(size)]


@given(weights=st.tuples(st.floats(0.05, 10), st.floats(0.05, 10), st.floats(0.05, 10)))
@settings(max_examples=40, deadline=None)
def test_shares_hold_at_every_moment(weights: tuple[float, float, float]) -> None:
    named = dict(zip("abc", weights, strict=True))
    source = sampler({"a": 7, "b": 11, "c": 3}, named)
    for position in range(1, 200):
        source.take(1)
        for name, weight in named.items():
            assert abs(source.drawn[name] - position * weight / sum(weights)) < 2


def test_three_to_one() -> None:
    source = sampler({"a": 100, "b": 100}, {"a": 3.0, "b": 1.0})
    names = "".join(item[0] for _, item in source.take(8))
    assert names == "aabaaaba"
    assert source.epochs == {"a": 0.06, "b": 0.02}


def test_weight_zero_is_never_drawn() -> None:
    source = sampler({"a": 3, "b": 3}, {"a": 0.0, "b": 2.0})
    assert {item[0] for _, item in source.take(10)} == {"b"}


def test_a_new_mix_goes_on_where_each_source_was() -> None:
    source = sampler({"a": 10, "b": 6, "c": 4}, {"a": 1.0, "b": 1.0, "c": 0.0})
    drawn = [item for _, item in source.take(8)]
    source.mix({"a": 0.0, "b": 1.0, "c": 3.0})
    drawn += [item for _, item in source.take(4)]
    # Three of four from c at once: it need not make up for what the others had before it came.
    assert [item[0] for item in drawn[8:]].count("c") == 3
    source.mix({"a": 1.0, "b": 0.0, "c": 0.0})
    drawn += [item for _, item in source.take(6)]
    assert [item[0] for item in drawn[12:]] == ["a"] * 6
    assert len(set(drawn)) == len(drawn) == 18 and source.drawn == {"a": 10, "b": 5, "c": 3}
    with pytest.raises(UserError, match="weights of all data sources are 0"):
        source.mix({"a": 0.0, "b": 0.0, "c": 0.0})


@given(
    mixes=st.lists(st.tuples(st.floats(0, 3), st.floats(0.1, 3)), min_size=2, max_size=4),
    length=st.integers(1, 20),
    cut=st.integers(0, 19),
)
@settings(max_examples=60, deadline=None)
def test_mixes_hold_their_shares_repeat_nothing_and_resume(
    mixes: list[tuple[float, float]], length: int, cut: int
) -> None:
    def named(mix: tuple[float, float]) -> dict[str, float]:
        return {"a": mix[0], "b": mix[1]}

    whole, cut_off = (sampler({"a": 90, "b": 90}, named(mixes[0])) for _ in range(2))
    seen: list[tuple[int, str]] = []
    for mix in mixes:
        whole.mix(named(mix))
        before = dict(whole.drawn)
        part = whole.take(length)
        seen += part
        share = mix[0] / sum(mix)
        assert abs(whole.drawn["a"] - before["a"] - length * share) < 2
        cut_off.mix(named(mix))
        head = cut_off.take(min(cut, length))
        resumed = sampler({"a": 90, "b": 90}, named(mixes[0]))
        resumed.mix(named(mix))
        resumed.load(json.loads(json.dumps(cut_off.state())))
        assert head + resumed.take(length - len(head)) == part
        cut_off = resumed
    assert [index for index, _ in seen] == list(range(len(seen)))
    assert len({item for _, item in seen}) == len(seen)


def test_wrong_weights_and_changed_data() -> None:
    with pytest.raises(UserError, match=r"data.a.weight is -1.0"):
        sampler({"a": 3}, {"a": -1.0})
    with pytest.raises(UserError, match="weights of all data sources are 0"):
        sampler({"a": 3}, {"a": 0.0})
    with pytest.raises(UserError, match=r"data.a has nothing to draw from"):
        sampler({"a": 0})
    with pytest.raises(UserError, match="the data changed since the checkpoint"):
        sampler({"a": 4}).load(sampler({"a": 3}).state())
    with pytest.raises(UserError, match="the data changed since the checkpoint"):
        sampler({"a": 3}, seed=1).load(sampler({"a": 3}).state())
