"""Seconds of one fine-tuning update, by the rlvr that PYTHONPATH names: `python benchmarks/sft_update.py`.

64 sequences of 20 to 320 tokens, a quarter of each a prompt, and a model of 3 million weights. To compare
checkouts: it uses nothing that earlier ones lack, and leaves rows of `--row` tokens to those that have rows.
"""

from __future__ import annotations

import inspect
import json
import os
import tempfile
from argparse import ArgumentParser
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

os.environ["DS_ACCELERATOR"] = "cpu"


def measure(row: int, tokens: int, steps: int, folder: Path) -> dict[str, Any]:
    import numpy as np
    import torch

    from rlvr_cli.core.types import Batch
    from rlvr_cli.engine import process_group
    from rlvr_cli.engine.tiny import make_tiny, tiny_tokenizer
    from rlvr_cli.engine.trainer import Trainer
    from rlvr_cli.schema import Model, Precision, TinyModel
    from rlvr_cli.schema import Trainer as Settings

    def likelihood(logprobs_n: Any, entropies_n: Any, hits_n: Any, at: dict[str, Any]) -> Any:
        return -(logprobs_n * at["weights"]).sum(), {}

    process_group.initialise()
    shape = TinyModel(hidden_size=256, layers=4, heads=4, kv_heads=2, max_positions=max(4096, row))
    make_tiny(folder, shape, seed=0)
    rng, vocabulary = np.random.default_rng(0), len(tiny_tokenizer(shape.max_positions))
    sequences = [rng.integers(0, vocabulary, size=n).astype(np.int32) for n in rng.integers(20, 321, size=64)]
    trained = [np.arange(len(s)) >= len(s) // 4 for s in sequences]
    count = sum(int(mask.sum()) for mask in trained)
    batch = Batch(sequences=sequences, trained=trained, weights_N=torch.full((count,), 1.0 / count))
    rows = {"row_capacity": row} if "row_capacity" in inspect.signature(Trainer.__init__).parameters else {}
    settings = Settings(zero_stage=0, precision=Precision.fp32, lr=1e-4)
    trainer = Trainer(
        Model(path=str(folder)), settings, tokens_per_microbatch=tokens, max_grad_norm=1.0, **rows
    )
    loss, seconds = trainer.update(batch, likelihood, lr=1e-4)["loss"], []
    for _ in range(steps):
        began = perf_counter()
        trainer.update(batch, likelihood, lr=1e-4)
        seconds.append(perf_counter() - began)
    return {
        "rows": row if rows else None,
        "tokens": sum(map(len, sequences)),
        "loss": loss,
        "s": median(seconds),
    }


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--row", type=int, default=8192, help="most tokens of a row, where there are rows")
    parser.add_argument("--tokens", type=int, default=8192, help="most tokens of a micro-batch")
    parser.add_argument("--steps", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(measure(options.row, options.tokens, options.steps, Path(name))))


if __name__ == "__main__":
    main()
