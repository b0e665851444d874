"""Supervised fine-tuning on sequences of 20 to 320 tokens, three ways: `python benchmarks/sft.py`.

Ours lays sequences end to end. Against it stand plain transformers with several sequences in a row of
`--row` tokens, kept apart by the dense mask it makes of their positions, and with padded batches of `--rows`
sequences and their mask. The plain sides have neither DeepSpeed nor metrics. All three take turns in one
process, with the same weights and sequences, a quarter of each a prompt; the losses of the first step are
shown, as they must agree. Ours has a fourth turn with twice the sequences, which should take twice the time.
"""

from __future__ import annotations

import json
import os
import tempfile
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from quiet import quiet

from rlvr_cli.core.rank_process import library_defaults

SHORTEST, LONGEST = 20, 320
DOUBLED = 2.05
"""Most that twice the tokens may cost."""


def run(options: Namespace, folder: Path) -> dict[str, Any]:
    os.environ.update(library_defaults(1, 0))
    import numpy as np
    import torch
    from gpu_checks.shapes import batch, likelihood
    from plain import PlainTrainer, dense, padded

    from rlvr_cli.engine import process_group
    from rlvr_cli.engine.tiny import make_tiny, tiny_tokenizer
    from rlvr_cli.engine.trainer import Trainer
    from rlvr_cli.schema import Model, Precision, TinyModel
    from rlvr_cli.schema import Trainer as Settings

    process_group.initialise()
    shape = TinyModel(hidden_size=options.hidden, layers=options.layers, heads=4, kv_heads=2)
    make_tiny(folder / "model", shape, seed=0)
    path, vocabulary = str(folder / "model"), len(tiny_tokenizer(shape.max_positions))
    lengths = np.random.default_rng(0).integers(SHORTEST, LONGEST + 1, size=options.sequences).tolist()
    once, twice = (batch(lengths * n, [k - k // 4 for k in lengths * n], vocabulary) for n in (1, 2))
    settings = Settings(zero_stage=0, precision=Precision.fp32, lr=options.lr)
    trainer = Trainer(Model(path=path), settings, tokens_per_microbatch=options.tokens, max_grad_norm=1.0)
    plain = {name: PlainTrainer(path, options.lr, "sdpa") for name in ("dense mask", "padding")}
    count = sum(once.lengths_B)
    sides: dict[str, Callable[[], float]] = {
        "ours": lambda: trainer.update(once, likelihood, lr=options.lr)["loss"],
        "dense mask": lambda: plain["dense mask"].step(dense(once, options.row), count),
        "padding": lambda: plain["padding"].step(padded(once, options.rows), count),
        "ours, twice the tokens": lambda: trainer.update(twice, likelihood, lr=options.lr)["loss"],
    }
    losses = {name: side() for name, side in sides.items()}  # warms up, too
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(options.steps):
        for name, side in sides.items():
            began = perf_counter()
            side()
            seconds[name].append(perf_counter() - began)
    tokens = {name: sum(lengths) * (2 if "twice" in name else 1) for name in sides}
    medians = {name: median(values) for name, values in seconds.items()}
    ratios = {name: medians[name] / medians["ours"] for name in sides if name != "ours"}
    return {
        "threads": torch.get_num_threads(),
        "weights": trainer.parameters,
        "losses": losses,
        "seconds": medians,
        "tokens_per_second": {name: tokens[name] / medians[name] for name in sides},
        "ratios": ratios,
    }


def show(result: dict[str, Any]) -> None:
    print(f"{result['weights'] / 1e6:.1f} million weights, {result['threads']} threads")
    print("| | s | tokens/s | times ours |\n|---|---|---|---|")
    for name, seconds in result["seconds"].items():
        ratio = result["ratios"].get(name, 1.0)
        print(f"| {name} | {seconds:.3f} | {result['tokens_per_second'][name]:,.0f} | {ratio:.2f} |")
    said = ", ".join(f"{name} {result['losses'][name]:.4f}" for name in ("ours", "dense mask", "padding"))
    print(f"\nloss of the first step: {said}")
    doubled = result["ratios"]["ours, twice the tokens"]
    print(f"twice the tokens cost {doubled:.2f} x (at most {DOUBLED:g})")


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=64)
    parser.add_argument("--steps", type=int, default=5, help="steps measured of each side")
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--row", type=int, default=2048, help="tokens of a row with a dense mask")
    parser.add_argument("--rows", type=int, default=16, help="sequences of a padded batch")
    parser.add_argument("--tokens", type=int, default=8192, help="most tokens of a micro-batch of ours")
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, quiet(Path(name)):
        result = run(options, Path(name))
    show(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
