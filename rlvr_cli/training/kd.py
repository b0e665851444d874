"""Distillation on data: fine-tuning on examples with a teacher beside them, what is its own beside `sft.py`.

The teacher reads the same tokens as the policy, as it does in reinforcement learning (`teaching.py`), and the
loss of a step is

    task_coef * cross-entropy of the data  +  coef * D(policy, teacher)

each a mean over the completion tokens of the whole update.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TextIO

import torch
from torch import Tensor

from rlvr_cli.algorithms.objective import teacher_loss
from rlvr_cli.core.types import Batch
from rlvr_cli.data.sft import Example
from rlvr_cli.engine.teacher import Known, States
from rlvr_cli.schema import DistillationRecipe, Model
from rlvr_cli.tracking import Timer, Tracker
from rlvr_cli.tracking.null_tracker import NullTracker
from rlvr_cli.training.careful_update import careful_update
from rlvr_cli.training.make_teacher import check_teacher, make_lessons
from rlvr_cli.training.offline import Progress, train
from rlvr_cli.training.sft import Examples, batch_of, cross_entropy, step_metrics
from rlvr_cli.training.teacher_server import NoTeacher
from rlvr_cli.training.update_metrics import NAMES


def kd(recipe: DistillationRecipe, terminal: TextIO) -> bool:
    """Train on the recipe's examples and its teacher; every rank calls it. Exports the model to `out/final`.

    Returns False where it was stopped before, and has saved.
    """
    return train(recipe, terminal, "sft", TaughtExamples)


class TaughtExamples(Examples):
    """An `offline.Task`: cross-entropy of the completions, and their divergence from a teacher."""

    recipe: DistillationRecipe

    def __init__(
        self, recipe: DistillationRecipe, model: Model, tokenizer: Any, tracker: Tracker | NullTracker
    ) -> None:
        on_server = check_teacher(recipe, model, tokenizer, recipe.algorithm.max_length, tracker.event)
        super().__init__(recipe, model, tokenizer, tracker)
        lessons = make_lessons(recipe, model, tokenizer, self.trainer, on_server)
        assert lessons is not None  # composing has refused options that need no teacher
        self.lessons = lessons
        self.weights = {name: source.teacher_weight for name, source in recipe.data.items()}
        self.watched = taught_batch(self.held_out, {}, 1.0) if self.measures else None
        self._heard: Known | States | None = None
        if self.watched is not None and lessons.teacher.may_fail:
            # Once, and now: where it fell silent later there would be no step to do again.
            self._heard = lessons.lesson(self.watched, Timer())
            lessons.tokens = 0

    def step(self, run: Progress, lr: float, timer: Timer) -> dict[str, float]:
        """Raises NoTeacher before the update where the teacher is silent: its examples come again."""
        before, option = self.sampler.state(), self.recipe.algorithm.distillation
        found = [e for _, e in self.sampler.take(self.recipe.batch.examples_per_step)]
        batch = taught_batch(found, self.weights, option.coef)
        loss = partial(objective, self.recipe.algorithm)
        try:
            with timer("update"), self.lessons.beside(self.trainer, batch, timer):
                update = careful_update(run, self.recipe.faults, self.trainer, batch, loss, lr=lr)
        except NoTeacher:
            self.sampler.load(before)
            raise
        assert batch.teacher_weights_N is not None
        heard = float((batch.teacher_weights_N != 0).float().mean())
        read, self.lessons.tokens = self.lessons.tokens, 0
        told = {NAMES[name]: value for name, value in update.items() if name in NAMES}
        if "cross_entropy" in update:
            told["train/cross_entropy"] = update["cross_entropy"]
        counts = {"perf/teacher_tokens": float(read), "distillation/taught_fraction": heard}
        return step_metrics(update, batch, lr) | told | counts

    def measure(self) -> dict[str, float]:
        """As in fine-tuning, and the divergence from the teacher with the teacher's own loss."""
        batch = self.watched
        assert batch is not None  # `measures`
        lesson = self._heard or self.lessons.lesson(batch, Timer())
        assert lesson is not None  # every weight of it is above 0
        with self.lessons.compared(self.trainer, lesson):
            scores = self.trainer.collect(self.trainer.engine, batch.sequences, batch.trained)
        self.lessons.tokens = 0
        logprobs_N, _, hits_N, divergence_N, teacher_N, *_ = scores
        return {
            "loss": -float(logprobs_N.mean()),
            "token_accuracy": float(hits_N.mean()),
            "distillation_kl": float(divergence_N.mean()),
            "teacher_loss": -float(teacher_N.mean()),
        }


def objective(
    algorithm: Any, logprobs_n: Tensor, entropies_n: Tensor, hits_n: Tensor, *rest: Any
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of one micro-batch and its metrics _n. `rest`: what the comparison has found, and the batch's
    tensors at these tokens."""
    *compared, at = rest
    loss, metrics = cross_entropy(logprobs_n, entropies_n, hits_n, at)
    taught, more = teacher_loss(
        algorithm,
        compared,
        new_N=logprobs_n,
        old_N=None,
        rollout_N=None,
        teacher_N=None,
        weights_N=at["teacher_weights"],
        lengths_B=at["lengths"],
    )
    metrics |= {"cross_entropy": -logprobs_n.detach()} | more
    return algorithm.distillation.task_coef * loss + taught, metrics


def taught_batch(found: list[Example], weights: Mapping[str, float], coef: float) -> Batch:
    """The examples of one update. The teacher's part is a mean over the tokens that it has a say on, times
    `coef` and the weight of an example's source (1 where there is none)."""
    batch = batch_of(found)
    of_B = torch.tensor([weights.get(example.source, 1.0) for example in found])
    of_N = of_B.repeat_interleave(torch.tensor(batch.lengths_B))
    count = max(1, int((of_N != 0).sum()))
    return replace(batch, teacher_weights_N=coef * of_N / count)
