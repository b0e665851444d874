"""The built-in model that sees: a randomly initialised Qwen2.5-VL of about half a million weights.

56 x 56 pixels are 16 image tokens of 14 x 14 pixels. It is an ordinary Hugging Face folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlvr_cli import schema
from rlvr_cli.core.files import directory_atomically
from rlvr_cli.engine.tiny import check_shape, special, tiny_tokenizer

if TYPE_CHECKING:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

IMAGE, VIDEO = "<|image_pad|>", "<|video_pad|>"
MARKS = ("<|vision_start|>", "<|vision_end|>")
PATCH, MERGE, SIDE = 7, 2, 56
AREAS = {"shortest_edge": (2 * PATCH * MERGE) ** 2, "longest_edge": SIDE**2}
"""Fewest and most pixels of an image, whatever the keys are called."""
LARGER = 2.0
"""Factor on transformers' initial matrices (standard deviation 0.02), which suit models a hundred times as
wide: with them a width of 64 hardly begins to learn."""

# One user message with images renders as <bos>, the images between their marks and the text, <bos>.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ bos_token }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ bos_token }}{% endif %}"
)


def make_tiny_vision(folder: Path, shape: schema.TinyModel, seed: int) -> None:
    """Write model, tokenizer and image processor to `folder`; the same seed gives the same bytes."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    tokenizer = tiny_vision_tokenizer(shape.max_positions)
    model = _model(shape, seed, tokenizer)
    images: Any = Qwen2VLImageProcessorPil(patch_size=PATCH, merge_size=MERGE, size=AREAS)
    with directory_atomically(folder) as aside:
        model.save_pretrained(aside)
        tokenizer.save_pretrained(aside)
        images.save_pretrained(aside)


def tiny_vision_tokenizer(max_positions: int) -> Qwen2Tokenizer:
    """That of the tiny model with the tokens around and of images after its characters."""
    tokenizer = tiny_tokenizer(max_positions)
    tokenizer.add_special_tokens({"additional_special_tokens": [*MARKS, IMAGE, VIDEO]})
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def tiny_vision_config(shape: schema.TinyModel, tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLConfig:
    """The model's config. Raises UserError when heads and sizes do not divide."""
    from transformers import Qwen2_5_VLConfig

    check_shape(shape)
    half = shape.hidden_size // shape.heads // 2
    height = width = (half - half // 4) // 2
    ids, of = special(tokenizer), tokenizer.get_vocab()
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": shape.hidden_size,
            "intermediate_size": 2 * shape.hidden_size,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.kv_heads,
            "max_position_embeddings": shape.max_positions,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "mrope_section": [half - height - width, height, width],
            },
            **ids,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_heads": 2,
            "out_hidden_size": shape.hidden_size,
            "window_size": 4 * PATCH,  # four windows and one layer that sees all: both orders of patches
            "fullatt_block_indexes": [1],
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
        },
        image_token_id=of[IMAGE],
        video_token_id=of[VIDEO],
        vision_start_token_id=of[MARKS[0]],
        vision_end_token_id=of[MARKS[1]],
        tie_word_embeddings=True,
        dtype="float32",
        **ids,
    )


def _model(
    shape: schema.TinyModel, seed: int, tokenizer: Qwen2Tokenizer
) -> Qwen2_5_VLForConditionalGeneration:
    import torch
    from transformers import GenerationConfig, Qwen2_5_VLForConditionalGeneration

    config = tiny_vision_config(shape, tokenizer)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = Qwen2_5_VLForConditionalGeneration(config)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(LARGER)
    model.generation_config = GenerationConfig(do_sample=True, **special(tokenizer))
    return model
