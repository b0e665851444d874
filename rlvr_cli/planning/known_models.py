"""Entries of public config.json files, so that a plan of a well-known model needs no network.

Only what decides sizes is here. `tests/planning/` compares the parameter counts that follow with
the published ones.
"""

from __future__ import annotations

from typing import Any


def _qwen2(hidden: int, inner: int, layers: int, heads: int, kv: int, **more: Any) -> dict[str, Any]:
    return {
        "model_type": "qwen2",
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "vocab_size": 151936,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": False,
    } | more


def _qwen3(*sizes: int, **more: Any) -> dict[str, Any]:
    return _qwen2(*sizes, max_position_embeddings=40960, head_dim=128) | {"model_type": "qwen3"} | more


def _llama(*sizes: int, **more: Any) -> dict[str, Any]:
    return _qwen2(*sizes, vocab_size=128256, max_position_embeddings=131072) | {"model_type": "llama"} | more


LONG = {"max_position_embeddings": 131072}
SMALL_QWEN = _qwen2(896, 4864, 24, 14, 2, tie_word_embeddings=True)
MIDDLE_QWEN = _qwen2(1536, 8960, 28, 12, 2, tie_word_embeddings=True)
LARGE_QWEN = _qwen2(3584, 18944, 28, 28, 4, vocab_size=152064)

CONFIGS: dict[str, dict[str, Any]] = {
    "Qwen/Qwen2.5-0.5B": SMALL_QWEN,
    "Qwen/Qwen2.5-0.5B-Instruct": SMALL_QWEN,
    "Qwen/Qwen2.5-1.5B": MIDDLE_QWEN | LONG,
    "Qwen/Qwen2.5-1.5B-Instruct": MIDDLE_QWEN,
    "Qwen/Qwen2.5-Math-1.5B": MIDDLE_QWEN | {"max_position_embeddings": 4096},
    "Qwen/Qwen2.5-3B": _qwen2(2048, 11008, 36, 16, 2, tie_word_embeddings=True),
    "Qwen/Qwen2.5-3B-Instruct": _qwen2(2048, 11008, 36, 16, 2, tie_word_embeddings=True),
    "Qwen/Qwen2.5-7B": LARGE_QWEN | LONG,
    "Qwen/Qwen2.5-7B-Instruct": LARGE_QWEN,
    "Qwen/Qwen2.5-Math-7B": LARGE_QWEN | {"max_position_embeddings": 4096},
    "Qwen/Qwen2.5-14B": _qwen2(5120, 13824, 48, 40, 8, vocab_size=152064) | LONG,
    "Qwen/Qwen2.5-32B": _qwen2(5120, 27648, 64, 40, 8, vocab_size=152064) | LONG,
    "Qwen/Qwen2.5-32B-Instruct": _qwen2(5120, 27648, 64, 40, 8, vocab_size=152064),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": MIDDLE_QWEN | LONG | {"tie_word_embeddings": False},
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": LARGE_QWEN | LONG,
    "Qwen/Qwen3-0.6B": _qwen3(1024, 3072, 28, 16, 8, tie_word_embeddings=True),
    "Qwen/Qwen3-1.7B": _qwen3(2048, 6144, 28, 16, 8, tie_word_embeddings=True),
    "Qwen/Qwen3-4B": _qwen3(2560, 9728, 36, 32, 8, tie_word_embeddings=True),
    "Qwen/Qwen3-8B": _qwen3(4096, 12288, 36, 32, 8),
    "meta-llama/Llama-3.2-1B": _llama(2048, 8192, 16, 32, 8, tie_word_embeddings=True),
    "meta-llama/Llama-3.2-3B": _llama(3072, 8192, 28, 24, 8, tie_word_embeddings=True),
    "meta-llama/Llama-3.1-8B": _llama(4096, 14336, 32, 32, 8),
}
