"""Training a reward model on pairs: what is its own beside `offline.py`.

A step is two passes, as with preferences: the first scores all conversations without a graph, which gives the
loss and dL/ds of each; the second is an update with the loss sum(dL/ds * s), whose gradient is the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TextIO

import numpy as np
import torch
from torch import Tensor

from rlvr_cli.algorithms.bradley_terry import bradley_terry, token_weights
from rlvr_cli.core.types import Batch
from rlvr_cli.data.pair_layouts import PREFERENCES
from rlvr_cli.data.sampler import Sampler
from rlvr_cli.data.sources import held_out
from rlvr_cli.engine.reward_model import RewardModel, read_at_the_end
from rlvr_cli.schema import Model, RewardModelRecipe
from rlvr_cli.tracking import Timer, Tracker
from rlvr_cli.tracking.null_tracker import NullTracker
from rlvr_cli.training.careful_update import careful_update
from rlvr_cli.training.comparisons import (
    PLAIN_TEMPLATE,
    Comparison,
    ComparisonSampler,
    comparisons,
    prepare_tokenizer,
)
from rlvr_cli.training.offline import Progress, linear, train
from rlvr_cli.training.sft import step_metrics


def reward_model(recipe: RewardModelRecipe, terminal: TextIO) -> bool:
    """Train a reward model on the recipe's pairs; every rank calls it. Exports it to `out/final`.

    Returns False where it was stopped before, and has saved.
    """
    return train(recipe, terminal, "preference", Comparisons)


@dataclass(kw_only=True)
class Rows:
    """The conversations of one update: of pair j rows 2j (chosen) and 2j + 1 (rejected)."""

    sequences: list[np.ndarray]
    margins_P: Tensor
    weights_P: Tensor


class Comparisons:
    """An `offline.Task`: Bradley-Terry."""

    goal = ("accuracy", "accuracy")

    def __init__(
        self, recipe: RewardModelRecipe, model: Model, tokenizer: Any, tracker: Tracker | NullTracker
    ) -> None:
        self.recipe = recipe
        if not tokenizer.chat_template:
            tokenizer.chat_template = PLAIN_TEMPLATE
            tracker.event("data", "the tokenizer has no chat template: prompt, two line breaks, answer, EOS")
        longest, found = recipe.algorithm.max_length, {}
        apart = held_out(recipe.data.values(), recipe.seed, PREFERENCES)
        for name, source in recipe.data.items():
            found[name], report = comparisons(name, source, tokenizer, longest, recipe.seed, apart)
            tracker.event("data", str(report))
        weights = {name: source.weight for name, source in recipe.data.items()}
        self.sampler: Sampler[Any] = ComparisonSampler(found, weights, seed=recipe.seed)
        self.held_out: Rows | None = None
        if recipe.eval.source is not None:
            kept, report = comparisons("eval", recipe.eval.source, tokenizer, longest, recipe.seed)
            tracker.event("data", str(report))
            self.held_out = self._rows(kept[: recipe.eval.limit])
        self.measures = self.held_out is not None
        self.trainer = RewardModel(
            model,
            recipe.trainer,
            tokens_per_microbatch=recipe.batch.tokens_per_microbatch,
            max_grad_norm=recipe.algorithm.max_grad_norm,
            seed=recipe.seed,
        )
        every = [side for pairs in found.values() for pair in pairs for side in (pair.chosen, pair.rejected)]
        prepare_tokenizer(tokenizer, self.trainer.hf.config, {int(tokens[-1]) for tokens in every})

    def step(self, run: Progress, lr: float, timer: Timer) -> dict[str, float]:
        rows = self._rows([pair for _, pair in self.sampler.take(self.recipe.batch.examples_per_step)])
        with timer("scores"):
            scores_2P = self.trainer.score(rows.sequences)
        loss, slopes_2P, told = token_weights(
            scores_2P, rows.margins_P, rows.weights_P, self.recipe.algorithm.centre
        )
        sequences, trained = read_at_the_end(rows.sequences)
        batch = Batch(sequences=sequences, trained=trained, weights_N=slopes_2P.float())
        with timer("update"):
            update = careful_update(run, self.recipe.faults, self.trainer, batch, linear, lr=lr)
        if update:
            update |= {"loss": float(loss)}
        return step_metrics(update, batch, lr) | told

    def measure(self) -> dict[str, float]:
        """Of the held-out pairs; mean and deviation of their scores go into the exported config."""
        assert self.held_out is not None
        scores_2P = self.trainer.score(self.held_out.sequences).double()
        loss, told = bradley_terry(
            scores_2P, self.held_out.margins_P, self.held_out.weights_P, self.recipe.algorithm.centre
        )
        config = self.trainer.hf.config
        config.mean, config.std = float(scores_2P.mean()), float(scores_2P.std())
        return {
            "loss": float(loss),
            "accuracy": told["rewards/accuracies"],
            "margin": told["rewards/margins"],
            "chosen_reward": told["rewards/chosen"],
            "rejected_reward": told["rewards/rejected"],
        }

    def _rows(self, pairs: list[Comparison]) -> Rows:
        margins = [pair.margin if self.recipe.algorithm.margin else 0.0 for pair in pairs]
        return Rows(
            sequences=[side for pair in pairs for side in (pair.chosen, pair.rejected)],
            margins_P=torch.tensor(margins, dtype=torch.float64),
            weights_P=torch.tensor([pair.weight for pair in pairs], dtype=torch.float64),
        )
