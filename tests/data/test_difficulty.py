"""How often a problem comes by how often it is solved: chances by hand, none vanishes, resumed midway."""

from __future__ import annotations

import json
from collections import Counter
from math import nan
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Problem
from rlvr_cli.data.difficulty import Pace, choose, coin, weight
from rlvr_cli.data.profiles import key_of
from rlvr_cli.data.sampler import Sampler
from rlvr_cli.schema import Difficulty, DifficultyWeight, Unprofiled

VARIANCE, SIGNAL = DifficultyWeight.variance, DifficultyWeight.signal


def problem(n: int, source: str = "train") -> Problem:
    own = {"prompt": f"p{n}"}
    return Problem(id=f"{n}", prompt=f"<{n}>", tokens=[n], answer="", source=source, verifiers=[], extra=own)


def known(*rates: float, of: int = 10) -> dict[str, tuple[float, float]]:
    return {key_of(problem(n)): (round(rate * of), of) for n, rate in enumerate(rates)}


def pace(given: Difficulty, *rates: float, seed: int = 0, name: str = "train") -> Pace:
    """Of problems with these pass rates in ten samples."""
    problems = [problem(n, name) for n in range(len(rates))]
    return Pace(name, given, problems, known(*rates), seed=seed, group_size=4)


def chances(found: Pace) -> list[float]:
    return [found.chance(row) for row in range(len(found.keys))]


def test_weights_by_hand() -> None:
    def of(kind: str, power: float = 1.0, *, rate: float) -> float:
        return weight(rate, Difficulty(weight=DifficultyWeight[kind], power=power), 4)

    assert of("uniform", rate=0.3) == 1.0
    assert of("variance", rate=0.5) == 1.0 and of("variance", rate=0.1) == pytest.approx(0.36)
    assert of("variance", 0.5, rate=0.1) == pytest.approx(0.6)  # the root of 0.36
    assert of("hard", rate=0.25) == 0.75 and of("hard", 2, rate=0.25) == 0.5625
    # Of four samples: 1 - 0.5^4 - 0.5^4, and 1 - 0.9^4 - 0.1^4
    assert of("signal", rate=0.5) == 0.875 and of("signal", rate=0.9) == pytest.approx(1 - 0.6561 - 0.0001)
    assert of("signal", rate=0.0) == of("signal", rate=1.0) == of("variance", rate=1.0) == 0.0


def test_chances_have_a_floor() -> None:
    assert chances(pace(Difficulty(weight=VARIANCE, floor=0.2), 0.0, 0.1, 0.5, 1.0)) == pytest.approx(
        [0.2, 0.36, 1.0, 0.2]
    )
    # A band that adapts leaves nothing out: what is outside comes as rarely as the floor says.
    adapting = Difficulty(band=[0.2, 0.8], adapt=True, floor=0.05)
    assert chances(pace(adapting, 0.1, 0.2, 0.8, 0.9)) == [0.05, 1.0, 1.0, 0.05]
    assert chances(pace(Difficulty(band=[0.2, 0.8]), 0.2, 0.8)) == [1.0, 1.0]


@given(
    rates=st.lists(st.integers(0, 10).map(lambda n: n / 10), min_size=1, max_size=8),
    kind=st.sampled_from(DifficultyWeight),
    power=st.floats(0.25, 4),
    floor=st.floats(0.01, 1),
    adapt=st.booleans(),
    groups=st.lists(
        st.tuples(st.integers(0, 7), st.lists(st.sampled_from([0.0, 1.0]), min_size=1)), max_size=9
    ),
)
@settings(max_examples=60, deadline=None)
def test_no_problem_vanishes_and_the_shares_sum_to_one(
    rates: list[float], kind: DifficultyWeight, power: float, floor: float, adapt: bool, groups: list[Any]
) -> None:
    chosen = Difficulty(weight=kind, power=power, floor=floor, adapt=adapt, band=[0.2, 0.8] if adapt else [])
    found = pace(chosen, *rates)
    for row, correct in groups:
        if row < len(rates):
            found.observe(f"{row}", correct)
    each = chances(found)
    assert all(floor <= chance <= 1 for chance in each)
    assert sum(chance / sum(each) for chance in each) == pytest.approx(1)
    assert all(0 <= found.rate(row) <= 1 for row in range(len(rates)))
    numbers = found.metrics()
    parts = (numbers[f"data/train/{kind}_fraction"] for kind in ("hard", "medium", "easy"))
    assert sum(parts) == pytest.approx(1)
    assert 1 - 1e-9 <= numbers["data/train/effective_problems"] <= len(rates) + 1e-9


def test_the_groups_of_a_run_change_what_is_known() -> None:
    found = pace(Difficulty(weight=VARIANCE, adapt=True, prior=4, memory=0.5), 0.5, 0.2)
    assert found.rate(0) == 0.5 and found.rate(1) == pytest.approx(0.2)
    found.observe("0", [1.0, 1.0, 1.0, 1.0])
    # Of 2 in 4 half is forgotten: (1 + 4) of (2 + 4).
    assert found.rate(0) == pytest.approx(5 / 6) and found.chance(0) == pytest.approx(4 * 5 / 6 / 6)
    found.observe("0", [0.0, nan, nan, 1.0])
    assert found.rate(0) == pytest.approx((2.5 + 1) / (3 + 2))
    found.observe("0", [nan] * 4)  # no verdicts say nothing
    assert found.rate(0) == pytest.approx(0.7) and found.rate(1) == pytest.approx(0.2)
    still = pace(Difficulty(weight=VARIANCE), 0.5)
    still.observe("0", [1.0] * 4)
    assert still.rate(0) == 0.5 and still.state() == {}


def test_rows_of_one_problem_share_what_is_known() -> None:
    twice = [problem(0), Problem(**{f: getattr(problem(0), f) for f in Problem.__slots__} | {"id": "0#2"})]
    found = Pace("train", Difficulty(weight=VARIANCE, adapt=True), twice, {}, seed=0, group_size=4)
    found.observe("0#2", [1.0] * 4)
    assert found.rate(0) == found.rate(1) > 0.5


def test_shares_of_difficulty_and_the_effective_number_by_hand() -> None:
    found = pace(Difficulty(weight=VARIANCE, floor=0.1), 0.0, 0.5, 0.9, 1.0).metrics()
    assert found["data/train/hard_fraction"] == 0.25 and found["data/train/easy_fraction"] == 0.5
    assert found["data/train/medium_fraction"] == 0.25 and found["data/train/pass_rate"] == pytest.approx(0.6)
    # Chances 0.1, 1, 0.36, 0.1: 1.56^2 / (0.01 + 1 + 0.1296 + 0.01)
    assert found["data/train/effective_problems"] == pytest.approx(2.4336 / 1.1496)


def test_what_may_come_and_what_is_said_of_the_rest() -> None:
    rows = [problem(n) for n in range(5)]
    counted = known(0.0, 0.1, 0.9, 1.0)  # the fifth is not known
    kept, said = choose("train", Difficulty(file="f", band=[0.1, 0.9]), rows, counted)
    assert [p.id for p in kept] == ["1", "2", "4"]
    assert said == (
        "train: 3 of 5 problems by difficulty, 2 outside of the band [0.1, 0.9], "
        "1 not in f (kept as half solved)"
    )
    kept, said = choose(
        "train", Difficulty(file="f", band=[0.1, 0.9], unprofiled=Unprofiled.drop), rows, counted
    )
    assert [p.id for p in kept] == ["1", "2"] and said.endswith("1 not in f (left out)")
    kept, _ = choose("train", Difficulty(file="f", band=[0.1, 0.9], adapt=True), rows, counted)
    assert len(kept) == 5
    kept, said = choose("train", Difficulty(adapt=True), rows, None)
    assert len(kept) == 5 and said == "train: pass rates from this run's own groups"


@pytest.mark.parametrize(
    ("chosen", "counted", "refused"),
    [
        (
            Difficulty(file="f", band=[0.4, 0.6]),
            known(0.0, 1.0),
            "nothing is left of 2 problems: 2 are outside",
        ),
        (
            Difficulty(file="f", band=[0.4, 0.6]),
            {"other": (1, 2)},
            "knows none of the 2 problems .* another data set",
        ),
        (
            Difficulty(file="f", unprofiled=Unprofiled.fail),
            known(0.5),
            "f does not know problem 1, and unprofiled",
        ),
    ],
)
def test_a_choice_that_leaves_nothing_is_refused(chosen: Difficulty, counted: Any, refused: str) -> None:
    with pytest.raises(UserError, match=f"^data.train.difficulty: .*{refused}"):
        choose("train", chosen, [problem(0), problem(1)], counted)


def sampler(chosen: Difficulty, *rates: float, others: int = 3, seed: int = 0) -> Sampler[Problem]:
    items = {"train": [problem(n) for n in range(len(rates))], "b": [problem(n, "b") for n in range(others)]}
    return Sampler(items, {"train": 2.0, "b": 1.0}, seed, {"train": pace(chosen, *rates, seed=seed)})


def test_without_a_pace_the_order_and_the_state_are_what_they_were() -> None:
    items = {"train": [problem(n) for n in range(7)]}
    plain, sure = Sampler(items, {"train": 1.0}, 3), sampler(Difficulty(band=[0.0, 1.0]), *[0.5] * 7, seed=3)
    assert set(plain.state()) == {"drawn", "base", "identity"}
    assert set(plain.state()["identity"]) == {"seed", "sizes", "shares"}
    of_train = [p.id for _, p in sure.take(60) if p.source == "train"]
    assert of_train[:40] == [p.id for _, p in plain.take(40)]


def test_within_an_epoch_nothing_comes_twice_and_chances_are_kept() -> None:
    drawn = Counter[str]()
    found = sampler(Difficulty(weight=VARIANCE, floor=0.1), 0.0, 0.1, 0.5, 0.9, 1.0)
    epochs: dict[int, list[str]] = {}
    while found.epochs["train"] < 2000:
        epoch = found.turns["train"] // 5
        [(_, each)] = found.take(1)
        if each.source == "train":
            epoch = (found.turns["train"] - 1) // 5
            epochs.setdefault(epoch, []).append(each.id)
            drawn[each.id] += 1
    assert all(len(set(ids)) == len(ids) for ids in epochs.values())
    assert drawn["2"] >= 1999  # of the last epoch the turn may not have come
    # Five standard deviations of a share of 2,000 coins
    for row, chance in {"0": 0.1, "1": 0.36, "3": 0.36, "4": 0.1}.items():
        assert drawn[row] / 2000 == pytest.approx(chance, abs=5 * (chance * (1 - chance) / 2000) ** 0.5)


@given(first=st.integers(0, 30), seed=st.integers(0, 3), adapt=st.booleans())
@settings(max_examples=30, deadline=None)
def test_resumed_in_the_middle_it_goes_on_exactly(first: int, seed: int, adapt: bool) -> None:
    chosen = Difficulty(weight=SIGNAL, adapt=adapt)
    rates = (0.0, 0.1, 0.4, 0.5, 0.9, 1.0)

    def go(on: Sampler[Problem], steps: int) -> list[tuple[int, str, str]]:
        """Draws, with a group of each problem counted after each two: what a run does."""
        seen = []
        for _ in range(steps):
            for index, each in on.take(2):
                seen.append((index, each.source, each.id))
                if each.source == "train":
                    on.paces["train"].observe(each.id, [float(coin(f"{index}/{s}") < 0.7) for s in range(4)])
        return seen

    whole = go(sampler(chosen, *rates, seed=seed), first + 20)
    before = sampler(chosen, *rates, seed=seed)
    head = go(before, first)
    after = sampler(chosen, *rates, seed=seed)
    after.load(json.loads(json.dumps(before.state())))
    assert head + go(after, 20) == whole


def test_a_step_that_is_put_back_comes_again() -> None:
    found = sampler(Difficulty(weight=VARIANCE, adapt=True), 0.0, 0.2, 0.5, 1.0)
    found.take(9)
    start = found.state()
    first = [(n, p.id) for n, p in found.take(8)]
    found.paces["train"].observe("0", [1.0] * 4)
    found.load(start)
    assert [(n, p.id) for n, p in found.take(8)] == first and found.paces["train"].rate(0) == 0.0


def test_another_profile_is_other_data() -> None:
    before = sampler(Difficulty(weight=VARIANCE), 0.1, 0.5)
    before.take(5)
    other = sampler(Difficulty(weight=VARIANCE), 0.2, 0.5)
    with pytest.raises(UserError, match="the data changed since the checkpoint"):
        other.load(before.state())
    other.load(before.state(), adopt=True)
    assert other.turns["train"] == other.drawn["train"] == 0 and other.drawn["b"] == before.drawn["b"] > 0
    moved = Difficulty(weight=VARIANCE, file="elsewhere.jsonl")  # the same pass rates under another name
    sampler(moved, 0.1, 0.5).load(before.state())


def test_passing_over_what_came_keeps_what_was_learned() -> None:
    found = sampler(Difficulty(weight=VARIANCE, adapt=True), 0.0, 0.5)
    start = found.state()
    found.take(7)
    found.paces["train"].observe("0", [1.0] * 4)
    later = found.state()
    found.load(start)
    found.skip(later)
    assert found.turns == later["turns"] and found.paces["train"].rate(0) > 0.5
