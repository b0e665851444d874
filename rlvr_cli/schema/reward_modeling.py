"""Recipes of reward models: what differs from supervised fine-tuning, whose keys they have."""

from __future__ import annotations

from dataclasses import dataclass, field

from rlvr_cli.schema.preferences import PreferenceEval
from rlvr_cli.schema.recipes import SFT, SFTRecipe


@dataclass(kw_only=True)
class RewardModeling(SFT):
    """Stands in the place of an algorithm in a recipe that trains a reward model."""

    name: str = "reward_model"
    """Says that this is a reward model."""
    margin: bool = False
    """Scores must differ by the pair's own margin: its column `margin`, or `score_chosen` -
    `score_rejected`."""
    centre: float = 0.01
    """Weight of (score of the chosen + score of the rejected)^2, which holds scores around 0; 0: free."""
    max_length: int = 2048
    """Pairs of which a conversation is longer are left out and counted, never cut."""


@dataclass(kw_only=True)
class RewardModelRecipe(SFTRecipe):
    """Root of a recipe that trains a reward model."""

    algorithm: RewardModeling = field(default_factory=RewardModeling)
    eval: PreferenceEval = field(default_factory=PreferenceEval)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model.lora.rank and self.model.lora.dropout:
            raise ValueError(
                f"model.lora.dropout is {self.model.lora.dropout:g}; it must be 0: the loss of a reward "
                "model compares two passes of the same model"
            )
        if self.model.mask.on:
            raise ValueError("model.mask.kind is for a policy; a reward model trains whole: leave it out")
        if self.model.fp32_head:
            raise ValueError("model.fp32_head is for the output layer of a policy; reward_model has none")
        for name, source in {**self.data, "eval.source": self.eval.source}.items():
            if source is not None and (source.prompt != "{prompt}" or source.system is not None):
                key = name if name == "eval.source" else f"data.{name}"
                raise ValueError(
                    f"{key}.prompt and {key}.system are for a policy: a reward model is asked about the "
                    "prompt as the data set has it; leave them out"
                )
