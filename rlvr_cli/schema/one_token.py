"""One-token verification: recipes that train a verifier."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from rlvr_cli.schema.recipes import SFT, SFTEval, SFTRecipe


class PseudoLabel(Enum):
    linear = "linear"
    constant = "constant"
    step = "step"
    power = "power"


class ConfidenceLoss(Enum):
    bce = "bce"
    mse = "mse"


@dataclass(kw_only=True)
class OTV(SFT):
    """Stands in the place of an algorithm in a recipe that trains a one-token verifier."""

    name: str = "otv"
    """Says that this is a one-token verifier."""
    rank: int = 16
    """Rank of the adapters, which are on for the token alone."""
    alpha: float = 32.0
    """Scale numerator of the adapters: alpha / rank."""
    labels: PseudoLabel = PseudoLabel.linear
    """Target after t of T tokens. linear: .5 +- .5 t/T; power: .5 +- .5 (t/T)^power; step: .5 up to the half,
    then the outcome; constant: the outcome, which claims to know it from the first token on."""
    power: float = 2.0
    """Exponent of `labels: power`: above 1 the targets stay longer near .5."""
    loss: ConfidenceLoss = ConfidenceLoss.bce
    """bce: cross-entropy with the target; mse: squared difference, which forgives confident errors more."""
    probes: int = 256
    """Most positions of a trace that are trained, evenly spaced, the last included."""
    max_length: int = 2048
    """Traces whose prompt and response together are longer are left out and counted."""

    def __post_init__(self) -> None:
        if self.labels is not PseudoLabel.power and self.power != OTV.power:
            raise ValueError(
                f"algorithm.power is {self.power:g}, and algorithm.labels={self.labels.value} has no "
                "exponent; leave it out, or set algorithm.labels=power"
            )


@dataclass(kw_only=True)
class OTVEval(SFTEval):
    """Measurements on traces that are not trained on."""

    stop_at: float | None = None
    """AUROC at which training ends before `trainer.steps`; null: never."""


@dataclass(kw_only=True)
class OTVRecipe(SFTRecipe):
    """Root of a recipe that trains a one-token verifier."""

    algorithm: OTV = field(default_factory=OTV)
    eval: OTVEval = field(default_factory=OTVEval)

    def __post_init__(self) -> None:
        super().__post_init__()
        refused = {
            "model.lora.rank": (self.model.lora.rank != 0, "algorithm.rank"),
            "model.mask.kind": (self.model.mask.on, "algorithm.rank"),
            "model.fp32_head": (self.model.fp32_head, "nothing: the output layer is not used"),
            "model.gradient_checkpointing": (self.model.gradient_checkpointing, "algorithm.probes"),
            "trainer.zero_stage": (self.trainer.zero_stage == 3, "trainer=zero2: the base must be whole"),
            "trainer.inspect_weights_every": (
                self.trainer.inspect_weights_every is not None,
                "nothing: its weights stay as they are",
            ),
            "trainer.sequence_parallel": (self.trainer.sequence_parallel > 1, "nothing: rows stay whole"),
        }
        for key, (given, instead) in refused.items():
            if given:
                raise ValueError(
                    f"{key} does not go with otv, whose base is frozen and makes a cache; set {instead}"
                )
        if self.model.attention not in ("auto", "sdpa", "eager"):
            raise ValueError(
                f"model.attention={self.model.attention} takes no mask of its own for each probe; set "
                "model.attention=sdpa (or auto, which is the same for otv)"
            )
        for name, source in {**self.data, "eval.source": self.eval.source}.items():
            if source is not None and (source.prompt != "{prompt}" or source.system is not None):
                key = name if name == "eval.source" else f"data.{name}"
                raise ValueError(
                    f"{key}.prompt and {key}.system are for problems: a recorded prompt is as the model saw "
                    "it; leave them out"
                )
