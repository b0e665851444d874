"""What it costs that samples come from a server: `python benchmarks/round_trip.py`.

A vLLM engine in this process and one in a server answer the same groups in turns, as in a step of
`tiny_dapo`: 32 prompts with 8 samples of 27 tokens, of a model of a million parameters, where the way there
and back weighs as much as it can. Medians of the rounds after the first; CPU seconds are of all processes
together, and other work on the machine changes them little.
"""

from __future__ import annotations

import json
import os
import tempfile
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import psutil
from quiet import quiet

from rlvr_cli.core.rank_process import library_defaults
from rlvr_cli.schema import Model, Placement, Precision, Rollout, Servers, TinyModel


def measure(options: Namespace, folder: Path) -> dict[str, Any]:
    from rlvr_cli.engine.model import load_tokenizer
    from rlvr_cli.engine.tiny import make_tiny
    from rlvr_cli.rollout import make_engine

    make_tiny(folder / "model", TinyModel(), seed=0)
    tokenizer = load_tokenizer(Model(path=str(folder / "model")))
    shared: dict[str, Any] = {"path": str(folder / "model"), "tokenizer": tokenizer, "eos": [], "seed": 0}
    shared |= {"precision": Precision.fp32, "max_model_len": 16 + options.tokens}
    rollout: dict[str, Any] = {"kv_cache_gb": 0.25, "max_num_seqs": 512}
    inside = make_engine(Rollout(**rollout), **shared)
    servers = Servers(threads=1)
    there = make_engine(
        Rollout(**rollout, placement=Placement.servers, servers=servers), **shared, out=folder
    )
    rows: dict[str, list[dict[str, float]]] = {"in_process": [], "servers": []}
    try:
        for number in range(options.rounds + 1):
            found = {}
            for name, engine in (("in_process", inside), ("servers", there)):
                row, found[name] = one(engine, options, number)
                rows[name].append(row)
            assert found["in_process"] == found["servers"], "a server samples other tokens"
    finally:
        there.close()
        inside.close()
    return {
        name: {key: median(row[key] for row in each[1:]) for key in each[0]} for name, each in rows.items()
    }


def one(engine: Any, options: Namespace, number: int) -> tuple[dict[str, float], Any]:
    """Seconds of a step's samples, and the tokens."""
    from rlvr_cli.rollout import Request, Sampling

    requests = [
        Request(key=k, tokens=[4 + k, 5, 6, 7, 8], samples=options.samples, seed=1000 * number + 100 * k)
        for k in range(options.prompts)
    ]
    sampling = Sampling(temperature=1.0, top_p=1.0, max_tokens=options.tokens)
    cpu, began = cpu_seconds(), perf_counter()
    groups = dict(engine.generate(requests, sampling))
    row = {"seconds": perf_counter() - began, "cpu_seconds": cpu_seconds() - cpu}
    return row, {key: [c.tokens.tolist() for c in group] for key, group in groups.items()}


def cpu_seconds() -> float:
    """Of this process and all below it."""
    me = psutil.Process()
    times = [each.cpu_times() for each in (me, *me.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def show(found: dict[str, dict[str, float]]) -> None:
    print("| | seconds | / in process | CPU seconds | / in process |\n|---|---|---|---|---|")
    first = found["in_process"]
    for name, row in found.items():
        cells = [f"{row[key]:.2f} | {row[key] / first[key]:.2f}" for key in first]
        print(f"| {name} | {' | '.join(cells)} |")


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--samples", type=int, default=8, help="of each prompt")
    parser.add_argument("--tokens", type=int, default=27, help="of each sample")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    os.environ.update(library_defaults(1, 0))
    with tempfile.TemporaryDirectory(prefix="round-trip-") as folder, quiet(Path(folder)):
        found = measure(options, Path(folder))
    show(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
