"""What a model's config says about its size: built on the meta device, where weights take no memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.model_paths import BUILT_IN, TINY_MOE, TINY_VISION
from rlvr_cli.engine.attention import suited
from rlvr_cli.engine.masked_weights import masked_weights
from rlvr_cli.engine.model import Head, add_lora, load_config
from rlvr_cli.engine.tiny import tiny_config, tiny_tokenizer
from rlvr_cli.engine.tiny_vision import tiny_vision_config, tiny_vision_tokenizer
from rlvr_cli.engine.ulysses import Heads
from rlvr_cli.planning.known_models import CONFIGS
from rlvr_cli.planning.towers import Tower, tower_of_config
from rlvr_cli.schema import Lora, Model, Vision, WeightMask
from rlvr_cli.vision.processor import KNOWN
from rlvr_cli.vision.shown import tower_of


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of a decoder-only transformer; counts are of single numbers, not bytes."""

    kind: str
    """`model_type` of the config."""
    parameters: int
    """All weights, adapters included; tied ones once."""
    trained: int
    """Those that get a gradient: all, or with LoRA the adapters, with `model.mask` frozen entries too."""
    masked: int
    """Entries of the weights that `model.mask` is of."""
    dora_outputs: int
    """Outputs of all linear layers with DoRA, together."""
    dora_largest: int
    """Entries of the largest weight with DoRA, and of a square of its inputs."""
    active: int
    """Those a token passes through; fewer than all in a mixture of experts."""
    largest: int
    """The largest single weight tensor."""
    layers: int
    hidden: int
    inner: int
    """Width of the feed-forward layer that a token sees: of the experts used, together."""
    queries: int
    """Attention heads x head size."""
    keys: int
    """Key-value heads x head size."""
    heads: int
    vocabulary: int
    gated: bool
    """Feed-forward with a gate (SwiGLU): three matrices instead of two."""
    normed_queries: bool
    """Queries and keys are normalised (Qwen3)."""
    suited: str | None
    """Implementation of attention that `model.attention: auto` takes; None: transformers' own choice."""
    tower: Tower | None
    """Of a model that sees."""
    attention: Heads
    """What decides whether ranks can share it."""

    def shared_keys(self, ranks: int) -> float:
        """`keys`, where so many ranks share attention: at least one head for each."""
        return self.keys * max(1.0, ranks / self.attention.keys)

    @property
    def kv_numbers(self) -> int:
        """Keys and values that one token keeps in the cache."""
        return 2 * self.layers * self.keys


def config_of(model: Model) -> Any:
    """The model's config from the sizes of a built-in one, the table of known ones, a folder or the hub.

    Raises UserError naming the way out where it is none of them.
    """
    if model.path == TINY_VISION:
        return tiny_vision_config(model.tiny, tiny_vision_tokenizer(model.tiny.max_positions))
    if model.path in BUILT_IN:
        tokenizer = tiny_tokenizer(model.tiny.max_positions)
        return tiny_config(model.tiny, tokenizer, moe=model.path == TINY_MOE)
    if model.path in CONFIGS:
        from transformers import AutoConfig

        entries = dict(CONFIGS[model.path])
        config: Any = AutoConfig.for_model(entries.pop("model_type"), **entries)
        for key, value in model.overrides.items():
            if not hasattr(config, key):
                raise UserError(f"model.overrides.{key}: the config of '{model.path}' has no such entry")
            setattr(config, key, value)
        return config
    try:
        return load_config(model)
    except UserError as error:
        raise UserError(
            f"{error}; a plan needs the model's config.json: set model.path to a folder that holds it "
            "(weights are not needed), or plan with network"
        ) from error


def shape_of(model: Model, *, values: bool = False) -> Shape:
    """The policy's shape, or with `values` that of a critic: one number per token in place of logits."""
    config = config_of(model)
    hf: Any = empty(config, model, values)
    mask = model.mask
    masked = masked_weights(hf, mask) if mask.on and not values else {}
    turned = (
        [layer.base_layer for layer in hf.modules() if hasattr(layer, "lora_A")] if model.lora.dora else []
    )
    text = config.get_text_config()
    sizes = {name: p.numel() for name, p in hf.named_parameters()}
    experts = sum(n for name, n in sizes.items() if ".experts." in name)
    count = int(getattr(text, "num_local_experts", None) or getattr(text, "num_experts", None) or 1)
    used = int(getattr(text, "num_experts_per_tok", None) or 1) if experts else 1
    head = int(getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads)
    inner = int(getattr(text, "moe_intermediate_size", 0) or 0) if experts else 0
    parameters = sum(sizes.values())
    seeing = sum(n for name, n in sizes.items() if ".visual." in name or name.startswith("visual."))
    return Shape(
        kind=str(text.model_type),
        parameters=parameters,
        trained=sum(p.numel() for p in hf.parameters() if p.requires_grad),
        masked=sum(weight.numel() for weight in masked.values()),
        dora_outputs=sum(layer.out_features for layer in turned),
        dora_largest=max((layer.weight.numel() + layer.in_features**2 for layer in turned), default=0),
        active=parameters - seeing - (experts - experts * used // count if experts else 0),
        largest=max(sizes.values()),
        layers=int(text.num_hidden_layers),
        hidden=int(text.hidden_size),
        inner=used * (inner or int(getattr(text, "intermediate_size", None) or 4 * text.hidden_size)),
        queries=int(text.num_attention_heads) * head,
        keys=int(getattr(text, "num_key_value_heads", None) or text.num_attention_heads) * head,
        heads=int(text.num_attention_heads),
        vocabulary=int(text.vocab_size),
        gated=any("gate" in name for name in sizes if "visual" not in name),
        normed_queries=any("q_norm" in name for name in sizes),
        suited=suited(hf.get_base_model() if hasattr(hf, "get_base_model") else hf),
        tower=tower_of_config(
            model, config, seeing, gated=any("visual" in name and "gate" in name for name in sizes)
        ),
        attention=Heads.of(config),
    )


def plain(model: Model) -> Model:
    """The model without adapters and mask, as reference and engine hold it."""
    return replace(model, lora=Lora(), mask=WeightMask())


def empty(config: Any, model: Model, values: bool) -> nn.Module:
    """The model without weights. Raises UserError where transformers knows no such model."""
    import transformers

    auto: Any = transformers.AutoModelForCausalLM
    if values:
        auto = transformers.AutoModelForTokenClassification
    elif config.model_type in KNOWN:
        auto = transformers.AutoModelForImageTextToText
    if values:
        config.num_labels = 1
    try:
        with torch.device("meta"):
            hf: nn.Module = auto.from_config(config, trust_remote_code=model.trust_remote_code)
            head = Head.values if values else Head.logits
            if model.vision is Vision.frozen and (tower := tower_of(hf)) is not None:
                tower.requires_grad_(False)
            return add_lora(hf, model, head) if model.lora.rank else hf
    except ValueError as error:
        raise UserError(
            f"model.path: no causal language model is made of the config of '{model.path}': "
            f"{str(error).splitlines()[0]}"
        ) from error
