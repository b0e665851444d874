"""Engine and trainer are compared on every rank, and what is no number is no agreement."""

from __future__ import annotations

import math

import pytest
from small_parts import Counts, Still, recipe, small_parts
from thread_ranks import on_ranks

from rlvr_cli.rollout import SyncError
from rlvr_cli.training.weight_sync import demand_agreement, probe_gap


class Off(Counts):
    """An engine whose logprobs are all so much above the trainer's."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def probe(self, tokens: list[int]) -> list[float]:
        return [logprob + self.by for logprob in super().probe(tokens)]


@pytest.mark.parametrize("gaps", [(1.0, 0.0), (0.0, 1.0)])
def test_the_gap_is_that_of_the_worst_rank_on_every_rank(
    gaps: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = on_ranks(monkeypatch, 2, lambda rank: probe_gap(Off(gaps[rank]), Still(), [5, 6, 7]))  # type: ignore[arg-type]
    assert found == [1.0, 1.0]


def test_a_gap_that_is_no_number_is_no_agreement() -> None:
    """Also under a tolerance that any number would keep to."""
    whole = recipe()
    whole.rollout.probe_tolerance = 1e9
    demand_agreement(small_parts(whole, engine=Off(1.0)), "now", "why")
    with pytest.raises(SyncError, match="now, the rollout engine's logprobs are off by nan on average"):
        demand_agreement(small_parts(whole, engine=Off(math.nan)), "now", "why")


@pytest.mark.parametrize("gaps", [(math.nan, 0.0), (0.0, math.nan)])
def test_a_gap_that_is_no_number_on_one_rank_is_none_on_every_rank(
    gaps: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's max passes over a NaN that is not the first."""
    found = on_ranks(monkeypatch, 2, lambda rank: probe_gap(Off(gaps[rank]), Still(), [5, 6, 7]))  # type: ignore[arg-type]
    assert all(math.isnan(gap) for gap in found)
