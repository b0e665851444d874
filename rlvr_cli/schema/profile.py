"""What `rlvr profile` measures: problems of an RL recipe, sampled and verified as it would train on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from rlvr_cli.schema.data import Source
from rlvr_cli.schema.recipes import EvalRecipe
from rlvr_cli.schema.select import SelectBy


@dataclass(kw_only=True)
class ProfileRecipe(EvalRecipe):
    """Root of `rlvr profile`, made from an RL recipe and the verb's options."""

    data: dict[str, Source] = field(default_factory=dict)
    verifiers: dict[str, Any] = field(default_factory=dict)
    k: int = 16
    """Samples of each problem."""
    file: str = MISSING
    """The profile: a .jsonl or .parquet file."""
    group_size: int = 8
    """`batch.group_size` of the recipe, which decides what a pass rate is worth."""
    prompts_per_step: int = 32
    """`batch.prompts_per_step` of the recipe: a band has to leave that many problems."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.select.by is not SelectBy.majority:
            raise ValueError("select.by=otv is for benches, and a profile has none; leave it out")
        if self.k < 1:
            raise ValueError(f"k is {self.k}; it must be at least 1")
        if self.server.chat:
            raise ValueError(
                "server.api=chat: a profile counts tokens of the model's own; give it a server of completions"
            )
