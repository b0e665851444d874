"""What an update costs when something grows: `python benchmarks/scaling.py`.

Tokens x2: twice the sequences. Group x2: twice the samples of each prompt. Vocabulary x10. For these one
process takes turns between the smaller and the larger update; the ratio is of the medians. Ranks x2: the same
update by one rank and by two with one thread each, one, two, one, two. Memory is the peak of a process of its
own, beyond weights, gradient and Adam's two moments (ZeRO-0, fp32, random weights). Beside each ratio stand
what it should be and the most it may be. Exit code 1 where one is above that.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from argparse import SUPPRESS, ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from rlvr_cli.core.rank_process import free_port, library_defaults, rank_environment

PROMPT = 200
"""Tokens of the prompt that a group shares."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """One update: P prompts x G responses of 20 to 320 tokens, and the model's vocabulary."""

    prompts: int = 8
    group: int = 4
    vocabulary: int = 15_000


@dataclass(frozen=True, kw_only=True)
class Growth:
    """What grows, and what that should do to seconds and to bytes."""

    larger: Size
    seconds: tuple[float, float]
    """(expected ratio, largest allowed)"""
    memory: tuple[float, float]


def growths(small: Size) -> dict[str, Growth]:
    """Twice the tokens are twice the micro-batches, one after the other: memory should not grow."""
    more_tokens = Size(prompts=2 * small.prompts, group=small.group, vocabulary=small.vocabulary)
    more_samples = Size(prompts=small.prompts, group=2 * small.group, vocabulary=small.vocabulary)
    more_words = Size(prompts=small.prompts, group=small.group, vocabulary=10 * small.vocabulary)
    return {
        "tokens x2": Growth(larger=more_tokens, seconds=(2.0, 2.05), memory=(1.0, 1.15)),
        "group x2": Growth(larger=more_samples, seconds=(2.0, 2.05), memory=(1.0, 1.15)),
        "vocabulary x10": Growth(larger=more_words, seconds=(10.0, 10.0), memory=(1.0, 1.25)),
    }


RANKS = (0.5, 0.65)
"""Two ranks against one: (expected ratio of the seconds, largest allowed)."""


def updater(size: Size, folder: Path, options: Namespace) -> tuple[Callable[[], Any], int]:
    """An update of this size with a trainer of its own, and the number of its weights."""
    import numpy as np
    import torch
    from gpu_checks.shapes import config, likelihood, write_model

    from rlvr_cli.core import distributed
    from rlvr_cli.core.types import Batch
    from rlvr_cli.engine.trainer import Trainer
    from rlvr_cli.schema import Model, Precision
    from rlvr_cli.schema import Trainer as Settings

    shape = config(
        "0.5B",
        tiny=True,
        hidden_size=options.hidden,
        intermediate_size=3 * options.hidden,
        num_hidden_layers=options.layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=size.vocabulary,
    )
    path = folder / f"model_{size.vocabulary}"
    if distributed.rank() == 0:
        write_model(path, shape, torch.float32)
    distributed.barrier()
    rng = np.random.default_rng(0)
    sequences, trained = [], []
    for _ in range(size.prompts):
        prompt = rng.integers(0, size.vocabulary, size=PROMPT)
        # Lengths in turn, so that twice the samples are twice the tokens.
        for length in np.linspace(20, 320, options.group).astype(int).tolist() * (
            size.group // options.group
        ):
            response = rng.integers(0, size.vocabulary, size=length)
            sequences.append(np.concatenate([prompt, response]).astype(np.int32))
            trained.append(np.arange(PROMPT + length) >= PROMPT)
    count = sum(int(mask.sum()) for mask in trained)
    batch = Batch(sequences=sequences, trained=trained, weights_N=torch.full((count,), 1.0 / count))
    trainer = Trainer(
        Model(path=str(path)),
        Settings(zero_stage=0, precision=Precision.fp32),
        tokens_per_microbatch=options.tokens,
        max_grad_norm=1.0,
    )
    return lambda: trainer.update(batch, likelihood, lr=0.0), trainer.parameters


def seconds_of(call: Callable[[], Any]) -> float:
    began = perf_counter()
    call()
    return perf_counter() - began


def take_turns(sizes: list[Size], folder: Path, options: Namespace) -> list[float]:
    """Median seconds of an update of each size."""
    calls = [updater(size, folder, options)[0] for size in sizes]
    for call in calls:
        call()
    rounds = [[seconds_of(call) for call in calls] for _ in range(options.rounds)]
    return [median(column) for column in zip(*rounds, strict=True)]


def peak_memory(size: Size, folder: Path, options: Namespace) -> float:
    """Bytes of an update beyond weights, gradient and Adam's moments."""
    before = resident("VmRSS")
    call, weights = updater(size, folder, options)
    call(), call()
    return resident("VmHWM") - before - 16.0 * weights


def resident(name: str) -> int:
    """VmRSS (now) or VmHWM (the most since the program started) of this process, in bytes."""
    [line] = [x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(name + ":")]
    return int(line.split()[1]) * 1024


def point(options: Namespace) -> None:
    """What a process of its own measures; written to `--into` by rank 0."""
    from rlvr_cli.core import distributed
    from rlvr_cli.engine import process_group

    process_group.initialise()
    kind, *sizes = json.loads(options.point)
    found = [Size(**size) for size in sizes]
    folder = options.into.parent
    if kind == "memory":
        measured = [peak_memory(found[0], folder, options)]
    else:
        measured = take_turns(found, folder, options)
    if distributed.rank() == 0:
        options.into.write_text(json.dumps(measured))


def measure(kind: str, sizes: list[Size], options: Namespace, *, ranks: int = 1) -> list[float]:
    """`point` in processes of their own."""
    with tempfile.TemporaryDirectory() as name:
        into, port = Path(name) / "found.json", free_port()
        command = [sys.executable, __file__, "--into", str(into)]
        command += ["--point", json.dumps([kind, *(vars(size) for size in sizes)])]
        for key in ("hidden", "layers", "tokens", "rounds", "group"):
            command += [f"--{key}", str(getattr(options, key))]
        threads = {"OMP_NUM_THREADS": "1"} if kind == "ranks" else {}
        environments = [
            os.environ | library_defaults(ranks, 0) | threads | rank_environment(number, ranks, port)
            for number in range(ranks)
        ]
        log = Path(name) / "log"
        with log.open("w") as output:
            processes = [
                subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
                for environment in environments
            ]
            codes = wait(processes)
        if any(codes):
            sys.exit(f"{' '.join(command)}: exit codes {codes}\n{log.read_text()[-3000:]}")
        return list(map(float, json.loads(into.read_text())))


def wait(processes: list[subprocess.Popen[bytes]]) -> list[int | None]:
    """Exit codes; where one fails the others are ended, which would wait for it."""
    while any(process.poll() is None for process in processes):
        if any(process.poll() for process in processes):
            for process in processes:
                process.kill()
        time.sleep(0.05)
    return [process.returncode for process in processes]


def run(options: Namespace) -> list[dict[str, Any]]:
    small = Size(prompts=options.prompts, group=options.group, vocabulary=options.vocabulary)
    rows: list[dict[str, Any]] = []

    def add(what: str, unit: str, smaller: float, larger: float, limits: tuple[float, float]) -> None:
        ratio = larger / smaller
        row = {"what": what, "unit": unit, "smaller": smaller, "larger": larger, "ratio": ratio}
        rows.append(row | {"expected": limits[0], "limit": limits[1], "ok": ratio <= limits[1]})
        print(f"{what}: {unit} {ratio:.2f}", file=sys.stderr, flush=True)

    base = 0.0 if options.no_memory else measure("memory", [small], options)[0]
    for what, growth in growths(small).items():
        if what.split()[0] not in options.cases:
            continue
        smaller, larger = measure("seconds", [small, growth.larger], options)
        add(what, "s", smaller, larger, growth.seconds)
        if not options.no_memory:
            add(what, "bytes", base, measure("memory", [growth.larger], options)[0], growth.memory)
    if "ranks" in options.cases:
        found = [measure("ranks", [small], options, ranks=n) for n in (1, 2, 1, 2)]
        add("ranks x2", "s", median([*found[0], *found[2]]), median([*found[1], *found[3]]), RANKS)
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    print("| | smaller | larger | ratio | expected | at most |\n|---|---|---|---|---|---|")
    for row in rows:
        gib = row["unit"] == "bytes"
        cells = [f"{row[k] / 2**30:.2f} GiB" if gib else f"{row[k]:.2f} s" for k in ("smaller", "larger")]
        name = f"{row['what']}: {'memory' if gib else 'time'}"
        over = "" if row["ok"] else " (over)"
        cells += [f"{row['ratio']:.2f}{over}", f"{row['expected']:g}", f"{row['limit']:g}"]
        print(f"| {name} | {' | '.join(cells)} |")


def main() -> int:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    cases = ("tokens", "group", "vocabulary", "ranks")
    parser.add_argument("--cases", nargs="+", choices=cases, default=cases, help="what grows (all)")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--group", type=int, default=4)
    parser.add_argument("--vocabulary", type=int, default=15_000)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=4096, help="most tokens of a micro-batch")
    parser.add_argument("--rounds", type=int, default=5, help="updates measured of each size")
    parser.add_argument("--no-memory", action="store_true", help="time alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--point", help=SUPPRESS)
    parser.add_argument("--into", type=Path, help=SUPPRESS)
    options = parser.parse_args()
    if options.point:
        point(options)
        return 0
    rows = run(options)
    show(rows)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return int(not all(row["ok"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
