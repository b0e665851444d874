"""Two ranks that run one engine: groups of a step are those of one rank, and only the first has them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from f1 import algorithm, make
from small_parts import Counts, recipe, small_parts
from thread_ranks import on_ranks

from rlvr_cli.core import distributed
from rlvr_cli.core.types import Group
from rlvr_cli.evaluation.stored_samples import Replay
from rlvr_cli.rollout import Sampling
from rlvr_cli.training.dynamic_sampling import Rollouts, collect_share, sample_groups


class Shared(Counts):
    """Of two ranks. Each has a scheduler of its own, which is given what the first is asked."""

    share = (0, 1)

    @property
    def leader(self) -> bool:  # type: ignore[override]
        return distributed.rank() == 0

    def agreed(self, answer: bool) -> bool:
        return bool(distributed.max_over_ranks(torch.tensor([float(answer)])) > 0)

    def generate(self, requests: Any, sampling: Any, **more: Any) -> Any:
        yield from super().generate(distributed.gather(requests)[0], sampling, **more)

    def text(self, tokens: list[int]) -> str:
        return str(tokens[-2] - 4)


def test_two_ranks_with_one_engine_sample_what_one_rank_does(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = sample_groups(small_parts(recipe()), step=0)
    both = on_ranks(monkeypatch, 2, lambda _: sample_groups(small_parts(recipe(), engine=Shared()), step=0))
    assert [[g.index for g in rollouts.mine] for rollouts in both] == [[0, 1, 2, 3], []]
    for rollouts in both:
        assert [(g.index, g.rewards) for g in rollouts.kept] == [(g.index, g.rewards) for g in alone.kept]
        assert rollouts.owners == both[0].owners and set(rollouts.owners or []) == {0, 1}


def test_states_are_measured_by_both_and_known_to_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first rank has the groups that states are taken from."""
    segment = recipe(algorithm=algorithm(advantage=make("advantage", "segment", interval=1, samples=2)))

    def sampled(engine: Counts) -> Rollouts:
        return sample_groups(small_parts(segment, engine=engine), step=0)

    class Speaks(Counts):
        text = Shared.text

    alone = sampled(Speaks())
    both = on_ranks(monkeypatch, 2, lambda _: sampled(Shared()))
    assert alone.state_tokens > 0 and {rollouts.state_tokens for rollouts in both} == {alone.state_tokens}
    for rollouts in both:
        for found, wanted in zip(rollouts.kept, alone.kept, strict=True):
            for a, b in zip(found.state_values, wanted.state_values, strict=True):
                torch.testing.assert_close(torch.tensor(a), torch.tensor(b), equal_nan=True)


def test_a_stop_that_one_rank_is_asked_for_ends_both_at_the_same_group(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def work(rank: int) -> list[Group]:
        stop = SimpleNamespace(asked=rank == 1, agreed=lambda: False, check=lambda: None)
        parts = small_parts(recipe(), engine=Shared(), stop=stop)
        return collect_share(parts, parts.sampler.take(4), parts.recipe)

    first, second = on_ranks(monkeypatch, 2, work)
    assert [g.index for g in first] == [3] and second == []


def test_only_the_first_rank_keeps_what_an_evaluation_has_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[int, list[int]] = {0: [], 1: []}

    def work(rank: int) -> list[int]:
        engine: Any = Shared()
        replay = Replay({}, [7, 8], engine, lambda index, samples: kept[rank].append(index))
        assert replay.leader is (rank == 0) and replay.agreed(rank == 1) is True
        requests = [SimpleNamespace(key=n, samples=1) for n in range(2)]
        sampling = Sampling(temperature=1.0, top_p=1.0, max_tokens=2)
        return [key for key, _ in replay.generate(requests, sampling)]  # type: ignore[arg-type]

    assert on_ranks(monkeypatch, 2, work) == [[1, 0], [1, 0]]
    assert kept == {0: [8, 7], 1: []}
