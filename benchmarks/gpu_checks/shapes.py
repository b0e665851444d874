"""Models with random weights in the shapes of Qwen2.5, and batches for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlvr_cli.core.types import Batch
from rlvr_cli.engine.tiny import tiny_tokenizer
from rlvr_cli.planning.shapes import config_of
from rlvr_cli.schema import Model

SHAPES = {"0.5B": "Qwen/Qwen2.5-0.5B", "1.5B": "Qwen/Qwen2.5-1.5B"}
REHEARSAL = {
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 512,
}
POSITIONS = 4096


def config(name: str, *, tiny: bool, **changes: int) -> Any:
    """The config of a shape, or of its stand-in for a rehearsal, with single entries changed."""
    found = config_of(Model(path=SHAPES[name]))
    found.max_position_embeddings = POSITIONS
    for key, value in ((REHEARSAL if tiny else {}) | changes).items():
        setattr(found, key, value)
    found.layer_types = found.layer_types[:1] * found.num_hidden_layers
    return found


def write_model(folder: Path, config: Any, dtype: torch.dtype) -> Path:
    """A Hugging Face folder with random weights (seed 0) and the built-in tokenizer of characters."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    tokenizer = tiny_tokenizer(POSITIONS)
    for name in ("pad_token_id", "eos_token_id", "bos_token_id"):
        setattr(config, name, getattr(tokenizer, name))
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def batch(lengths: list[int], trained: list[int], vocabulary: int) -> Batch:
    """Random sequences; of each the last `trained` tokens have a loss, all with the same weight."""
    rng = np.random.default_rng(0)
    sequences = [rng.integers(0, vocabulary, size=n).astype(np.int32) for n in lengths]
    masks = [np.arange(n) >= n - t for n, t in zip(lengths, trained, strict=True)]
    count = sum(trained)
    return Batch(sequences=sequences, trained=masks, weights_N=torch.full((count,), 1.0 / count))


def likelihood(
    logprobs_n: Tensor, entropies_n: Tensor, hits_n: Tensor, at: dict[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """An objective: the mean negative log-likelihood."""
    return -(logprobs_n * at["weights"]).sum(), {}
