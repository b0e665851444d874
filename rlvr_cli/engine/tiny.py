"""The built-in models: a randomly initialised Qwen2 of under a million weights that reads characters, and a
Qwen3 mixture of experts.

They are ordinary Hugging Face folders, so everything that loads a model loads them.
"""

from __future__ import annotations

import string
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlvr_cli import schema
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.files import directory_atomically

if TYPE_CHECKING:
    from transformers import (
        Qwen2Config,
        Qwen2ForCausalLM,
        Qwen2Tokenizer,
        Qwen3MoeConfig,
        Qwen3MoeForCausalLM,
    )

PAD, EOS, BOS, UNK = "<pad>", "<eos>", "<bos>", "<unk>"
CHARACTERS = "\n" + "".join(sorted(string.digits + string.ascii_letters + string.punctuation + " "))

# A lone user message renders as its plain text, so chat and plain prompts agree.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'system' %}{{ '\\n' }}{% endif %}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}"
)


def make_tiny(folder: Path, shape: schema.TinyModel, seed: int, *, moe: bool = False) -> None:
    """Write model and tokenizer to `folder`; the same seed gives the same bytes."""
    tokenizer = tiny_tokenizer(shape.max_positions)
    model = _model(shape, seed, tokenizer, moe)
    with directory_atomically(folder) as aside:
        model.save_pretrained(aside)
        tokenizer.save_pretrained(aside)


def tiny_tokenizer(max_positions: int) -> Qwen2Tokenizer:
    """One token a character. Characters outside printable ASCII and newline are dropped."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Tokenizer

    # AutoTokenizer rebuilds the tokenizer of any qwen2 folder as Qwen2Tokenizer, whatever tokenizer.json
    # says: another class would load and lose every space. Its vocabulary is spelled in byte-level letters.
    spelled = [
        ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(c)[0][0] for c in CHARACTERS
    ]
    return Qwen2Tokenizer(
        vocab={token: index for index, token in enumerate((PAD, EOS, BOS, UNK, *spelled))},
        merges=[],
        pad_token=PAD,
        eos_token=EOS,
        bos_token=BOS,
        unk_token=UNK,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=max_positions,
        padding_side="left",
    )


def tiny_config(
    shape: schema.TinyModel, tokenizer: Qwen2Tokenizer, *, moe: bool = False
) -> Qwen2Config | Qwen3MoeConfig:
    """The model's config. Raises UserError when heads and sizes do not divide."""
    from transformers import Qwen2Config, Qwen3MoeConfig

    check_shape(shape)
    inner = 3 * shape.hidden_size
    common: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": shape.hidden_size,
        "intermediate_size": inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "max_position_embeddings": shape.max_positions,
        "tie_word_embeddings": True,
        "dtype": "float32",
        **special(tokenizer),
    }
    if not moe:
        return Qwen2Config(**common)
    if shape.experts_per_token > shape.experts:
        raise UserError(
            f"model.tiny: a token cannot go through {shape.experts_per_token} experts (experts_per_token) of "
            f"{shape.experts} (experts)"
        )
    common["head_dim"] = shape.hidden_size // shape.heads
    return Qwen3MoeConfig(
        **common,
        num_experts=shape.experts,
        num_experts_per_tok=shape.experts_per_token,
        moe_intermediate_size=inner // shape.experts_per_token,
        norm_topk_prob=True,
    )


def check_shape(shape: schema.TinyModel) -> None:
    """UserError when heads and sizes do not divide."""
    if shape.hidden_size % (2 * shape.heads) or shape.heads % shape.kv_heads:
        raise UserError(
            f"model.tiny: hidden_size ({shape.hidden_size}) must be a multiple of 2 x heads ({shape.heads}), "
            f"and heads a multiple of kv_heads ({shape.kv_heads})"
        )


def special(tokenizer: Qwen2Tokenizer) -> dict[str, Any]:
    return {
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.bos_token_id,
    }


def _model(
    shape: schema.TinyModel, seed: int, tokenizer: Qwen2Tokenizer, moe: bool
) -> Qwen2ForCausalLM | Qwen3MoeForCausalLM:
    import torch
    from transformers import GenerationConfig, Qwen2ForCausalLM, Qwen3MoeForCausalLM

    config = tiny_config(shape, tokenizer, moe=moe)
    with torch.random.fork_rng(devices=[]):  # making a model must not move the caller's random numbers
        torch.manual_seed(seed)
        kind: Any = Qwen3MoeForCausalLM if moe else Qwen2ForCausalLM
        model: Qwen2ForCausalLM | Qwen3MoeForCausalLM = kind(config)
    model.generation_config = GenerationConfig(do_sample=True, **special(tokenizer))
    return model
