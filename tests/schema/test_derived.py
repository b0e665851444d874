"""What follows from a recipe without being written there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from f1 import algorithm, make
from small_parts import recipe

from rlvr_cli.algorithms.proximal import Proximal
from rlvr_cli.schema import Batch
from rlvr_cli.schema.derived import needs_old_logprobs
from rlvr_cli.schema.watching import Preflight


@pytest.mark.parametrize(("updates", "needed"), [(1, False), (2, True), (4, True)])
def test_a_step_of_several_updates_scores_its_samples_before_the_first(updates: int, needed: bool) -> None:
    """The second update's ratio is to the policy before the first; of one update it is 1 by itself."""
    of = recipe(batch=Batch(prompts_per_step=4, group_size=2, updates_per_step=updates))
    assert needs_old_logprobs(of) is needed


def test_a_kl_in_the_reward_needs_the_logprobs_before_the_update() -> None:
    of = recipe(algorithm=replace(algorithm(), kl=make("kl", "reward", coef=0.1)))
    assert needs_old_logprobs(of)
    assert not needs_old_logprobs(
        replace(of, algorithm=replace(algorithm(), kl=make("kl", "loss", coef=0.1)))
    )


@pytest.mark.parametrize(
    ("enabled", "steps", "wanted"),
    [(None, 199, False), (None, 200, True), (None, 201, True), (True, 1, True), (False, 1000, False)],
)
def test_a_preflight_is_done_from_200_steps_on(enabled: bool | None, steps: int, wanted: bool) -> None:
    assert Preflight(enabled=enabled).wanted(steps) is wanted


def test_old_logprobs_follow_from_the_proximal_policy() -> None:
    """Several updates need none where the clip is around what sampled; a mean weight needs them for one."""

    def needed(updates: int, name: str, **values: Any) -> bool:
        settings = Batch(prompts_per_step=4, group_size=2, updates_per_step=updates)
        mismatch = make("mismatch", name, **values)
        return needs_old_logprobs(recipe(batch=settings, algorithm=algorithm(mismatch=mismatch)))

    assert not needed(4, "none", proximal=Proximal.rollout)
    assert not needed(4, "mask", proximal=Proximal.interpolated)
    assert needed(1, "truncate", normalise=True) and not needed(1, "truncate")
