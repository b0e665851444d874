"""The model and its adapters."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any

from omegaconf import MISSING


class Precision(Enum):
    fp32 = "fp32"
    bf16 = "bf16"


class LoraInit(Enum):
    default = "default"
    pissa = "pissa"


class Vision(Enum):
    frozen = "frozen"
    train = "train"


@dataclass(kw_only=True)
class Lora:
    """Low-rank adapters (peft). rank 0 trains every weight."""

    rank: int = 0
    """Rank of the adapters; 0 switches LoRA off."""
    alpha: float = 32.0
    """Scale numerator: the update is multiplied by alpha / rank."""
    rank_stabilised: bool = False
    """rsLoRA: multiplied by alpha / sqrt(rank) instead, so that a higher rank learns no slower."""
    init: LoraInit = LoraInit.default
    """default: adapters start as 0. pissa: as the largest singular values and vectors of the weights, which
    are taken out of the weights beneath: the start model is the same, what learns is its principal part."""
    dora: bool = False
    """DoRA: the norm of each output's weights is trained besides, and the adapters turn their direction."""
    dropout: float = 0.0
    """Share of the adapters' inputs that is zeroed in training."""
    targets: str = "all-linear"
    """`all-linear`, or module names separated by commas."""

    @property
    def scale(self) -> float:
        """What the product of the adapters is multiplied by."""
        return self.alpha / (self.rank**0.5 if self.rank_stabilised else self.rank)

    @property
    def keeps_start(self) -> bool:
        """Whether the policy without its adapters is the start model: not where that gave them its part."""
        return self.rank > 0 and self.init is not LoraInit.pissa


class MaskKind(Enum):
    none = "none"
    principal = "principal"
    low_magnitude = "low_magnitude"
    off_principal = "off_principal"
    random = "random"
    random_off_principal = "random_off_principal"


@dataclass(kw_only=True)
class WeightMask:
    """Which entries of the weights train (docs/peft.md); the others stay bit for bit as they start."""

    kind: MaskKind = MaskKind.none
    """none: all. principal: the share of entries that are largest in the matrix cut to its `rank` largest
    singular values. low_magnitude: the share that is smallest. off_principal: these, and all that are not
    principal. random: the share, drawn. random_off_principal: as many in each matrix as off_principal has."""
    share: float = 0.5
    """Of each matrix, for principal, low_magnitude and random."""
    rank: int = 64
    """Singular values that make an entry principal."""
    seed: int = 0
    """Of the random kinds."""
    targets: str = "all-linear"
    """Linear layers whose weights have a mask: `all-linear` (but the output layer), or module names separated
    by commas."""
    train_others: bool = True
    """Train whole what has no mask: embedding, norms, biases, the output layer, layers `targets` leaves
    out."""

    @property
    def on(self) -> bool:
        return self.kind is not MaskKind.none


@dataclass(kw_only=True)
class TinyModel:
    """Shape of the randomly initialised model made when `model.path` is `builtin:tiny` (a Qwen2) or
    `builtin:tiny_moe` (a Qwen3 mixture of experts), and of the language part of `builtin:tiny_vision`."""

    hidden_size: int = 128
    """Width of the hidden states."""
    layers: int = 4
    """Transformer layers."""
    heads: int = 4
    """Attention heads."""
    kv_heads: int = 2
    """Heads of keys and values; several attention heads share one."""
    max_positions: int = 2048
    """Longest prompt and response together, in tokens."""
    experts: int = 8
    """Of `builtin:tiny_moe`, in each layer."""
    experts_per_token: int = 2
    """Of these a token goes through; together they are as wide as the dense model's feed-forward layer."""


@dataclass(kw_only=True)
class Model:
    """The start model and how it is loaded."""

    path: str = MISSING
    """Hugging Face folder, hub id, run directory (its `final/` is taken), `builtin:tiny`, `builtin:tiny_moe`,
    or `builtin:tiny_vision`, which sees images."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    attention: str = "auto"
    """In the trainer. auto: sequences end to end without padding where the model allows it
    (docs/training.md), else the model's default; or an implementation of transformers by name:
    flash_attention_2 (without padding too), sdpa or eager (padded rows)."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    fp32_head: bool = False
    """Compute the output layer in fp32, in trainer and engine: their logprobs differ less in bf16."""
    trust_remote_code: bool = False
    """Run the Python files a model brings along, in the trainer and with your rights (docs/security.md)."""
    chat_template: str | None = None
    """Path of a Jinja file that replaces the tokenizer's chat template."""
    overrides: dict[str, Any] = field(default_factory=dict)
    """Entries of the model's config.json to change, e.g. {max_position_embeddings: 32768}."""
    vision: Vision = Vision.frozen
    """Of a model that sees: whether its vision tower, with the layers that lead from it to the language
    model, is trained too. frozen: neither."""
    min_pixels: int | None = None
    """Smaller images are enlarged to so many pixels (an area); null: what the model's processor says."""
    max_pixels: int | None = None
    """Larger images are reduced to so many pixels (an area); null: what the model's processor says."""
    image_workers: int | None = None
    """Processes of each rank that open and resize images; 0: none. null: its share of the cores, at most 8,
    started once there are images large enough to be worth it, and for these alone."""
    lora: Lora = field(default_factory=Lora)
    mask: WeightMask = field(default_factory=WeightMask)
    tiny: TinyModel = field(default_factory=TinyModel)

    def __post_init__(self) -> None:
        if self.mask.on and self.lora.rank:
            raise ValueError(
                f"model.mask.kind is {self.mask.kind.value} and model.lora.rank is {self.lora.rank}: a mask "
                "is of weights that train, and under adapters none do; leave one of the two out"
            )
        for key in () if self.lora.rank else ("rank_stabilised", "init", "dora"):
            if getattr(self.lora, key) != getattr(Lora, key):
                raise ValueError(
                    f"model.lora.{key} is of adapters, and model.lora.rank is 0, which makes none; set the "
                    "rank, or leave it out"
                )

        for field_ in () if self.mask.on else fields(self.mask):
            if getattr(self.mask, field_.name) != field_.default:
                raise ValueError(
                    f"model.mask.{field_.name} is of a mask, and model.mask.kind is none, which makes none; "
                    "set the kind, or leave it out"
                )

    @property
    def head_trains(self) -> bool:
        """Whether the output layer gets a gradient, as far as is known without the model."""
        return not self.lora.rank and not (self.mask.on and not self.mask.train_others)
