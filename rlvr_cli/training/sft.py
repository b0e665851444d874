"""Supervised fine-tuning on the same trainer: what is its own beside `offline.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TextIO

import torch
from torch import Tensor

from rlvr_cli.core.types import Batch
from rlvr_cli.data.layouts import EXAMPLES
from rlvr_cli.data.sampler import Sampler
from rlvr_cli.data.sft import Example, ExampleSampler, Traces, by_prompt, examples
from rlvr_cli.data.sources import held_out
from rlvr_cli.data.trajectories import traces
from rlvr_cli.engine.trainer import Trainer
from rlvr_cli.schema import Model, SFTRecipe
from rlvr_cli.tracking import Timer, Tracker
from rlvr_cli.tracking.null_tracker import NullTracker
from rlvr_cli.training.careful_update import careful_update
from rlvr_cli.training.metrics import peak_memory
from rlvr_cli.training.offline import Progress, train, trainer_of
from rlvr_cli.vision.exact import demand_same_images
from rlvr_cli.vision.processor import processor_of


def sft(recipe: SFTRecipe, terminal: TextIO) -> bool:
    """Fine-tune on the recipe's examples; every rank calls it. Exports the model to `out/final`.

    Returns False where it was stopped before, and has saved.
    """
    return train(recipe, terminal, "sft", Examples)


class Examples:
    """An `offline.Task`: cross-entropy of the completions."""

    goal = ("token_accuracy", "token accuracy")

    def __init__(
        self, recipe: SFTRecipe, model: Model, tokenizer: Any, tracker: Tracker | NullTracker
    ) -> None:
        self.recipe = recipe
        found: dict[str, Sequence[Example | Traces]] = {}
        longest = recipe.algorithm.max_length
        apart = held_out(recipe.data.values(), recipe.seed, EXAMPLES)
        for name, source in recipe.data.items():
            rows, report = by_prompt(name, source, tokenizer, longest, recipe.seed, apart)
            found[name], note = [example for _, example in rows], ""
            if source.trajectories is not None:
                found[name], note = traces(rows, source.trajectories, recipe.seed, report)
            tracker.event("data", f"{report}: {note}" if note else str(report))
        weights = {name: source.weight for name, source in recipe.data.items()}
        self.sampler: Sampler[Any] = ExampleSampler(found, weights, seed=recipe.seed)
        self.held_out = held_out_examples(recipe, tokenizer)
        demand_same_images(processor_of(tokenizer))
        self.measures = bool(self.held_out)
        self.trainer = trainer_of(recipe, model)

    def step(self, run: Progress, lr: float, timer: Timer) -> dict[str, float]:
        batch = batch_of([e for _, e in self.sampler.take(self.recipe.batch.examples_per_step)])
        with timer("update"):
            update = careful_update(run, self.recipe.faults, self.trainer, batch, cross_entropy, lr=lr)
        return step_metrics(update, batch, lr)

    def measure(self) -> dict[str, float]:
        return measure(self.trainer, self.held_out)


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


def step_metrics(update: dict[str, float], batch: Batch, lr: float) -> dict[str, float]:
    """Of one update, {} where it was left out; without its times."""
    names = ("loss", "token_accuracy", "entropy", "grad_norm", "relative_update")
    return {f"train/{name}": update[name] for name in names if name in update} | {
        "train/lr": lr,
        "train/tokens": float(sum(len(s) for s in batch.sequences)),
        "perf/peak_memory_gb": peak_memory(),
    }
