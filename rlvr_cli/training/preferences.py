"""Training on preferences, pairs or labelled answers: what is its own beside `offline.py`.

A step is two passes. The first scores the answers without a graph, by the policy and by the reference, and
gives the loss, its metrics and its slope at the log-probability of each token (`preference_sums.py`). The
second is an ordinary update with the loss sum_N(slope_N new_N), whose gradient is that of the loss itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TextIO

import numpy as np
import torch
from torch import Tensor

from rlvr_cli.algorithms.preference_single import reference_point
from rlvr_cli.algorithms.preference_sums import Objective, paired, single, slopes
from rlvr_cli.algorithms.segments import segment_sum
from rlvr_cli.core.types import Batch
from rlvr_cli.data.pair_layouts import PREFERENCES, demand_margin
from rlvr_cli.data.pairs import Judged, JudgedSampler, Pair, PairSampler, judged, pairs
from rlvr_cli.data.sampler import Sampler
from rlvr_cli.data.sources import held_out
from rlvr_cli.engine.reference import Reference
from rlvr_cli.schema import Model, PreferenceRecipe
from rlvr_cli.tracking import Timer, Tracker
from rlvr_cli.tracking.null_tracker import NullTracker
from rlvr_cli.training.careful_update import careful_update
from rlvr_cli.training.offline import Progress, linear, train, trainer_of
from rlvr_cli.training.sft import step_metrics

MEASURED = {
    "rewards/accuracies": "accuracy",
    "rewards/margins": "margin",
    "rewards/chosen": "chosen_reward",
    "rewards/rejected": "rejected_reward",
    "logps/chosen": "chosen_logp",
    "logps/rejected": "rejected_logp",
}
"""Metric of a step -> what an evaluation calls it."""


def preferences(recipe: PreferenceRecipe, terminal: TextIO) -> bool:
    """Train on the recipe's preferences; every rank calls it. Exports the model to `out/final`.

    Returns False where it was stopped before, and has saved.
    """
    return train(recipe, terminal, "preference", Preferences)


@dataclass(kw_only=True)
class Rows:
    """The answers of one update: of pairs rows 2j (chosen) and 2j + 1 (rejected)."""

    sequences: list[np.ndarray]
    trained: list[np.ndarray]
    weights: Tensor
    """Of pairs, or of single answers: float64."""
    wanted_B: Tensor
    """bool: the chosen of a pair, the good ones of single answers."""
    paired: bool
    margins: Tensor | None = None
    """Of pairs, where all have one: float64."""

    @property
    def lengths_B(self) -> Tensor:
        return torch.tensor([int(mask.sum()) for mask in self.trained])


class Preferences:
    """An `offline.Task`: any loss of preferences."""

    goal = ("accuracy", "accuracy")

    def __init__(
        self, recipe: PreferenceRecipe, model: Model, tokenizer: Any, tracker: Tracker | NullTracker
    ) -> None:
        self.recipe, self.option = recipe, recipe.algorithm.preference
        found: dict[str, Any] = {}
        longest, load = recipe.algorithm.max_length, judged if self.option.unpaired else pairs
        apart = held_out(recipe.data.values(), recipe.seed, PREFERENCES)
        for name, source in recipe.data.items():
            found[name], report = load(name, source, tokenizer, longest, recipe.seed, apart)
            tracker.event("data", str(report))
            self._demand_margins(name, found[name])
        weights = {name: source.weight for name, source in recipe.data.items()}
        sampler = JudgedSampler if self.option.unpaired else PairSampler
        self.sampler: Sampler[Any] = sampler(found, weights, seed=recipe.seed)
        self.held_out: Rows | None = None
        if recipe.eval.source is not None:
            kept, report = load("eval", recipe.eval.source, tokenizer, longest, recipe.seed)
            tracker.event("data", str(report))
            self._demand_margins("eval", kept)
            self.held_out = rows_of(kept[: recipe.eval.limit])
        self.measures = self.held_out is not None
        self._held_out_ref_N: Tensor | None = None
        self.trainer = trainer_of(recipe, model)
        self.reference = Reference(model, self.trainer) if self.option.needs_reference else None

    def step(self, run: Progress, lr: float, timer: Timer) -> dict[str, float]:
        rows = rows_of([each for _, each in self.sampler.take(self.recipe.batch.examples_per_step)])
        asked, masks = self._with_mismatches(rows)
        with timer("old_logprobs"):
            new_N, entropies_N, hits_N = self.trainer.score(asked, masks)
        with timer("ref_logprobs"):
            ref_N = self._reference_logprobs(asked, masks)
        own = slice(int(rows.lengths_B.sum()))
        loss, weights_N, told = slopes(self._objective(rows, new_N, ref_N, masks), new_N[own])
        batch = Batch(sequences=rows.sequences, trained=rows.trained, weights_N=weights_N.float())
        with timer("update"):
            update = careful_update(run, self.recipe.faults, self.trainer, batch, linear, lr=lr)
        if update:
            wanted_N = rows.wanted_B.repeat_interleave(rows.lengths_B)
            update |= {"loss": float(loss), "entropy": float(entropies_N[own].mean())}
            if wanted_N.any():
                update["token_accuracy"] = float(hits_N[own][wanted_N].mean())
        return step_metrics(update, batch, lr) | told

    def measure(self) -> dict[str, float]:
        """Loss and metrics of the held-out preferences, whose reference is scored once."""
        assert self.held_out is not None
        asked, masks = self._with_mismatches(self.held_out)
        new_N = self.trainer.score(asked, masks)[0]
        if self._held_out_ref_N is None:
            self._held_out_ref_N = self._reference_logprobs(asked, masks)
        own = slice(int(self.held_out.lengths_B.sum()))
        loss, told = self._objective(self.held_out, new_N, self._held_out_ref_N, masks)(new_N[own].double())
        return {"loss": float(loss)} | {name: told[key] for key, name in MEASURED.items() if key in told}

    def _demand_margins(self, name: str, found: list[Any]) -> None:
        for pair in found:
            if isinstance(pair, Pair):
                demand_margin(self.option, pair.margin, name)

    def _with_mismatches(self, rows: Rows) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """What is scored: the rows, and for KTO's z the same prompts with each other's answers."""
        if not getattr(self.option, "measures_z", False):
            return rows.sequences, rows.trained
        others = mismatched(rows, self.recipe.algorithm.max_length)
        return rows.sequences + others[0], rows.trained + others[1]

    def _reference_logprobs(self, sequences: list[np.ndarray], trained: list[np.ndarray]) -> Tensor:
        """_N; zeros where the loss has no reference."""
        if self.reference is None:
            return torch.zeros(sum(int(mask.sum()) for mask in trained))
        return self.reference.logprobs(sequences, trained)

    def _objective(self, rows: Rows, new_N: Tensor, ref_N: Tensor, masks: list[np.ndarray]) -> Objective:
        """The loss of the rows, as a function of their tokens' log-probabilities. What follows the rows in
        the tensors are mismatches."""
        count, own = len(rows.sequences), int(rows.lengths_B.sum())
        shared: dict[str, Any] = {
            "ref_N": ref_N[:own].double(),
            "lengths_B": rows.lengths_B,
            "sft_coef": self.recipe.algorithm.sft_coef,
        }

        def loss(own_N: Tensor) -> tuple[Tensor, dict[str, float]]:
            if rows.paired:
                return paired(self.option, own_N, weights_P=rows.weights, margins_P=rows.margins, **shared)
            others_new, others_ref = (sums_of(x_N[own:], masks[count:]) for x_N in (new_N, ref_N))
            z = reference_point(others_new - others_ref)
            extra: dict[str, Any] = {"wanted_B": rows.wanted_B, "weights_B": rows.weights, "z": z}
            return single(self.option, own_N, **extra, **shared)

        return loss


def sums_of(logprobs_N: Tensor, trained: list[np.ndarray]) -> Tensor:
    """Summed log-probability of each sequence, float64 _B."""
    return segment_sum(logprobs_N.double(), torch.tensor([int(mask.sum()) for mask in trained]))


def rows_of(items: list[Pair] | list[Judged]) -> Rows:
    """Pairs, or labelled answers, as the sequences of one update."""
    found: list[tuple[Any, bool]] = []
    for item in items:
        if isinstance(item, Pair):
            found += [(item.chosen, True), (item.rejected, False)]
        else:
            found.append((item.example, item.desirable))
    margins = [item.margin for item in items if isinstance(item, Pair) and item.margin is not None]
    return Rows(
        margins=torch.tensor(margins, dtype=torch.float64) if len(margins) == len(items) else None,
        sequences=[made.tokens for made, _ in found],
        trained=[made.mask for made, _ in found],
        weights=torch.tensor([item.weight for item in items], dtype=torch.float64),
        wanted_B=torch.tensor([good for _, good in found]),
        paired=isinstance(items[0], Pair),
    )


def mismatched(rows: Rows, longest: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Each prompt with the answer of the row before it (of the first, the last), where that is no longer than
    `longest` tokens."""
    cuts = [int(mask.argmax()) for mask in rows.trained]
    sequences, trained = [], []
    for i, cut in enumerate(cuts):
        answer, mask = rows.sequences[i - 1][cuts[i - 1] :], rows.trained[i - 1][cuts[i - 1] :]
        if cut + len(answer) <= longest:
            sequences.append(np.concatenate([rows.sequences[i][:cut], answer]))
            trained.append(np.concatenate([np.zeros(cut, bool), mask]))
    return sequences, trained
