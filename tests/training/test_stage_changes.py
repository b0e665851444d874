"""A stage's values reach the parts that hold copies of them."""

from __future__ import annotations

from small_parts import Still, recipe, small_parts

from rlvr_cli.schema import Rollout, Source, Stage
from rlvr_cli.training.stage_changes import enter_stage


def test_a_stages_values_reach_engine_trainer_and_sampler() -> None:
    """Scores at another temperature than the samples' would be those of another policy."""
    trainer = Still()
    trainer.temperature = 1.0  # type: ignore[attr-defined]
    parts = small_parts(
        recipe(
            data={"train": Source(path="here")},
            rollout=Rollout(max_prompt_tokens=4, max_tokens=4),
            stages={"cold": Stage(after=2, temperature=0.6, max_tokens=9)},
        ),
        trainer=trainer,
        step=1,
    )
    enter_stage(parts)
    assert (parts.state["stage"], parts.sampling.temperature, trainer.temperature) == (0, 1.0, 1.0)  # type: ignore[attr-defined]
    parts.step = 2
    enter_stage(parts)
    assert parts.state["stage"] == 1 and parts.recipe is parts.stages[1]
    assert (parts.sampling.temperature, parts.sampling.max_tokens) == (0.6, 9)
    assert parts.trainer.temperature == 0.6
