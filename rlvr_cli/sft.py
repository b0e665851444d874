"""Supervised fine-tuning on the same trainer, on one page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor

from rlvr_cli.checkpoint import Checkpoints
from rlvr_cli.data.sft import Example, ExampleSampler, examples
from rlvr_cli.engine import distributed
from rlvr_cli.engine.model import export, load_tokenizer
from rlvr_cli.engine.schedule import learning_rate
from rlvr_cli.engine.trainer import Trainer
from rlvr_cli.schema import SFTRecipe
from rlvr_cli.session import local_model, open_tracker
from rlvr_cli.stop import Interrupted, Stop
from rlvr_cli.tracking import Timer, Tracker
from rlvr_cli.tracking.silent import Silent
from rlvr_cli.types import Batch


def sft(recipe: SFTRecipe, terminal: TextIO) -> None:
    """Fine-tune on the recipe's examples; every rank calls it. Exports the model to `out/final`."""
    distributed.initialise()
    out, stop = Path(recipe.out), Stop()
    with open_tracker(recipe, terminal, kind="sft") as tracker:
        model = local_model(recipe.model, out, recipe.seed)
        tokenizer = load_tokenizer(model)
        found = {}
        for name, source in recipe.data.items():
            found[name], report = examples(name, source, tokenizer, recipe.algorithm.max_length, recipe.seed)
            tracker.event("data", str(report))
        sampler = ExampleSampler(found, {n: s.weight for n, s in recipe.data.items()}, seed=recipe.seed)
        held_out = held_out_examples(recipe, tokenizer)
        trainer = Trainer(
            model,
            recipe.trainer,
            tokens_per_microbatch=recipe.batch.tokens_per_microbatch,
            max_grad_norm=recipe.algorithm.max_grad_norm,
            row_capacity=recipe.algorithm.max_length if recipe.algorithm.packing else None,
            seed=recipe.seed,
        )
        run = Progress(recipe, trainer, sampler, Checkpoints(out, recipe.checkpoint.keep), tracker)
        run.restore()
        timer = Timer()
        try:
            while not run.finished:
                stop.check()
                batch = batch_of([example for _, example in sampler.take(recipe.batch.examples_per_step)])
                lr = learning_rate(recipe.trainer, run.step)
                with timer("update"):
                    update = trainer.update(batch, cross_entropy, lr=lr)
                run.step += 1
                tracker.step(run.step, step_metrics(update, batch, lr, timer.take()))
                if held_out and (run.due(recipe.eval.every) or run.finished):
                    run.note(measure(trainer, held_out))
                if run.due(recipe.checkpoint.every) and not run.finished:
                    run.save()
        except Interrupted:
            run.save()
            tracker.event("stop", f"stopped after step {run.step}; to continue: rlvr train {out}/recipe.yaml")
            tracker.close("interrupted")
            return
        run.save()
        state = trainer.state_dict()
        if distributed.rank() == 0:
            export(out / "final", trainer.hf, state, tokenizer, {"run": recipe.name, "steps": run.step})
        tracker.event("export", f"model: {out / 'final'}")
        distributed.barrier()


@dataclass
class Progress:
    """How far the run is, and its way to and from a checkpoint."""

    recipe: SFTRecipe
    trainer: Trainer
    sampler: ExampleSampler
    checkpoints: Checkpoints
    tracker: Tracker | Silent
    step: int = 0
    good_enough: bool = False

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

    def save(self) -> None:
        state = {"sampler": self.sampler.state(), "good_enough": self.good_enough}
        self.checkpoints.save(self.step, self.trainer, state)
        self.tracker.event("checkpoint", f"saved step {self.step}")

    def restore(self) -> None:
        """Continue from the newest checkpoint of the run directory, if there is one."""
        step = self.checkpoints.latest()
        if step is None:
            return
        state = self.checkpoints.load(step, self.trainer)
        self.sampler.load(state["sampler"])
        self.step, self.good_enough = step, state["good_enough"]
        self.tracker.resume_at(step)
        self.tracker.event("resume", f"continuing after step {step}")


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
    return {
        "train/loss": update["loss"],
        "train/token_accuracy": update["token_accuracy"],
        "train/entropy": update["entropy"],
        "train/grad_norm": update["grad_norm"],
        "train/lr": lr,
        "train/tokens": float(tokens),
        "perf/tokens_per_second": tokens / timing["timing_s/step"],
    } | timing
