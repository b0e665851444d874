"""Early pruning as pure functions: who is dropped, and what that costs."""

from __future__ import annotations

import pytest

from rlvr_cli.core.probes import Probes, probes_of, row_of
from rlvr_cli.otv.pruning import Halving, Race, Threshold, Winner, default_milestones, replayed


def course(*pairs: tuple[int, float]) -> Probes:
    return Probes(tokens=[n for n, _ in pairs], confidences=[c for _, c in pairs])


def test_halving_of_the_worked_example() -> None:
    """8 traces of 8000 tokens, milestones 1000, 2000, 4000: 20000 of 64000 tokens, 68.75 % saved."""
    assert default_milestones(8, 8000) == [1000, 2000, 4000]
    traces = [course(*((n, i / 8) for n in range(1000, 8001, 1000))) for i in range(8)]
    race = replayed(Race(traces=8, ema=0.5, rule=Halving(milestones=[1000, 2000, 4000])), traces, [8000] * 8)
    assert race.tokens == 20000 and 1 - race.tokens / 64000 == pytest.approx(0.6875)
    assert race.left == [7], "the one with the highest confidence"
    assert sorted(race.lengths.values()) == [1000] * 4 + [2000] * 2 + [4000, 8000]


def test_without_a_rule_all_run_to_their_end() -> None:
    race = replayed(Race(traces=2, ema=0.0, rule=None), [course((3, 0.1)), course((9, 0.2))], [3, 9])
    assert race.tokens == 12 and race.left == [1, 0] and race.over


def test_a_milestone_takes_effect_at_the_next_probe_and_odd_numbers_keep_the_larger_half() -> None:
    traces = [course((32, c), (64, c)) for c in (0.1, 0.5, 0.9)]
    race = replayed(Race(traces=3, ema=0.0, rule=Halving(milestones=[20, 40])), traces, [64] * 3)
    assert race.lengths == {0: 32, 1: 64, 2: 64} and race.left == [2]


def test_a_trace_that_has_ended_is_ranked_with_the_others() -> None:
    traces = [course((5, 0.2)), course((8, 0.9), (16, 0.9)), course((8, 0.4), (16, 0.4))]
    race = replayed(Race(traces=3, ema=0.0, rule=Halving(milestones=[8])), traces, [5, 16, 16])
    assert race.dropped == {0} and race.lengths[0] == 5, "it costs what it cost, and has no vote"


def test_threshold_waits_and_never_drops_the_best() -> None:
    traces = [course((4, 0.05), (8, 0.1), (12, 0.1)), course((4, 0.2), (8, 0.25), (12, 0.3))]
    rule = Threshold(below=0.5, min_tokens=8)
    race = replayed(Race(traces=2, ema=0.0, rule=rule), traces, [12, 12])
    assert race.lengths == {0: 8, 1: 12} and race.left == [1]


def test_the_first_certain_one_wins() -> None:
    traces = [course((6, 0.95)), course((4, 0.97), (8, 0.99), (12, 0.99)), course((4, 0.1), (5, 0.1))]
    race = replayed(Race(traces=3, ema=0.0, rule=Winner(above=0.9)), traces, [6, 12, 5])
    assert race.left == [0] and race.lengths == {2: 5, 0: 6, 1: 6}, "trace 1 is surer, and not at its end"
    unsure = replayed(Race(traces=3, ema=0.0, rule=Winner(above=0.999)), traces, [6, 12, 5])
    assert unsure.tokens == 23 and len(unsure.left) == 3


def test_the_moving_mean_remembers() -> None:
    race = Race(traces=1, ema=0.75, rule=None)
    race.see(1, {0: 0.8}, [])
    race.see(2, {0: 0.0}, [])
    assert race.mean(0) == pytest.approx(0.6), "0.75 * 0.8 + 0.25 * 0"


def test_probes_go_through_json() -> None:
    found = Probes(tokens=[3, 5], confidences=[0.123456789, 1.0], dropped=True, recomputed=7)
    assert row_of(found)["confidences"] == [0.1234568, 1.0]
    assert probes_of(row_of(found)) == Probes(
        tokens=[3, 5], confidences=[0.1234568, 1.0], dropped=True, recomputed=7
    )
