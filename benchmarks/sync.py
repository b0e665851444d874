"""What a weight sync costs, against copying the same bytes once: `python benchmarks/sync.py`.

For each model a vLLM engine, in this process and then in a server, takes the weights of a transformers model,
as after every step: waking, loading, fingerprints of every number, the probe. To the server they go in turns
through memory, by broadcast, and by broadcast without the copy for a server that is replaced. Medians of the
syncs after the first, which is shown beside them; the copy is measured between them. Random weights; on a GPU
in bf16, else fp32.
"""

from __future__ import annotations

import json
import os
import tempfile
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from quiet import quiet

from rlvr_cli.core.rank_process import library_defaults
from rlvr_cli.launch import prerequisites
from rlvr_cli.schema import Model, Placement, Precision, Rollout, Servers, TinyModel, Transfer

SHAPES = {
    "tiny": TinyModel(),
    "30M": TinyModel(hidden_size=512, layers=8, heads=8, kv_heads=4),
}
PARTS = ("wake", "load", "fingerprints", "probe")
PROBE = list(range(4, 68))
MEMORY = "server, memory"
WAYS = {MEMORY: (False, 10), "server, broadcast": (True, 10), "server, broadcast, no copy": (True, 0)}
"""To a server: whether weights are broadcast, and deaths the run gets over, for which a copy is kept."""


class Stopwatch:
    """Seconds within functions, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            synchronise()
            began = perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                synchronise()
                self.seconds[name] = self.seconds.get(name, 0.0) + perf_counter() - began

        return timed


def synchronise() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measure(shape: TinyModel, syncs: int, folder: Path, placement: Placement) -> dict[str, dict[str, Any]]:
    """For each way to the engine medians in seconds, and the bytes of the model there."""
    import torch
    from transformers import AutoModelForCausalLM

    from rlvr_cli.engine.model import load_tokenizer
    from rlvr_cli.engine.tiny import make_tiny
    from rlvr_cli.rollout import make_engine
    from rlvr_cli.rollout.audit import Audit

    device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = Precision.bf16 if device == "cuda" else Precision.fp32
    make_tiny(folder, shape, seed=0)
    dtype = torch.bfloat16 if precision is Precision.bf16 else torch.float32
    net: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(device)
    tokenizer = load_tokenizer(Model(path=str(folder)))
    weights = {name: parameter.detach() for name, parameter in net.named_parameters()}
    elsewhere = [torch.empty_like(weight) for weight in weights.values()]
    inner, outer = Stopwatch(), Stopwatch()
    note, settle = Audit._note, Audit.settle
    Audit._note = inner.around("fingerprints", note)  # type: ignore[method-assign]
    Audit.settle = inner.around("fingerprints", settle)  # type: ignore[method-assign]
    options = {"tokenizer": tokenizer, "eos": [1], "seed": 0, "precision": precision, "max_model_len": 256}
    rollout = Rollout(kv_cache_gb=0.25, gpu_memory_utilization=0.3, placement=placement)
    more: dict[str, Any] = {}
    if placement is Placement.servers:
        rollout, more = replace(rollout, servers=Servers(transfer=Transfer.broadcast)), {"out": folder}
    engine: Any = make_engine(rollout, path=str(folder), **options, **more)
    ways = WAYS if placement is Placement.servers else {placement.value: (False, 0)}
    rows: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    backend = engine._fleet.backend if placement is Placement.servers else None

    def copy() -> None:
        for target, source in zip(elsewhere, weights.values(), strict=True):
            target.copy_(source)

    def take(way: str) -> None:
        if placement is Placement.servers:
            broadcasts, restarts = ways[way]
            engine._fleet.backend = backend if broadcasts else None
            engine._fleet.settings = replace(engine._fleet.settings, restarts=restarts)

    try:
        for turn in range((syncs + 1) * len(ways)):
            take(way := list(ways)[turn % len(ways)])
            inner.seconds, outer.seconds = {}, {}
            engine.sleep()
            outer.around("load", engine.load)(iter(weights.items()))
            outer.around("wake", engine.wake)()
            outer.around("probe", engine.probe)(PROBE)
            outer.around("copy", copy)()
            row = {"fingerprints": 0.0} | outer.seconds | inner.seconds  # a server takes its own
            rows[way].append(row | {"load": row["load"] - row["fingerprints"]})
    finally:
        Audit._note, Audit.settle = note, settle  # type: ignore[method-assign]
        engine.close()
    size = sum(weight.nbytes for weight in weights.values())
    return {way: {"device": device, "bytes": size} | summary(found) for way, found in rows.items()}


def summary(rows: list[dict[str, float]]) -> dict[str, float]:
    """Of the syncs of a way."""
    found = {name: median(row[name] for row in rows[1:]) for name in (*PARTS, "copy")}
    whole = sum(found[name] for name in PARTS)
    return {
        "first": sum(rows[0][name] for name in PARTS),
        "sync": whole,
        **found,
        "copies": whole / found["copy"],
        "fingerprint_copies": found["fingerprints"] / found["copy"],
        "fingerprint_share": found["fingerprints"] / whole,
    }


def show(found: dict[str, dict[str, dict[str, Any]]]) -> None:
    headings = ("first", "sync", *PARTS, "copy")
    ratios = ("sync / copy", "fingerprints / copy", "fingerprints / sync", "/ in process", "/ memory")
    print(f"\n| ms | engine | MiB | {' | '.join(headings + ratios)} |")
    print("|---|---|" + "---|" * (len(headings) + len(ratios) + 1))
    for name, placements in found.items():
        for placement, row in placements.items():
            cells = [f"{row['bytes'] / 2**20:.1f}", *(f"{row[key] * 1000:.1f}" for key in headings)]
            cells += [f"{row['copies']:.1f}", f"{row['fingerprint_copies']:.1f}"]
            cells.append(f"{row['fingerprint_share']:.1%}")
            for other in (Placement.in_process.value, MEMORY):
                first = placements.get(other)
                cells.append("-" if first is None else f"{row['sync'] / first['sync']:.2f}")
            print(f"| {name} | {placement} | {' | '.join(cells)} |")


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--syncs", type=int, default=15, help="of which the medians are taken")
    names = [placement.value for placement in Placement]
    parser.add_argument("--placements", nargs="+", choices=names, default=names)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    os.environ.update(library_defaults(1, prerequisites.count_gpus()))
    with tempfile.TemporaryDirectory(prefix="sync-") as folder, quiet(Path(folder)):
        found = {
            name: {
                way: row
                for placement in map(Placement, options.placements)
                for way, row in measure(SHAPES[name], options.syncs, Path(folder) / name, placement).items()
            }
            for name in options.models
        }
    show(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
