"""Engine and trainer are compared on every rank, and what is no number is no agreement."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from small_parts import Counts, Still, recipe, small_parts
from thread_ranks import on_ranks

from rlvr_cli.core.types import Problem
from rlvr_cli.data.sampler import Sampler
from rlvr_cli.rollout import SyncError
from rlvr_cli.rollout.fingerprints import Receipt
from rlvr_cli.schema import Precision, Rollout, Trainer
from rlvr_cli.training.record import rank_metrics
from rlvr_cli.training.weight_sync import (
    demand_agreement,
    probe_gap,
    probe_tokens,
    probe_tolerance,
    self_check,
    sync,
    sync_tolerance,
    tell,
)


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
    assert demand_agreement(small_parts(recipe(), engine=Off(1.0)), 1e9, "now", "why") == 1.0
    with pytest.raises(SyncError, match="now, the rollout engine's logprobs are off by nan on average"):
        demand_agreement(small_parts(recipe(), engine=Off(math.nan)), 1e9, "now", "why")


@pytest.mark.parametrize("gaps", [(math.nan, 0.0), (0.0, math.nan)])
def test_a_gap_that_is_no_number_on_one_rank_is_none_on_every_rank(
    gaps: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's max passes over a NaN that is not the first."""
    found = on_ranks(monkeypatch, 2, lambda rank: probe_gap(Off(gaps[rank]), Still(), [5, 6, 7]))  # type: ignore[arg-type]
    assert all(math.isnan(gap) for gap in found)


BF16 = Trainer(steps=9, precision=Precision.bf16)


def test_a_sync_is_judged_by_how_far_the_two_were_apart_before() -> None:
    parts = small_parts(recipe(trainer=BF16), engine=Off(0.05))
    self_check(parts)
    assert parts.start_gap == pytest.approx(0.05)
    parts.engine = Off(0.14)
    sync(parts)
    parts.engine = Off(0.16)
    with pytest.raises(SyncError, match=r"after a weight sync.* by 1\.60e-01 .*at most 0\.15 is allowed"):
        sync(parts)
    with pytest.raises(SyncError, match=r"before training.*the two implement this model differently"):
        self_check(small_parts(recipe(trainer=BF16), engine=Off(0.31)))


def test_the_tolerance_is_the_recipes_or_that_of_its_precision() -> None:
    whole, half = recipe(), recipe(trainer=BF16)
    assert probe_tolerance(whole) == sync_tolerance(whole, 1e-7) == 1e-4
    assert (probe_tolerance(half), sync_tolerance(half, 0.001)) == (0.3, 0.02)
    assert sync_tolerance(half, 0.1) == pytest.approx(0.3)
    whole.rollout.dtype = Precision.bf16
    assert probe_tolerance(whole) == 0.3, "the engine rounds"
    half.rollout.probe_tolerance = 0.07
    assert probe_tolerance(half) == probe_tolerance(half, bf16=0.1) == sync_tolerance(half, 0.1) == 0.07


def test_the_probe_is_text_of_the_run() -> None:
    def problem(*tokens: int) -> Problem:
        return Problem(id="", prompt="", tokens=list(tokens), answer="", source="", verifiers=[])

    sampler = Sampler({"a": [problem(4, 5), problem(6)], "b": [problem(7, 8)]}, {"a": 1.0, "b": 1.0}, seed=0)
    assert probe_tokens(sampler, Rollout(max_prompt_tokens=4, max_tokens=3)) == [4, 5, 6, 7, 8, 4]
    assert len(probe_tokens(sampler, Rollout())) == 64


class Packs(Counts):
    """An engine that cannot be looked into everywhere."""

    def load(self, weights: object, version: int = 0) -> Receipt:
        return Receipt(compared=3, untold={"experts.w13": 8}, partial=["fused"])


def test_what_no_fingerprint_vouches_for_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []
    parts = small_parts(recipe(), engine=Packs())
    parts.tracker.event = lambda kind, message, **fields: heard.append(message)  # type: ignore[method-assign]
    sync(parts)
    sync(parts)
    assert len(heard) == 2 and "packs 1 parameters (experts.w13)" in heard[0] and "(fused)" in heard[1]
    assert rank_metrics(parts)["sync/verified"] == pytest.approx(3 / 11)  # of 11 numbers 3 are proved
    tell(parts, Receipt())  # another rank's to say
    assert "sync/verified" not in rank_metrics(parts)
    each = [replace(parts, verified=share) for share in (0.75, math.nan)]
    found = on_ranks(monkeypatch, 2, lambda rank: rank_metrics(each[rank]))
    assert [row["sync/verified"] for row in found] == [0.75, 0.75]
