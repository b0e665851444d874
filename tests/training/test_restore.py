"""What a run that goes on from a checkpoint, or back to one, has again, and what it has not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from f1 import algorithm, make
from small_parts import Still, recipe, small_parts

from rlvr_cli.algorithms import AXES
from rlvr_cli.checkpoints.checkpoint import Checkpoints
from rlvr_cli.core import rng
from rlvr_cli.schema import Checkpoint, Recipe
from rlvr_cli.training.parts import Parts
from rlvr_cli.training.resume import restore, save
from rlvr_cli.training.rollback import rollback


class Kept(Still):
    """A trainer that can be saved."""

    settings = SimpleNamespace(zero_stage=0)

    def snapshot(self, tag: str, *, copies: bool) -> dict[str, Any]:
        return {f"{tag}/weights.pt": {}}

    def load(self, folder: Path, tag: str) -> None: ...


@pytest.fixture(autouse=True)
def _generators() -> Iterator[None]:
    before = rng.state()
    yield
    rng.load(before)


def parts_in(out: Path, of: Recipe) -> Parts:
    """The parts of a run whose checkpoints are in `out`."""
    tree = {"algorithm": {axis: {"name": getattr(of.algorithm, axis).name} for axis in AXES}}
    checkpoints = Checkpoints(out, Checkpoint(background=False), tree, lambda *_, **__: None)
    return small_parts(of, out=out, checkpoints=checkpoints, trainer=Kept())


def learning() -> Recipe:
    """With an option that learns from step to step on every axis that has one."""
    return recipe(
        algorithm=algorithm(
            reweight=make("reweight", "history_difficulty"),
            reference=make("reference", "reset", patience=3),
            entropy=make("entropy", "adaptive"),
            gradient=make("gradient", "layer_clip", warmup=1, max_norm=None),
        )
    )


def test_what_options_have_learned_is_there_again_after_a_resume(tmp_path: Path) -> None:
    """layer_clip: after norms of 1 a norm of 10 is cut to kappa = 2.5; without a memory it would pass."""
    parts, spike = parts_in(tmp_path, learning()), {"embedding": 10.0, "head": 1.0}
    before = parts.recipe.algorithm
    before.reweight.observe(0.25)
    before.reference.observe("aime", 0.5)
    before.entropy.observe(0.1)
    for _ in range(2):
        before.gradient({"embedding": 1.0, "head": 1.0})
    parts.step = 2
    save(parts, last=True)

    again = parts_in(tmp_path, learning())
    assert again.recipe.algorithm.gradient(dict(spike)) == {"embedding": 1.0, "head": 1.0}
    restore(again)
    after = again.recipe.algorithm
    assert again.step == 2
    for axis in ("reweight", "reference", "entropy", "gradient"):
        assert getattr(after, axis).state() == getattr(before, axis).state(), axis
    assert after.gradient(dict(spike)) == pytest.approx({"embedding": 0.25, "head": 1.0})


def test_after_a_rollback_the_data_that_led_there_does_not_come_again(tmp_path: Path) -> None:
    """Step 2 took prompts 4 to 7 and is undone; the next prompt is 8, also for a run resumed from there."""
    parts = parts_in(tmp_path, recipe())
    parts.sampler.take(4)
    parts.step = 1
    save(parts)
    led_there = parts.sampler.take(4)
    parts.state["response_tokens"] = 99
    parts.step = 2
    rollback(parts, "why")
    assert (parts.step, parts.state["response_tokens"]) == (1, 0)
    coming = parts.sampler.take(4)
    assert [index for index, _ in coming] == [8, 9, 10, 11]
    assert not {problem.id for _, problem in coming} & {problem.id for _, problem in led_there}

    again = parts_in(tmp_path, recipe())
    restore(again)
    assert again.step == 1 and again.sampler.take(4) == coming
