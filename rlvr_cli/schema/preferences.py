"""Recipes of preferences: what differs from supervised fine-tuning, whose keys they have."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from rlvr_cli.schema.recipes import SFT, SFTEval, SFTRecipe


@dataclass(kw_only=True)
class Preference(SFT):
    """Stands in the place of an algorithm in a recipe of preferences; a preset fills it in."""

    name: str = "dpo"
    """Name of the preset."""
    preference: Any = MISSING
    """The loss, an option that `name` picks."""
    sft_coef: float = 0.0
    """Weight of the negative log-likelihood of the chosen answers, a mean over the tokens of the update."""
    max_length: int = 2048
    """Pairs of which an answer with its prompt is longer are left out and counted."""


@dataclass(kw_only=True)
class PreferenceEval(SFTEval):
    """Measurements on pairs that are not trained on."""

    stop_at: float | None = None
    """Accuracy (share of the pairs whose chosen answer has the higher reward) at which training ends before
    `trainer.steps`; null: never."""


@dataclass(kw_only=True)
class PreferenceRecipe(SFTRecipe):
    """Root of a recipe that trains on preferences."""

    algorithm: Preference = field(default_factory=Preference)
    eval: PreferenceEval = field(default_factory=PreferenceEval)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.eval.stop_at is not None and getattr(self.algorithm.preference, "unpaired", False):
            raise ValueError(
                f"eval.stop_at is an accuracy on pairs, and {self.algorithm.preference.name} is measured "
                f"on single "
                "answers: leave it out"
            )
        if self.model.lora.rank and self.model.lora.dropout:
            raise ValueError(
                f"model.lora.dropout is {self.model.lora.dropout:g}; it must be 0: a loss of preferences "
                f"compares "
                "two passes of the same policy"
            )
