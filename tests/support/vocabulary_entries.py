"""Run as ranks by test_vocabulary.py: one update with a vocabulary of 152,064, results as JSON."""

import json
import os
import sys
from pathlib import Path

os.environ["DS_ACCELERATOR"] = "cpu"

import numpy as np
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from rlvr_cli.core import distributed
from rlvr_cli.core.types import Batch
from rlvr_cli.engine import logprobs, process_group
from rlvr_cli.engine.trainer import Trainer
from rlvr_cli.schema import Lora, Model, Precision
from rlvr_cli.schema import Trainer as Settings

VOCABULARY = 152_064
ROWS = 55
"""Of logits in a chunk: a quarter of a CPU's, so that few tokens make more than one."""
TRAINED = (60, 40)
"""Tokens of each sequence: two chunks, and one."""
CASES = {
    "untied": {},
    "tied": {"tied": True, "gradient_checkpointing": True},
    "lora": {"lora": Lora(rank=4, targets="q_proj,lm_head")},
    "bf16": {"precision": Precision.bf16, "tied": True},
}


def batch() -> Batch:
    rng = np.random.default_rng(5)
    sequences = [rng.integers(0, VOCABULARY, size=10 + n).astype(np.int32) for n in TRAINED]
    trained = [np.arange(len(s)) >= 10 for s in sequences]
    count = sum(int(t.sum()) for t in trained)
    return Batch(
        sequences=sequences,
        trained=trained,
        weights_N=torch.full((count,), 1 / count),
        advantages_N=torch.from_numpy(rng.normal(size=count)).float(),
    )


def objective(logprobs_n, entropies_n, hits_n, at):
    return -(logprobs_n * at["advantages"] * at["weights"]).sum(), {"logprob": logprobs_n}


def start(folder: Path, tied: bool) -> str:
    """Written by rank 0; random numbers large enough for attention to matter."""
    path = folder / f"model_{tied}"
    if distributed.rank() == 0 and not path.exists():
        torch.manual_seed(0)
        config = Qwen2Config(
            vocab_size=VOCABULARY,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=1024,
            tie_word_embeddings=tied,
            initializer_range=0.2,
        )
        Qwen2ForCausalLM(config).save_pretrained(path)
    distributed.barrier()
    return str(path)


def main(model: str, folder: str, stage: str) -> None:
    process_group.initialise()
    logprobs.chunk_elements = lambda memory: ROWS * VOCABULARY
    results = {}
    for name, case in CASES.items():
        more = dict(case)
        path = start(Path(model), more.pop("tied", False))
        settings = Settings(zero_stage=int(stage), precision=more.pop("precision", Precision.fp32))
        trainer = Trainer(Model(path=path, **more), settings, tokens_per_microbatch=120, max_grad_norm=0.0)
        one = batch()
        logprobs_N, entropies_N, _ = trainer.score(one.sequences, one.trained)
        totals = trainer.update(one, objective, lr=1e-3)
        if name == "lora":  # B starts at 0, and A's gradient with it
            totals = trainer.update(one, objective, lr=1e-3)
        after_N, _, _ = trainer.score(one.sequences, one.trained)
        results[name] = {
            "logprob": float(logprobs_N.mean()),
            "entropy": float(entropies_N.mean()),
            "after": float(after_N.mean()),
            "loss": totals["loss"],
            "grad_norm": totals["grad_norm"],
        }
    if distributed.rank() == 0:
        (Path(folder) / "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
