"""Supervised fine-tuning on the same trainer, on one page."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor

from rlvr_cli.checkpoints.checkpoint import Checkpoints
from rlvr_cli.checkpoints.recipe_changes import completed, differences
from rlvr_cli.core import distributed, rng
from rlvr_cli.core.heartbeat import heart
from rlvr_cli.core.recorded_code import sums
from rlvr_cli.core.types import Batch
from rlvr_cli.data.layouts import EXAMPLES
from rlvr_cli.data.sft import Example, ExampleSampler, examples
from rlvr_cli.data.sources import held_out
from rlvr_cli.engine import process_group
from rlvr_cli.engine.model import export, load_tokenizer
from rlvr_cli.engine.schedule import learning_rate
from rlvr_cli.engine.trainer import Trainer
from rlvr_cli.sampling.start_model import local_model
from rlvr_cli.schema import SFTRecipe
from rlvr_cli.tracking import Timer, Tracker
from rlvr_cli.tracking.journal import jsonable
from rlvr_cli.tracking.null_tracker import NullTracker
from rlvr_cli.training.careful_update import careful_update
from rlvr_cli.training.metrics import peak_memory
from rlvr_cli.training.stop import Interrupted, Stop, deadline
from rlvr_cli.training.tracker import open_tracker, tell_resume, tell_stop


def sft(recipe: SFTRecipe, terminal: TextIO) -> bool:
    """Fine-tune on the recipe's examples; every rank calls it. Exports the model to `out/final`.

    Returns False where it was stopped before, and has saved.
    """
    process_group.initialise(recipe.faults.hang_s)
    out, stop = Path(recipe.out), Stop(deadline(recipe.checkpoint.must_save_by, os.environ))
    with open_tracker(recipe, terminal, kind="sft") as tracker:
        model = local_model(recipe.model, out, recipe.seed)
        tokenizer = load_tokenizer(model)
        found, longest = {}, recipe.algorithm.max_length
        apart = held_out(recipe.data.values(), recipe.seed, EXAMPLES)
        for name, source in recipe.data.items():
            found[name], report = examples(name, source, tokenizer, longest, recipe.seed, apart)
            tracker.event("data", str(report))
        sampler = ExampleSampler(found, {n: s.weight for n, s in recipe.data.items()}, seed=recipe.seed)
        measured = held_out_examples(recipe, tokenizer)
        trainer = Trainer(
            model,
            recipe.trainer,
            tokens_per_microbatch=recipe.batch.tokens_per_microbatch,
            max_grad_norm=recipe.algorithm.max_grad_norm,
            seed=recipe.seed,
        )
        checkpoints = Checkpoints(out, recipe.checkpoint, jsonable(asdict(recipe)) | sums(out), tracker.event)
        run = Progress(recipe, trainer, sampler, checkpoints, tracker, tokenizer)
        run.restore()
        timer = Timer()
        try:
            while not run.finished:
                stop.before_step(checkpoints.seconds)
                batch = batch_of([example for _, example in sampler.take(recipe.batch.examples_per_step)])
                lr = learning_rate(recipe.trainer, run.step)
                with timer("update"):
                    update = careful_update(run, recipe.faults, trainer, batch, cross_entropy, lr=lr)
                run.step += 1
                heart.step(run.step)
                tracker.step(run.step, step_metrics(update, batch, lr, timer.take()))
                if measured and (run.due(recipe.eval.every) or run.finished):
                    run.note(measure(trainer, measured))
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
        finally:
            checkpoints.close()
        run.save(last=True)
        state = trainer.state_dict()
        if distributed.rank() == 0:
            export(out / "final", trainer.hf, state, tokenizer, {"run": recipe.name, "steps": run.step})
        tracker.event("export", f"model: {out / 'final'}")
        distributed.barrier()
    return True


@dataclass
class Progress:
    """How far the run is, and its way to and from a checkpoint."""

    recipe: SFTRecipe
    trainer: Trainer
    sampler: ExampleSampler
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
        goal = self.recipe.eval.stop_at
        self.good_enough = goal is not None and measured["token_accuracy"] >= goal
        if self.good_enough:
            self.tracker.event(
                "stop", f"token accuracy has reached eval.stop_at ({goal}) after {self.step} steps"
            )

    def save(self, *, last: bool = False) -> None:
        state = {
            "sampler": self.sampler.state(),
            "good_enough": self.good_enough,
            "loop": dict(self.state),
        }
        self.checkpoints.save(self.step, self.trainer, state, last=last)

    def restore(self) -> None:
        """Continue from the newest good checkpoint of the run directory, if there is one."""
        step, damaged = self.checkpoints.newest_good()
        if step is None:
            self.tracker.resume_at(None)
            rng.seed(self.recipe.seed, distributed.rank())
            return
        state = self.checkpoints.load(step, self.trainer)
        new = self.checkpoints.recipe
        changed = differences(completed(state["recipe"], new, self.recipe), new, step, 0)
        self.sampler.load(state["sampler"], adopt=bool(changed))
        self.step, self.good_enough, self.state = step, state["good_enough"], state["loop"]
        self.tracker.resume_at(step)
        tell_resume(self.tracker, step, damaged, changed)
        self.checkpoints.load_rng(step, self.recipe.seed)


def cross_entropy(
    logprobs_n: Tensor, entropies_n: Tensor, hits_n: Tensor, at: dict[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean negative log-likelihood of the completion tokens of the whole step."""
    return -(logprobs_n * at["weights"]).sum(), {"token_accuracy": hits_n, "entropy": entropies_n}


def batch_of(found: list[Example]) -> Batch:
    count = sum(int(e.mask.sum()) for e in found)
    return Batch(
        sequences=[e.tokens for e in found],
        trained=[e.mask for e in found],
        weights_N=torch.full((count,), 1.0 / count),
    )


def held_out_examples(recipe: SFTRecipe, tokenizer: Any) -> list[Example]:
    """The examples eval loss is measured on, the same at every measurement."""
    if recipe.eval.source is None:
        return []
    found, _ = examples("eval", recipe.eval.source, tokenizer, recipe.algorithm.max_length, recipe.seed)
    return found[: recipe.eval.limit]


def measure(trainer: Trainer, held_out: list[Example]) -> dict[str, float]:
    """Loss (nats per completion token) and token accuracy; all ranks must call it."""
    batch = batch_of(held_out)
    logprobs_N, _, hits_N = trainer.score(batch.sequences, batch.trained)
    return {"loss": -float(logprobs_N.mean()), "token_accuracy": float(hits_N.mean())}


def step_metrics(
    update: dict[str, float], batch: Batch, lr: float, timing: dict[str, float]
) -> dict[str, float]:
    tokens = sum(len(s) for s in batch.sequences)
    names = ("loss", "token_accuracy", "entropy", "grad_norm")
    return (
        {f"train/{name}": update[name] for name in names if name in update}
        | {
            "train/lr": lr,
            "train/tokens": float(tokens),
            "perf/tokens_per_second": tokens / timing["timing_s/step"],
            "perf/peak_memory_gb": peak_memory(),
        }
        | timing
    )
