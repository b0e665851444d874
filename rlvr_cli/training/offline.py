"""Training on what is there already, on one page: examples (`sft.py`, with a teacher `kd.py`) or preferences
(`preferences.py`)."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TextIO

from torch import Tensor

from rlvr_cli.checkpoints.checkpoint import Checkpoints
from rlvr_cli.checkpoints.recipe_changes import completed, differences
from rlvr_cli.core import distributed, rng
from rlvr_cli.core.heartbeat import heart
from rlvr_cli.core.recorded_code import sums
from rlvr_cli.data.sampler import Sampler
from rlvr_cli.engine import process_group
from rlvr_cli.engine.model import export, load_tokenizer
from rlvr_cli.engine.optimised import Optimised
from rlvr_cli.engine.schedule import learning_rate
from rlvr_cli.engine.trainer import Trainer
from rlvr_cli.sampling.start_model import local_model
from rlvr_cli.schema import Model, SFTRecipe
from rlvr_cli.tracking import Timer, Tracker
from rlvr_cli.tracking.journal import jsonable
from rlvr_cli.tracking.null_tracker import NullTracker
from rlvr_cli.training.stop import Interrupted, Stop, deadline
from rlvr_cli.training.teacher_server import NoTeacher
from rlvr_cli.training.tracker import open_tracker, tell_resume, tell_silence, tell_stop
from rlvr_cli.training.weight_course import course_of
from rlvr_cli.vision.refusals import refuse_unseen


class Task(Protocol):
    """What a kind of offline training has of its own."""

    @property
    def trainer(self) -> Optimised:
        """What is trained and exported."""

    sampler: Sampler[Any]
    measures: bool
    """There is something to measure on."""
    goal: tuple[str, str]
    """What `eval.stop_at` is about: its key in `measure()`, and how it is called."""

    def step(self, run: Progress, lr: float, timer: Timer) -> dict[str, float]:
        """One update on what the sampler has next; its metrics, but for times."""

    def measure(self) -> dict[str, float]:
        """Of what is held out; all ranks must call it."""


MakeTask = Callable[[Any, Model, Any, "Tracker | NullTracker"], Task]
"""(recipe, model, tokenizer, tracker) -> task, with its trainer made"""
Leave = Callable[[Task, Path, Any, dict[str, Any]], None]
"""(task, folder, tokenizer, note): write what the run is for; all ranks call it"""


def leave_model(task: Task, folder: Path, tokenizer: Any, note: dict[str, Any]) -> None:
    """The trained model as an ordinary Hugging Face folder."""
    state = task.trainer.state_dict()
    if distributed.rank() == 0:
        export(folder, task.trainer.hf, state, tokenizer, note)


def train(
    recipe: SFTRecipe,
    terminal: TextIO,
    kind: Literal["sft", "preference"],
    make: MakeTask,
    leave: Leave = leave_model,
) -> bool:
    """Train to the recipe's end; every rank calls it. Leaves what it is for in `out/final`.

    Returns False where it was stopped before, and has saved.
    """
    process_group.initialise(recipe.faults.hang_s)
    out, stop = Path(recipe.out), Stop(deadline(recipe.checkpoint.must_save_by, os.environ))
    with open_tracker(recipe, terminal, kind=kind) as tracker:
        model = local_model(recipe.model, out, recipe.seed)
        tokenizer = load_tokenizer(model)
        refuse_unseen(recipe, tokenizer)
        task = make(recipe, model, tokenizer, tracker)
        course = course_of(model, recipe.trainer, tracker.event)
        checkpoints = Checkpoints(out, recipe.checkpoint, jsonable(asdict(recipe)) | sums(out), tracker.event)
        run = Progress(recipe, task, checkpoints, tracker, tokenizer)
        run.restore()
        timer = Timer()
        try:
            while not run.finished:
                stop.before_step(checkpoints.seconds)
                metrics = task.step(run, learning_rate(recipe.trainer, run.step), timer)
                run.step += 1
                heart.step(run.step)
                if course is not None:
                    metrics |= course.look(run.step, task.trainer, timer)
                timing = timer.take()
                metrics["perf/tokens_per_second"] = metrics["train/tokens"] / timing["timing_s/step"]
                tracker.step(run.step, metrics | timing)
                if task.measures and (run.due(recipe.eval.every) or run.finished):
                    run.note(task.measure())
                checkpoints.poll()
                if run.due(recipe.checkpoint.every) and not run.finished:
                    with timer("checkpoint"):
                        run.save()
        except Interrupted:
            run.save(last=True)
            tell_stop(tracker, run.step, stop, out)
            tracker.close("interrupted")
            stop.saved()
            return False
        except NoTeacher as error:
            run.save(last=True)
            tell_silence(tracker, run.step, error, out)
            raise
        finally:
            checkpoints.close()
        run.save(last=True)
        leave(task, out / "final", tokenizer, {"run": recipe.name, "steps": run.step})
        tracker.event("export", f"model: {out / 'final'}")
        distributed.barrier()
    return True


@dataclass
class Progress:
    """How far the run is, and its way to and from a checkpoint."""

    recipe: SFTRecipe
    task: Task
    checkpoints: Checkpoints
    tracker: Tracker | NullTracker
    tokenizer: Any
    step: int = 0
    good_enough: bool = False
    state: dict[str, Any] = field(default_factory=dict)
    """Updates that were left out."""

    @property
    def finished(self) -> bool:
        return self.good_enough or self.step >= self.recipe.trainer.steps

    def due(self, every: int | None) -> bool:
        return every is not None and self.step % every == 0

    def note(self, measured: dict[str, float]) -> None:
        """Record a measurement; `eval.stop_at` may end the run with it."""
        self.tracker.evaluation(self.step, None, measured)
        goal, (key, said) = self.recipe.eval.stop_at, self.task.goal
        self.good_enough = goal is not None and measured[key] >= goal
        if self.good_enough:
            self.tracker.event("stop", f"{said} has reached eval.stop_at ({goal}) after {self.step} steps")

    def save(self, *, last: bool = False) -> None:
        state = {
            "sampler": self.task.sampler.state(),
            "good_enough": self.good_enough,
            "loop": dict(self.state),
        }
        self.checkpoints.save(self.step, self.task.trainer, state, last=last)

    def restore(self) -> None:
        """Continue from the newest good checkpoint of the run directory, if there is one."""
        step, damaged = self.checkpoints.newest_good()
        if step is None:
            self.tracker.resume_at(None)
            rng.seed(self.recipe.seed, distributed.rank())
            return
        state = self.checkpoints.load(step, self.task.trainer)
        new = self.checkpoints.recipe
        changed = differences(completed(state["recipe"], new, self.recipe), new, step, 0)
        self.task.sampler.load(state["sampler"], adopt=bool(changed))
        self.step, self.good_enough, self.state = step, state["good_enough"], state["loop"]
        self.tracker.resume_at(step)
        tell_resume(self.tracker, step, damaged, changed)
        self.checkpoints.load_rng(step, self.recipe.seed)


def linear(scores_n: Tensor, *rest: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """sum_n(dL/dx x_n) of a model's first score x, whose slopes are the batch's weights.

    Its value means nothing, its gradient is that of L.
    """
    return (scores_n * rest[-1]["weights"]).sum(), {}


def trainer_of(recipe: SFTRecipe, model: Model) -> Trainer:
    """The policy that such a recipe trains."""
    return Trainer(
        model,
        recipe.trainer,
        tokens_per_microbatch=recipe.batch.tokens_per_microbatch,
        max_grad_norm=recipe.algorithm.max_grad_norm,
        seed=recipe.seed,
    )
