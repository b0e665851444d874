"""The groups of a step: their order over ranks, and what a stop in the middle of it puts back."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from f1 import algorithm
from small_parts import Counts, recipe, small_parts, two_tokens
from thread_ranks import on_ranks

from rlvr_cli.core import distributed, rng
from rlvr_cli.core.types import Batch, Completion, Elsewhere, Group
from rlvr_cli.rollout import Request, Sampling
from rlvr_cli.schema import Batch as Sizes
from rlvr_cli.training import shares
from rlvr_cli.training.batches import make_batches
from rlvr_cli.training.dynamic_sampling import Rollouts, sample_groups
from rlvr_cli.training.stop import Interrupted


def test_the_groups_of_two_ranks_are_those_of_one_in_the_same_order(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = sample_groups(small_parts(recipe()), step=0)
    assert [g.index for g in alone.kept] == [0, 1, 2, 3]
    both = on_ranks(monkeypatch, 2, lambda rank: sample_groups(small_parts(recipe()), step=0))
    assert [[g.index for g in rollouts.mine] for rollouts in both] == [[0, 2], [1, 3]]
    for rollouts in both:
        assert [(g.index, g.problem.id) for g in rollouts.kept] == [
            (g.index, g.problem.id) for g in alone.kept
        ]
        assert [g.index for g in rollouts.sampled] == [0, 1, 2, 3]
        assert all(g.rewards == [1.0, 0.0] for g in [*rollouts.sampled, *rollouts.mine])


class Long(Counts):
    """Every completion is other tokens with other logprobs; the first prompts' are by far the longest."""

    def generate(self, requests: list[Request], sampling: Sampling) -> Iterator[tuple[int, list[Completion]]]:
        for r in requests:
            number = r.tokens[-1]
            length = 60 if number == 0 else 2
            tokens = [np.arange(length, dtype=np.int32) + 100 * number + 10 * s for s in range(r.samples)]
            yield (
                r.key,
                [
                    Completion(tokens=t, logprobs=-t.astype(np.float32), text=str(s), finished=True)
                    for s, t in enumerate(tokens)
                ],
            )


class Watched:
    """`distributed`, which also keeps what each rank has given the others."""

    def __init__(self) -> None:
        self.given: dict[int, list[dict[int, Completion]]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(distributed, name)

    def exchange(self, objects: list[dict[int, Completion]]) -> list[dict[int, Completion]]:
        self.given[distributed.rank()] = objects
        return distributed.exchange(objects)


def completions(groups: list[Group]) -> list[Completion]:
    return [c for g in groups for c in g.completions]


def test_tokens_are_on_the_rank_that_trains_on_them_and_on_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(rank: int) -> Rollouts:
        return sample_groups(small_parts(recipe(), engine=Long()), step=0)

    alone = work(0)
    assert alone.owners is None
    monkeypatch.setattr(shares, "distributed", watched := Watched())
    both = on_ranks(monkeypatch, 2, work)
    owners = both[0].owners
    assert owners == both[1].owners and set(owners or []) == {0, 1}
    for rank, rollouts in enumerate(both):
        for owner, got, wanted in zip(
            owners or [], completions(rollouts.kept), completions(alone.kept), strict=True
        ):
            assert len(got.tokens) == len(got.logprobs) == len(wanted.tokens)
            if owner == rank:
                np.testing.assert_array_equal(got.tokens, wanted.tokens)
                np.testing.assert_array_equal(got.logprobs, wanted.logprobs)
            else:
                for there in (got.tokens, got.logprobs):
                    with pytest.raises(TypeError, match="on another rank"):
                        np.concatenate([there])
        own = {g.index: g for g in alone.sampled}
        for group in rollouts.mine:  # for the records
            for got, wanted in zip(group.completions, own[group.index].completions, strict=True):
                np.testing.assert_array_equal(got.tokens, wanted.tokens)
                assert got.text == wanted.text
        for to, given in enumerate(watched.given[rank]):
            assert sorted(given) == [
                n for n, owner in enumerate(owners or []) if owner == to and (n // 2) % 2 == rank
            ]
            assert not any(completion.text for completion in given.values())


@pytest.mark.parametrize("owners", [[0] * 8, [1, 0, 0, 0, 0, 0, 0, 0]])
def test_ranks_make_the_same_batches_whoever_has_the_tokens(
    owners: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where one has nothing: logprobs are whole on both, sequences where they belong."""

    def work(rank: int) -> list[Batch]:
        parts = small_parts(recipe(batch=Sizes(prompts_per_step=4, group_size=2, updates_per_step=2)))
        parts.engine, parts.trainer.owners = Long(), lambda *_: owners  # type: ignore[method-assign]
        rollouts = sample_groups(parts, step=0)
        return make_batches(parts, rollouts.kept, rollouts.owners)

    alone = work(0)
    for rank, batches in enumerate(on_ranks(monkeypatch, 2, work)):
        assert [owner for b in batches for owner in b.owners or []] == owners
        for got, wanted in zip(batches, alone, strict=True):
            assert torch.equal(got.rollout_logprobs_N, wanted.rollout_logprobs_N)
            assert torch.equal(got.advantages_N, wanted.advantages_N)
            assert torch.equal(got.weights_N, wanted.weights_N)
            assert got.lengths_B == wanted.lengths_B
            for owner, sequence, whole in zip(got.owners, got.sequences, wanted.sequences, strict=True):
                assert len(sequence) == len(whole)
                assert isinstance(sequence, Elsewhere) == (owner != rank)
                assert owner != rank or sequence.tolist() == whole.tolist()


class Unseeded(Counts):
    """Draws from the global generator, as engines do without seeds; all its samples are alike."""

    def generate(self, requests: list[Request], sampling: Sampling) -> Iterator[tuple[int, list[Completion]]]:
        torch.rand(len(requests))
        for r in requests:
            yield r.key, [two_tokens(0)] * r.samples


@pytest.mark.parametrize("rounds", [1, 2])
def test_a_stop_in_mid_step_puts_sampler_and_generators_back(rounds: int) -> None:
    """Asked for in the first round of generation or in the second: the step begins as if it never had.

    Groups of samples that are alike have no signal, so that the step needs further rounds.
    """
    answers = iter([False] * (rounds - 1) + [True])
    parts = small_parts(
        recipe(algorithm=algorithm(filter="zero_signal")),
        engine=Unseeded(),
        stop=SimpleNamespace(asked=False, agreed=lambda: next(answers)),
    )
    parts.sampler.take(5)  # those of earlier steps
    before = rng.state()
    try:
        coming = torch.rand(3)
        rng.load(before)
        with pytest.raises(Interrupted):
            sample_groups(parts, step=1)
        assert torch.equal(torch.rand(3), coming)
        assert [index for index, _ in parts.sampler.take(4)] == [5, 6, 7, 8]
    finally:
        rng.load(before)
