"""Load a Hugging Face causal LM and its tokenizer as the recipe describes them, and write them back."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.files import directory_atomically
from rlvr_cli.engine import attention
from rlvr_cli.engine.adapter_start import keep_together, take_principal_part
from rlvr_cli.engine.kernels import check_liger, use_liger
from rlvr_cli.schema import Kernels, LoraInit, Model, Precision, Trainer, Vision
from rlvr_cli.vision.processor import ATTRIBUTE, KNOWN, load_processor, processor_of
from rlvr_cli.vision.shown import tower_of

AUTO = "auto"
"""`model.attention` that takes rows without padding where the model allows it."""


class Head(Enum):
    """What a model says of a sequence."""

    logits = "logits"
    """A distribution for every token: a causal language model."""
    values = "values"
    """A number for every token: in transformers' terms token classification with one label."""
    score = "score"
    """A number for the sequence, read at its last token: sequence classification with one label."""


DTYPES = {Precision.fp32: torch.float32, Precision.bf16: torch.bfloat16}


def load_tokenizer(model: Model) -> Any:
    """The tokenizer of `model.path`, with `model.chat_template` in the place of its own when given."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            model.path, revision=model.revision, trust_remote_code=model.trust_remote_code
        )
    except (OSError, ValueError) as error:
        raise UserError(f"model.path: no tokenizer loads from '{model.path}': {first_line(error)}") from error
    if model.chat_template is not None:
        try:
            tokenizer.chat_template = Path(model.chat_template).read_text()
        except OSError as error:
            raise UserError(
                f"model.chat_template: cannot read '{model.chat_template}': {error.strerror}"
            ) from error
    if tokenizer.eos_token_id is None:
        raise UserError(f"model.path: the tokenizer of '{model.path}' has no end-of-sequence token")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    setattr(tokenizer, ATTRIBUTE, load_processor(model, load_config(model)))
    return tokenizer


def load_config(model: Model) -> Any:
    """The model's config with `model.overrides` applied."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(
            model.path, revision=model.revision, trust_remote_code=model.trust_remote_code
        )
    except (OSError, ValueError) as error:
        raise UserError(
            f"model.path: no model config loads from '{model.path}': {first_line(error)}"
        ) from error
    for key, value in model.overrides.items():
        if not hasattr(config, key):
            raise UserError(f"model.overrides.{key}: the config of '{model.path}' has no such entry")
        setattr(config, key, value)
    return config


def context_length(model: Model) -> int | None:
    """Most tokens of prompt and response together; None where the config does not say."""
    found: int | None = getattr(load_config(model).get_text_config(), "max_position_embeddings", None)
    return found


def uneven(config: Any, parts: int) -> str | None:
    """What of a model cannot be cut into so many equal parts, as tensor parallel engines do; None: all."""
    text = config.get_text_config()
    heads, width = (getattr(text, name, None) for name in ("num_attention_heads", "intermediate_size"))
    if heads and heads % parts:
        return f"{heads} attention heads"
    keys = getattr(text, "num_key_value_heads", None)
    if keys and keys % parts and parts % keys:  # fewer than parts: several have the same
        return f"{keys} key-value heads"
    if isinstance(width, int) and width % parts:
        return f"feed-forward layers of width {width}"
    return _uneven_tower(getattr(config, "vision_config", None), parts)


def _uneven_tower(tower: Any, parts: int) -> str | None:
    """The same of a vision tower, which an engine cuts as it does the layers of text; None: there is none."""
    heads, width = (getattr(tower, name, None) for name in ("num_heads", "intermediate_size"))
    if heads and heads % parts:
        return f"a vision tower with {heads} attention heads"
    if width is None and hasattr(tower, "mlp_ratio"):  # Qwen2-VL
        width = int(tower.embed_dim * tower.mlp_ratio)
    if isinstance(width, int) and width % parts:
        return f"a vision tower with feed-forward layers of width {width}"
    return None


def load_model(model: Model, precision: Precision, *, head: Head = Head.logits) -> nn.Module:
    """The model on the CPU (or, under an active HfDeepSpeedConfig of stage 3, already sharded).

    A new head of values is 0 everywhere. Raises UserError when nothing such loads.
    """
    import transformers
    from safetensors import SafetensorError

    auto, key, kind = {
        Head.logits: (transformers.AutoModelForCausalLM, "model.path", "causal language model"),
        Head.values: (transformers.AutoModelForTokenClassification, "critic.path", "value model"),
        Head.score: (transformers.AutoModelForSequenceClassification, "model.path", "sequence classifier"),
    }[head]
    config = load_config(model)
    if head is not Head.logits:
        config.num_labels = 1
    elif config.model_type in KNOWN:
        auto = transformers.AutoModelForImageTextToText
    try:
        loaded: Any = auto.from_pretrained(
            model.path,
            config=config,
            revision=model.revision,
            trust_remote_code=model.trust_remote_code,
            dtype=DTYPES[precision],
            attn_implementation=None if model.attention == AUTO else model.attention,
            output_loading_info=True,
        )
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        raise UserError(f"{key}: no {kind} loads from '{model.path}': {first_line(error)}") from error
    hf, report = loaded
    if head is not Head.logits and report["missing_keys"]:
        begin_head(hf, zero=head is Head.values)
    hf.config.use_cache = False
    if model.attention == AUTO and (suited := attention.suited(hf)) is not None:
        attention.register()
        hf.set_attn_implementation(attention.for_language(hf, suited))
    if model.vision is Vision.frozen and (tower := tower_of(hf)) is not None:
        tower.requires_grad_(False)
    if model.gradient_checkpointing:
        hf.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return add_lora(hf, model, head) if model.lora.rank else hf


def load_sharded(
    model: Model, settings: Trainer, config: dict[str, Any], *, head: Head = Head.logits
) -> nn.Module:
    """`load_model` with the trainer's kernels.

    Under ZeRO-3 weights are sharded while they are read, and no rank ever holds all.
    """
    if settings.kernels is Kernels.liger:
        check_liger()
    keep_alive = None
    if settings.zero_stage == 3:
        from transformers.integrations import HfDeepSpeedConfig

        keep_alive = HfDeepSpeedConfig(config)  # from_pretrained looks for a live instance
    hf = load_model(model, settings.precision, head=head)
    del keep_alive
    if settings.kernels is Kernels.liger:
        use_liger(hf)
    return hf


def value_head(hf: nn.Module) -> nn.Linear:
    """The layer that turns a hidden state into a value, below peft's wrapping if there is one."""
    wrapped: Any = hf
    base = wrapped.get_base_model() if hasattr(wrapped, "get_base_model") else wrapped
    return next(m for m in base.children() if isinstance(m, nn.Linear) and m.out_features == 1)


def begin_head(hf: nn.Module, *, zero: bool) -> None:
    """Start with V = 0 everywhere: the first advantages are then those without a critic.

    Else at random, with a standard deviation of 1 / sqrt(width + 1) (Stiennon et al. 2020).
    """
    import deepspeed

    layer = value_head(hf)
    parameters = list(layer.parameters())
    sharded = any(hasattr(p, "ds_id") for p in parameters)
    with deepspeed.zero.GatheredParameters(parameters, modifier_rank=0, enabled=sharded), torch.no_grad():
        for parameter in parameters:
            if zero or parameter.dim() == 1:
                parameter.zero_()
            else:
                parameter.normal_(std=(layer.in_features + 1) ** -0.5)


def add_lora(hf: nn.Module, model: Model, head: Head = Head.logits) -> nn.Module:
    """Wrap the model with peft adapters; only these (and a head of values or scores) are trained."""
    from peft import LoraConfig, get_peft_model

    values = head is not Head.logits
    outside = None if tower_of(hf) is None else r".*\bvisual\..*"  # of a frozen tower nothing is adapted
    lora = model.lora
    targets = lora.targets if lora.targets == "all-linear" else [t.strip() for t in lora.targets.split(",")]
    try:
        adapted: nn.Module = get_peft_model(
            hf,
            LoraConfig(
                r=lora.rank,
                lora_alpha=lora.alpha,  # type: ignore[arg-type]  # floats work
                lora_dropout=lora.dropout,
                use_rslora=lora.rank_stabilised,
                use_dora=lora.dora,
                target_modules=targets,
                exclude_modules=["score", "classifier"] if values else outside,
                task_type=None if values else "CAUSAL_LM",
            ),
            # The fp32 copies are DeepSpeed's; peft's own would stay in fp32 under ZeRO-3 alone.
            autocast_adapter_dtype=False,
        )
    except ValueError as error:
        raise UserError(f"model.lora.targets: {first_line(error)}") from error
    if values:
        value_head(adapted).requires_grad_(True)
    if lora.init is LoraInit.pissa:
        take_principal_part(adapted)
    if lora.dora:
        keep_together(adapted)
    return adapted


def eos_ids(path: str, tokenizer: Any) -> list[int]:
    """Every token id that ends a response: the tokenizer's, and those of generation_config.json."""
    ids = {int(tokenizer.eos_token_id)}
    from transformers import GenerationConfig

    try:
        declared = GenerationConfig.from_pretrained(path).eos_token_id
    except OSError:  # the file is optional
        declared = None
    if declared is not None:
        ids |= {int(i) for i in (declared if isinstance(declared, list) else [declared])}
    return sorted(ids)


def export(
    folder: Path, hf: Any, state: dict[str, torch.Tensor], tokenizer: Any, note: dict[str, Any]
) -> None:
    """Write an ordinary Hugging Face folder: safetensors, config, generation config, tokenizer."""
    base = hf.get_base_model() if hasattr(hf, "get_base_model") else hf
    base.config.use_cache = True
    with directory_atomically(folder) as aside:
        base.save_pretrained(aside, state_dict=state)
        tokenizer.save_pretrained(aside)
        if (processor := processor_of(tokenizer)) is not None:
            processor.save(aside)
        (aside / "rlvr.json").write_text(json.dumps(note, indent=1) + "\n")
    base.config.use_cache = False


def first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
