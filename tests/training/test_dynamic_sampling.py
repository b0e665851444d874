"""The groups of a step: their order over ranks, and what a stop in the middle of it puts back."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
from f1 import algorithm
from small_parts import Counts, recipe, small_parts, two_tokens
from thread_ranks import on_ranks

from rlvr_cli.core import rng
from rlvr_cli.core.types import Completion
from rlvr_cli.rollout import Request, Sampling
from rlvr_cli.training.dynamic_sampling import sample_groups
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
