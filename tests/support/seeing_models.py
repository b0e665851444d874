"""Tiny random models of the other kinds that see, as ordinary folders: Qwen2-VL and Qwen3-VL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rlvr_cli.engine.tiny import special
from rlvr_cli.engine.tiny_vision import IMAGE, MARKS, VIDEO, tiny_vision_tokenizer

POSITIONS = 512
WIDTH = 128
TEXT = {
    "hidden_size": WIDTH,
    "intermediate_size": 2 * WIDTH,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": POSITIONS,
}


def _qwen3_vl(common: dict[str, Any], text: dict[str, Any]) -> Any:
    """Two layers of the tower speak too (DeepStack), positions take turns among the axes, and the tower's
    grid of learnt positions, 5 x 5, fits no image."""
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [6, 5, 5], "mrope_interleaved": True}
    tower = {
        "depth": 3,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_heads": 2,
        "out_hidden_size": WIDTH,
        "patch_size": 8,
        "spatial_merge_size": 2,
        "num_position_embeddings": 25,
        "deepstack_visual_indexes": [0, 1],
    }
    told = {"text_config": text | {"head_dim": 32, "rope_parameters": rope}, "vision_config": tower}
    return Qwen3VLForConditionalGeneration(Qwen3VLConfig(**told, **common))


def _qwen2_vl(common: dict[str, Any], text: dict[str, Any]) -> Any:
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [8, 4, 4]}
    tower = {"depth": 2, "embed_dim": 64, "hidden_size": WIDTH, "num_heads": 2, "mlp_ratio": 2}
    told = {"text_config": text | {"rope_parameters": rope}, "vision_config": tower | {"patch_size": 8}}
    return Qwen2VLForConditionalGeneration(Qwen2VLConfig(**told, **common))


KINDS = {"qwen3_vl": _qwen3_vl, "qwen2_vl": _qwen2_vl}


def make_seeing(folder: Path, kind: str) -> Path:
    """Model, tokenizer and image processor: 56 x 56 pixels are enlarged to 64 x 64, 16 tokens of 16 x 16."""
    import torch
    from transformers import GenerationConfig
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    tokenizer = tiny_vision_tokenizer(POSITIONS)
    of, ids = tokenizer.get_vocab(), special(tokenizer)
    common = {
        "image_token_id": of[IMAGE],
        "video_token_id": of[VIDEO],
        "vision_start_token_id": of[MARKS[0]],
        "vision_end_token_id": of[MARKS[1]],
        "tie_word_embeddings": True,
        "dtype": "float32",
        **ids,
    }
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = KINDS[kind](common, {"vocab_size": len(tokenizer), **TEXT, **ids})
        for parameter in model.parameters():
            if parameter.ndim > 1:  # larger than transformers', so that a wrong image or position shows
                parameter.mul_(3.0)
    model.generation_config = GenerationConfig(do_sample=True, **ids)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # The fewest pixels of the class are 56 x 56, of Qwen3-VL on the hub 256 x 256.
    areas = {"shortest_edge": 32 * 32, "longest_edge": 64 * 64}
    images: Any = Qwen2VLImageProcessorPil(patch_size=8, merge_size=2, size=areas)
    images.save_pretrained(folder)
    return folder
