"""The model and its adapters."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from omegaconf import MISSING


class Precision(Enum):
    fp32 = "fp32"
    bf16 = "bf16"


@dataclass(kw_only=True)
class Lora:
    """Low-rank adapters (peft). rank 0 trains every weight."""

    rank: int = 0
    """Rank of the adapters; 0 switches LoRA off."""
    alpha: float = 32.0
    """Scale numerator: the update is multiplied by alpha / rank."""
    dropout: float = 0.0
    """Share of the adapters' inputs that is zeroed in training."""
    targets: str = "all-linear"
    """`all-linear`, or module names separated by commas."""


@dataclass(kw_only=True)
class TinyModel:
    """Shape of the randomly initialised Qwen2 model made when `model.path` is `builtin:tiny`."""

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


@dataclass(kw_only=True)
class Model:
    """The start model and how it is loaded."""

    path: str = MISSING
    """Hugging Face folder, hub id, run directory (its `final/` is taken) or `builtin:tiny`."""
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
    lora: Lora = field(default_factory=Lora)
    tiny: TinyModel = field(default_factory=TinyModel)
