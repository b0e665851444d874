"""GradLoc's search on known gradients, with the numbers of its description; when a norm is a spike."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr_cli.algorithms.gradient import GlobalClip, LayerClip
from rlvr_cli.engine.gradient_search import Budget, Segment, culprits, halve, threshold


def tokens(**added: float) -> np.ndarray:
    """Gradients of 16 tokens in 8 dimensions, some moved: t11=40 adds 40 to each coordinate of token 11."""
    gradients = 0.5 * np.random.default_rng(0).normal(size=(16, 8))
    for name, amount in added.items():
        gradients[int(name[1:])] += amount
    return gradients


def drive(search, norm):
    """(what the search returns, the segments it asked for with the answers)."""
    asked = []
    try:
        wanted = next(search)
        while True:
            asked.append((wanted, norm(wanted)))
            wanted = search.send(asked[-1][1])
    except StopIteration as end:
        return end.value, asked


def found_in(gradients: np.ndarray, spike: float = 8.0, budget: int = 128):
    def norm(part: tuple[int, int]) -> float:
        return float(np.linalg.norm(gradients[part[0] : part[1]].mean(0)))

    search = halve(len(gradients), lambda a, b: threshold(spike, b - a), Budget(budget))
    hits, asked = drive(search, norm)
    return [place for place, _ in hits], asked


def test_thresholds_are_the_published_ones() -> None:
    """tau 640, 40000 tokens, 4 micro-batches, 8 ranks; averaging over ranks scales by the active share."""
    assert GlobalClip(spike=640.0).spiked(12.8 + 1e-5, 40_000, 4) == 640.0
    assert GlobalClip(spike=640.0).spiked(12.8 - 1e-5, 40_000, 4) is None
    assert threshold(640, 40_000 / 4) == pytest.approx(6.4, abs=1e-5)
    assert threshold(640, 40_000 / 4 * 4 / 8) * 4 / 8 == pytest.approx(4.525483, abs=1e-5)
    assert threshold(640, 1000) / 8 == pytest.approx(2.529822, abs=1e-5)
    assert threshold(640, 1) / 8 == pytest.approx(80, abs=1e-5)
    assert [threshold(8, n) for n in (8, 4, 2, 1)] == pytest.approx([2.828427, 4, 5.656854, 8], abs=1e-6)


def test_one_token_is_found_on_the_published_path() -> None:
    places, asked = found_in(tokens(t11=40))
    assert places == [11] and len(asked) == 8
    path = {part: norm for part, norm in asked if norm > threshold(8, part[1] - part[0])}
    assert list(path) == [(8, 16), (8, 12), (10, 12), (11, 12)]
    assert list(path.values()) == pytest.approx([14.230, 28.603, 56.720, 113.558], abs=5e-4)
    beside = [norm for part, norm in asked if part not in path]
    assert [part for part, _ in asked if part not in path] == [(0, 8), (12, 16), (8, 10), (10, 11)]
    assert beside == pytest.approx([0.398, 0.532, 1.198, 1.206], abs=5e-4)


def test_two_tokens_take_14_probes_and_none_takes_2() -> None:
    places, asked = found_in(tokens(t3=40, t11=40))
    assert places == [3, 11] and len(asked) == 14
    places, asked = found_in(tokens())
    assert places == [] and len(asked) == 2


def test_tokens_that_cancel_in_every_segment_are_missed() -> None:
    places, asked = found_in(tokens(t10=40, t11=-40))
    assert places == [] and len(asked) == 2
    places, _ = found_in(tokens(t3=40, t11=-40))
    assert places == [3, 11]  # they meet in the root only, which is not asked for


def test_the_budget_ends_the_search() -> None:
    for budget, places in ((7, []), (8, [11])):
        hits, asked = found_in(tokens(t11=40), budget=budget)
        assert hits == places and len(asked) <= budget


def test_the_larger_half_is_searched_first() -> None:
    places, _ = found_in(tokens(t3=80, t11=40), budget=8)
    assert places == [3]


@settings(deadline=None)
@given(st.integers(1, 300), st.data())
def test_any_single_token_is_found_in_two_probes_a_halving(size, data) -> None:
    culprit = data.draw(st.integers(0, size - 1))
    hits, asked = drive(
        halve(size, lambda a, b: 0.5, Budget(10_000)), lambda part: float(part[0] <= culprit < part[1])
    )
    assert hits == [(culprit, 1.0)] and len(asked) <= max(1, 2 * math.ceil(math.log2(max(size, 2))))


def test_a_norm_that_is_no_number_is_followed() -> None:
    hits, _ = drive(
        halve(9, lambda a, b: 1e9, Budget(99)), lambda part: math.nan if part[0] <= 5 < part[1] else 1.0
    )
    assert [place for place, _ in hits] == [5]


def test_micro_batches_then_sequences_then_tokens() -> None:
    """Sequences of 4, 3, 5 and 2 tokens in two micro-batches; token 2 of sequence 2 is 100, the others 1."""
    counts = [4, 3, 5, 2]

    def norm(segment: Segment) -> float:
        values = [100.0 if (b, t) == (2, 2) else 1.0 for b in segment.sequences for t in range(counts[b])]
        return float(np.mean(values[segment.first : segment.last]))

    search = culprits([[0, 1], [2, 3]], counts, lambda s: threshold(20, s.last - s.first), 64)
    found, asked = drive(search, norm)
    assert [part.segment for part in found] == [Segment((2,), 2, 3)]
    assert [segment for segment, _ in asked[:4]] == [
        Segment((0, 1), 0, 7),
        Segment((2, 3), 0, 7),
        Segment((2,), 0, 5),
        Segment((3,), 0, 2),
    ]


def test_a_sequence_is_named_where_no_token_stands_out() -> None:
    """Eight equal tokens: together too much, each of them ordinary."""
    found, _ = drive(
        culprits([[0]], [8], lambda s: threshold(10, s.last - s.first), 64),
        lambda s: 4.0 if s.last - s.first == 8 else 1.0,
    )
    assert [(part.segment, part.norm) for part in found] == [(Segment((0,), 0, 8), 4.0)]


@pytest.mark.parametrize("option", [GlobalClip, LayerClip])
def test_an_adaptive_spike_is_four_times_the_recent_median(option) -> None:
    rule = option(localise=True)
    assert [rule.spiked(norm, 100.0, 1) for norm in (9.0, *[1.0] * 7)] == [None] * 8  # no history yet
    assert rule.spiked(3.9, 100.0, 1) is None
    assert rule.spiked(4.1, 100.0, 1) == pytest.approx(4.0 * 1.0 * math.sqrt(100))
    again = option(localise=True)
    again.load(rule.state())
    assert again.spiked(4.1, 100.0, 1) == rule.spiked(4.1, 100.0, 1) is not None


def test_bad_settings_are_refused() -> None:
    for bad in ({"spike": 0.0}, {"localise_budget": 1}):
        with pytest.raises(ValueError, match="gradient"):
            GlobalClip(**bad)
