"""Load a Hugging Face causal LM and its tokenizer as the recipe describes them, and write them back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rlvr_cli.errors import UserError
from rlvr_cli.files import directory_atomically
from rlvr_cli.schema import Model, Precision

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


def load_model(model: Model, precision: Precision) -> nn.Module:
    """The model on the CPU (or, under an active HfDeepSpeedConfig of stage 3, already sharded)."""
    from transformers import AutoModelForCausalLM

    try:
        hf = AutoModelForCausalLM.from_pretrained(
            model.path,
            config=load_config(model),
            revision=model.revision,
            trust_remote_code=model.trust_remote_code,
            dtype=DTYPES[precision],
            attn_implementation=model.attention,
        )
    except (OSError, ValueError, ImportError) as error:
        raise UserError(
            f"model.path: no causal language model loads from '{model.path}': {first_line(error)}"
        ) from error
    hf.config.use_cache = False
    if model.gradient_checkpointing:
        hf.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return add_lora(hf, model) if model.lora.rank else hf


def add_lora(hf: nn.Module, model: Model) -> nn.Module:
    """Wrap the model with peft adapters; only these are trained."""
    from peft import LoraConfig, get_peft_model

    lora = model.lora
    targets = lora.targets if lora.targets == "all-linear" else [t.strip() for t in lora.targets.split(",")]
    try:
        return get_peft_model(
            hf,
            LoraConfig(
                r=lora.rank,
                lora_alpha=lora.alpha,  # type: ignore[arg-type]  # floats work
                lora_dropout=lora.dropout,
                target_modules=targets,
                task_type="CAUSAL_LM",
            ),
        )
    except ValueError as error:
        raise UserError(f"model.lora.targets: {first_line(error)}") from error


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
        (aside / "rlvr.json").write_text(json.dumps(note, indent=1) + "\n")
    base.config.use_cache = False


def first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]
