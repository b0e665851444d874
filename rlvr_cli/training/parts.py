"""What an RL run is made of while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from rlvr_cli.checkpoints.checkpoint import Checkpoints
from rlvr_cli.data.sampler import Sampler
from rlvr_cli.diagnosis.watch import Watch
from rlvr_cli.engine.critic import Critic
from rlvr_cli.engine.reference import Reference
from rlvr_cli.engine.trainer import Trainer
from rlvr_cli.evaluation.bench import Questions
from rlvr_cli.rollout import Engine, Sampling
from rlvr_cli.sampling.environments import Environments
from rlvr_cli.schema import Recipe
from rlvr_cli.tracking import RolloutRecords, Timer, Tracker
from rlvr_cli.tracking.null_tracker import NullTracker
from rlvr_cli.training.ahead import Ahead
from rlvr_cli.training.stop import Stop
from rlvr_cli.training.teaching import Lessons
from rlvr_cli.training.weight_course import WeightCourse
from rlvr_cli.verifiers.pool import Pool


def fresh_controller() -> dict[str, Any]:
    """Actions so far, step of the last one, factor on the learning rate, clip_ratio_high once raised."""
    return {"taken": 0, "last": None, "lr_factor": 1.0, "clip_ratio_high": None}


@dataclass(slots=True, kw_only=True)
class Parts:
    """Everything a step uses. A checkpoint holds `sampler`, `trainer`, `reference`, `critic` and `state`."""

    recipe: Recipe
    """As it stands in the current stage: an element of `stages`."""
    stages: list[Recipe]
    out: Path
    tokenizer: Any
    trainer: Trainer
    reference: Reference | None
    critic: Critic | None
    engine: Engine
    pool: Pool
    sampler: Sampler
    sampling: Sampling
    tracker: Tracker | NullTracker
    records: RolloutRecords | None
    checkpoints: Checkpoints
    stop: Stop
    timer: Timer
    needs_old: bool
    """Logprobs under the policy at the start of the step are computed before the updates."""
    verifier_weights: dict[str, float]
    probe_tokens: list[int]
    """Text that engine and trainer are compared on."""
    watch: Watch | None
    """What the diagnosis has seen; rank 0 has it."""
    start_gap: float = 0.0
    """Mean |logprob difference| of engine and trainer on the start model."""
    told_of_sync: bool = False
    verified: float = 1.0
    """Share of this rank's engine that fingerprints have proved in the newest sync."""
    course: WeightCourse | None = None
    """Looks at what has changed in the weights, where that is asked for."""
    environments: Environments = field(default_factory=Environments)
    lessons: Lessons | None = None
    """The teacher, where the algorithm has one."""
    ahead: Ahead | None = None
    """What is in flight where `rollout.max_staleness` is above 0; a checkpoint holds it too."""
    expected: np.ndarray | None = None
    """Logprobs of the probe by a trainer that went to sleep then (training/rest.py); None: it does not."""
    step: int = 0
    """Finished steps."""
    state: dict[str, Any] = field(
        default_factory=lambda: {
            "stage": 0,
            "last_reset": 0,
            "fresh_optimizer": 0,
            "evaluated": None,
            "empty_steps": 0,
            "response_tokens": 0,
            "first_eval": {},
            "controller": fresh_controller(),
        }
    )
    last_eval: dict[str, dict[str, float]] = field(default_factory=dict)
    questions: dict[str, Questions] = field(default_factory=dict)
    """Of each bench, from its first evaluation on."""

    def due(self, every: int | None) -> bool:
        """Whether something done every so many steps is due now; what ends a run is done anyway."""
        return every is not None and self.step % every == 0 and not self.ended

    @property
    def ended(self) -> bool:
        """Whether the steps or the response tokens of the recipe are spent."""
        budget = self.recipe.trainer.response_tokens
        spent = budget is not None and self.state["response_tokens"] >= budget
        return spent or self.step >= self.recipe.trainer.steps

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        if self.ahead is not None:
            self.ahead.close()
        self.checkpoints.close()
        self.pool.close()
        self.engine.close()
