"""LoRA in the rollout engine, merged into the weights or as adapters: `python benchmarks/lora.py`.

For each model two vLLM engines take turns, in this process or as servers (`--placements`): a sync of each,
with fingerprints and probe, and a batch of samples from each. Medians; the first round, in which code is
still being prepared, is left out. A step is one sync and its samples, so the break-even is told in tokens a
step: below it adapters are faster.
Random weights; on a GPU in bf16, else fp32.
"""

from __future__ import annotations

import json
import os
import tempfile
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from modes import PLACEMENTS
from quiet import quiet

from rlvr_cli.core.rank_process import free_port, library_defaults, rank_environment
from rlvr_cli.launch import prerequisites
from rlvr_cli.schema import Lora, Model, Placement, Precision, Rollout, RolloutLora, TinyModel
from rlvr_cli.schema import Trainer as Settings

SHAPES = {
    "tiny": TinyModel(),
    "30M": TinyModel(hidden_size=512, layers=8, heads=8, kv_heads=4),
}
WAYS = ("merged", "adapter")
PROBE = list(range(4, 68))


def seconds(function: Callable[[], Any]) -> float:
    import torch

    began = perf_counter()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return perf_counter() - began


def engines(path: str, lora: Lora, precision: Precision, placement: Placement) -> dict[str, Any]:
    """By the way that adapters come in."""
    from rlvr_cli.engine.model import load_tokenizer
    from rlvr_cli.sampling.start_model import start_engine

    model, found = Model(path=path, lora=lora), {}
    rollout = Rollout(kv_cache_gb=0.25, gpu_memory_utilization=0.3, sleep=False, placement=placement)
    for way in WAYS:
        settings, out = replace(rollout, lora=RolloutLora[way]), Path(path) / way
        found[way] = start_engine(settings, model, load_tokenizer(model), 0, precision, 256, out)
    return found


def measure(
    shape: TinyModel, options: Any, folder: Path, placement: Placement, opened: list[Any]
) -> dict[str, Any]:
    """Medians in seconds and tokens a second of both ways, and how far they are from the trainer."""
    import numpy as np
    import torch

    from rlvr_cli.engine.tiny import make_tiny
    from rlvr_cli.engine.trainer import Trainer
    from rlvr_cli.rollout import Request, Sampling

    precision = Precision.bf16 if torch.cuda.is_available() else Precision.fp32
    lora = Lora(rank=options.rank, alpha=2.0 * options.rank)
    make_tiny(folder, shape, seed=0)
    settings = Settings(precision=precision, zero_stage=0)
    trainer = Trainer(
        Model(path=str(folder), lora=lora), settings, tokens_per_microbatch=4096, max_grad_norm=1.0
    )
    found = engines(str(folder), lora, precision, placement)
    opened += found.values()
    sampling = Sampling(temperature=1.0, top_p=1.0, max_tokens=options.tokens)
    requests = [
        Request(key=n, tokens=[4 + n % 90, 5, 6, 7], samples=1, seed=n) for n in range(options.sequences)
    ]
    sequence = np.asarray(PROBE, np.int32)
    rows: list[dict[str, dict[str, float]]] = []
    for _ in range(options.rounds + 1):
        step(trainer)
        expected = trainer.score([sequence], [np.arange(len(sequence)) > 0], temperature=1.0)[0].numpy()
        rows.append({})
        for way, engine in found.items():
            row = rows[-1][way] = {"sync": seconds(lambda e=engine, w=way: sync(e, weights_of(trainer, w)))}
            row["gap"] = float(np.abs(np.array(engine.probe(PROBE)) - expected).mean())
            tokens: list[int] = []
            spent = seconds(lambda e=engine, t=tokens: t.extend(sampled(e, requests, sampling)))
            row["speed"] = sum(tokens) / spent
    return judged(rows[1:], trainer)


def step(trainer: Any) -> None:
    """New adapters, as after an update."""
    import torch

    with torch.no_grad():
        for name, parameter in trainer.hf.named_parameters():
            if ".lora_" in name:
                parameter.copy_(0.02 * torch.randn_like(parameter))


def weights_of(trainer: Any, way: str) -> Iterator[Any]:
    return trainer.adapters() if way == "adapter" else trainer.weights()


def sync(engine: Any, weights: Iterator[Any]) -> None:
    engine.load(weights)
    engine.probe(PROBE)


def sampled(engine: Any, requests: list[Any], sampling: Any) -> Iterator[int]:
    """Lengths."""
    for _, samples in engine.generate(requests, sampling):
        yield from (len(sample.tokens) for sample in samples)


def judged(rows: list[dict[str, dict[str, float]]], trainer: Any) -> dict[str, Any]:
    """Medians of both ways, their ratios, and the tokens a step from which on merging is faster."""
    found: dict[str, Any] = {
        way: {key: median(row[way][key] for row in rows) for key in ("sync", "speed", "gap")} for way in WAYS
    }
    merged, adapter = (found[way] for way in WAYS)
    slower = 1 / adapter["speed"] - 1 / merged["speed"]
    return found | {
        "parameters": trainer.parameters,
        "sync_ratio": merged["sync"] / adapter["sync"],
        "speed_ratio": merged["speed"] / adapter["speed"],
        "break_even_tokens": (merged["sync"] - adapter["sync"]) / slower if slower > 0 else None,
    }


def show(found: dict[str, dict[str, Any]]) -> None:
    print(
        "\n| | sync, ms: merged | adapter | ratio | tokens/s: merged | adapter | ratio | break-even, tokens |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, row in found.items():
        merged, adapter = row["merged"], row["adapter"]
        even = "never" if row["break_even_tokens"] is None else f"{row['break_even_tokens']:,.0f}"
        syncs = f"{1000 * merged['sync']:.1f} | {1000 * adapter['sync']:.1f} | {row['sync_ratio']:.2f}"
        speeds = f"{merged['speed']:,.0f} | {adapter['speed']:,.0f} | {row['speed_ratio']:.2f}"
        print(f"| {name} | {syncs} | {speeds} | {even} |")


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--placements", nargs="+", choices=PLACEMENTS, default=["in_process"])
    parser.add_argument("--rank", type=int, default=8, help="of the adapters")
    parser.add_argument("--rounds", type=int, default=9, help="of which the medians are taken")
    parser.add_argument("--sequences", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=64, help="longest of a sequence")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    os.environ.update(library_defaults(1, prerequisites.count_gpus()) | rank_environment(0, 1, free_port()))
    with tempfile.TemporaryDirectory(prefix="lora-") as folder, quiet(Path(folder)):
        from rlvr_cli.engine import process_group

        process_group.initialise()
        opened: list[Any] = []
        found = {
            f"{name}, {placement}": measure(
                SHAPES[name], options, Path(folder) / f"{name}-{placement}", Placement[placement], opened
            )
            for name in options.models
            for placement in options.placements
        }
        for engine in opened:  # at the end: closing one takes the process group with it, which trainers need
            engine.close()
    show(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
