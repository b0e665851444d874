"""Training a one-token verifier on recorded samples: what is its own beside `offline.py`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rlvr_cli.core import distributed
from rlvr_cli.core.types import Batch
from rlvr_cli.data.sampler import Sampler
from rlvr_cli.data.sources import held_out
from rlvr_cli.data.trace_layouts import TRACES
from rlvr_cli.data.traces import Trace, TracePair, TraceSampler, balanced, traces
from rlvr_cli.engine.one_token import VerifierTrainer
from rlvr_cli.otv.folder import save
from rlvr_cli.otv.labels import probed_places, pseudo_labels
from rlvr_cli.otv.trace_score import auroc
from rlvr_cli.schema import OTV, ConfidenceLoss, Model, OTVRecipe
from rlvr_cli.tracking import Timer, Tracker
from rlvr_cli.tracking.null_tracker import NullTracker
from rlvr_cli.training.careful_update import careful_update
from rlvr_cli.training.offline import Progress, Task, train
from rlvr_cli.training.sft import step_metrics


def otv(recipe: OTVRecipe, terminal: TextIO) -> bool:
    """Train a verifier on the recipe's samples; every rank calls it. Leaves it in `out/final`.

    Returns False where it was stopped before, and has saved.
    """
    return train(recipe, terminal, "sft", Confidence, leave_verifier)


def leave_verifier(task: Task, folder: Path, tokenizer: Any, note: dict[str, Any]) -> None:
    """Adapters, token, head and the identity of the base; rank 0 has them whole, as every rank does."""
    assert isinstance(task, Confidence)
    if distributed.rank() == 0:
        section = task.recipe.algorithm
        trained = {"labels": section.labels.value, "loss": section.loss.value, "measured": task.measured}
        save(folder, task.trainer.verifier, task.recipe.model.path, note | trained)


class Confidence:
    """An `offline.Task`: at every probed position, the confidence that the trace ends right."""

    goal = ("auroc", "AUROC")

    def __init__(
        self, recipe: OTVRecipe, model: Model, tokenizer: Any, tracker: Tracker | NullTracker
    ) -> None:
        self.recipe = recipe
        longest, pairs = recipe.algorithm.max_length, {}
        apart = held_out(recipe.data.values(), recipe.seed, TRACES)
        for name, source in recipe.data.items():
            found, report = traces(name, source, tokenizer, longest, recipe.seed, apart)
            pairs[name] = balanced(found, report, recipe.seed)
            tracker.event("data", f"{report}: {len(pairs[name])} pairs of a right and a wrong sample")
        weights = {name: source.weight for name, source in recipe.data.items()}
        self.sampler: Sampler[Any] = TraceSampler(pairs, weights, seed=recipe.seed)
        self.held_out: list[Trace] = []
        if recipe.eval.source is not None:
            kept, report = traces("eval", recipe.eval.source, tokenizer, longest, recipe.seed)
            self.held_out = kept[: recipe.eval.limit]
            right = sum(each.right for each in self.held_out)
            tracker.event("data", f"{report}: {len(self.held_out)} are measured, {right} of them right")
        self.measures = bool(self.held_out)
        self.measured: dict[str, float] = {}
        self.trainer = VerifierTrainer(
            model,
            recipe.trainer,
            recipe.algorithm,
            tokens_per_microbatch=recipe.batch.tokens_per_microbatch,
            seed=recipe.seed,
        )
        tracker.event("model", f"the base is frozen; {self.trainer.parameters:,} parameters are trained")

    def step(self, run: Progress, lr: float, timer: Timer) -> dict[str, float]:
        pairs: list[TracePair] = [pair for _, pair in self.sampler.take(self.recipe.batch.examples_per_step)]
        batch = batch_of([side for pair in pairs for side in (pair.right, pair.wrong)], self.recipe.algorithm)
        objective_of = partial(objective, ERRORS[self.recipe.algorithm.loss])
        with timer("update"):
            update = careful_update(run, self.recipe.faults, self.trainer, batch, objective_of, lr=lr)
        return step_metrics(update, batch, lr)

    def measure(self) -> dict[str, float]:
        """Of the held-out samples, at their ends but for the loss."""
        batch = batch_of(self.held_out, self.recipe.algorithm)
        confidence_N = self.trainer.confidence(batch.sequences, batch.trained)
        assert batch.labels_N is not None
        loss_N = ERRORS[self.recipe.algorithm.loss](confidence_N.logit(eps=1e-7), batch.labels_N)
        final = confidence_N[torch.tensor(batch.lengths_B).cumsum(0) - 1].tolist()
        right, wrong = (
            [c for c, trace in zip(final, self.held_out, strict=True) if trace.right is side]
            for side in (True, False)
        )
        found = {"loss": float((loss_N * batch.weights_N).sum()), "auroc": auroc(right, wrong)}
        found |= {"confidence_right": mean(right), "confidence_wrong": mean(wrong)}
        self.measured = {name: value for name, value in found.items() if value is not None}
        return self.measured


def mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def batch_of(found: list[Trace], section: OTV) -> Batch:
    """Traces as sequences, their probes as what is trained.

    A probe after response token t reads where token t + 1 would be predicted, so each sequence gets one more,
    which nothing looks at. Every trace weighs the same, however many probes it has.
    """
    sequences, probed, labels, weights = [], [], [], []
    for trace in found:
        places = probed_places(trace.length, section.probes)
        mask = np.zeros(len(trace.tokens) + 1, bool)
        mask[trace.start + places] = True
        sequences.append(np.append(trace.tokens, trace.tokens[-1]))
        probed.append(mask)
        labels.append(pseudo_labels(places, trace.length, trace.right, section.labels, section.power))
        weights.append(np.full(len(places), 1.0 / (len(found) * len(places)), np.float32))
    return Batch(
        sequences=sequences,
        trained=probed,
        weights_N=torch.from_numpy(np.concatenate(weights)),
        labels_N=torch.from_numpy(np.concatenate(labels)),
    )


def cross_entropy(logits_n: Tensor, labels_n: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits_n, labels_n, reduction="none")


def squared_error(logits_n: Tensor, labels_n: Tensor) -> Tensor:
    return (logits_n.sigmoid() - labels_n).square()


ERRORS = {ConfidenceLoss.bce: cross_entropy, ConfidenceLoss.mse: squared_error}


def objective(
    error: Callable[[Tensor, Tensor], Tensor], logits_n: Tensor, at: dict[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean over traces of the mean error of their probes."""
    return (error(logits_n, at["labels"]) * at["weights"]).sum(), {}
