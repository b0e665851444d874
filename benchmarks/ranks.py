"""Many ranks on one machine, without a model: `python benchmarks/ranks.py [key=value ...] [--run RUN]`.

Each rank is a process that makes whole steps of a run through the real code (dealing prompts, collecting
groups, the filter, owners, the exchange of tokens, advantages, micro-batches, metrics) over a real gloo
group on loopback. What an engine, verifiers and a model would answer has the sizes of the rollout records
in RUN, or of a lognormal distribution. Nothing is computed on tokens; the pool of verifiers is left out.

CPU seconds are those of rank 0 without making up samples. Seconds of an exchange pass while all ranks share
this machine's cores. Memory is the peak of rank 0 above what it had once it had joined the others. Exit code
1 where a rank has more than its share of an update's tokens: an N-th of them, and at most the largest bundle
(a sequence, or several with one prompt) besides.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from statistics import fmean
from typing import Any

from rlvr_cli.core.rank_process import die_with_parent, free_port, library_defaults, rank_environment

if __name__ == "__main__":  # before torch is imported
    os.environ.update(library_defaults(1, 0), CUDA_VISIBLE_DEVICES="", GLOO_SOCKET_IFNAME="lo")
    os.environ["OMP_NUM_THREADS"] = "1"

import torch
import torch.distributed as dist
from counted import KINDS, Traffic
from replay import Sizes, drawn, recorded, replayed

from rlvr_cli import compose
from rlvr_cli.core import distributed
from rlvr_cli.tracking import Timer
from rlvr_cli.training.loop import train_step

RECIPE = """
defaults:
  - algorithm: dapo
  - model: tiny
  - data@data.train: addition
  - verifier@verifiers.replayed: random
  - rollout: vllm
  - trainer: zero0
  - _self_
name: ranks
data: {train: {verifiers: [replayed]}}
batch: {prompts_per_step: 128, group_size: 8, updates_per_step: 4, tokens_per_microbatch: 8192}
rollout: {max_prompt_tokens: 4096, max_tokens: 8192, oversample: 1.5}
trainer: {steps: 1000, precision: fp32}
preflight: {enabled: false}
diagnosis: {enabled: false}
"""
PATIENCE = timedelta(minutes=20)


def resident(name: str) -> int:
    """VmRSS (now) or VmHWM (the most) of this process, in bytes."""
    [line] = [x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(name + ":")]
    return int(line.split()[1]) * 1024


def rank(number: int, count: int, port: int, recipe: Any, sizes: list[Sizes], steps: int) -> dict[str, Any]:
    """What one rank measures in its steps, after a first one that nothing is taken from but the memory."""
    began = time.perf_counter()
    if count > 1:
        os.environ.update(rank_environment(number, count, port))
        dist.init_process_group("gloo", timeout=PATIENCE)
        distributed.open_cpu_group(PATIENCE)
        distributed.barrier()
    joined = time.perf_counter() - began
    before = resident("VmRSS")
    parts: Any = replayed(recipe, sizes)
    engine, trainer, made = parts.engine, parts.trainer, []
    traffic, seconds = Traffic(), watched(parts.timer)
    for _ in range(steps + 1):
        samples, tokens, first = engine.samples, engine.tokens, len(trainer.shares)
        traffic.take()
        train_step(parts)
        made.append(
            traffic.take()
            | {"seconds": dict(seconds), "updates": updates(trainer, first), "dealt": trainer.dealt}
            | {"samples": engine.samples - samples, "sampled": engine.tokens - tokens}
        )
    distributed.barrier()
    return {"joined_s": joined, "memory": resident("VmHWM") - before, "steps": made[1:]}


def watched(timer: Timer) -> dict[str, float]:
    """What the timer's phases took in the newest step, whoever else asks for it."""
    seconds: dict[str, float] = {}
    take = timer.take

    def taking() -> dict[str, float]:
        seconds.clear()
        seconds.update(take())
        return dict(seconds)

    timer.take = taking  # type: ignore[method-assign]
    return seconds


def updates(trainer: Any, first: int) -> list[dict[str, int]]:
    """Of each update since the `first`: what this rank has, and what its micro-batches take."""
    return [
        {
            "cost": sum(b.cost for micro in share for b in micro),
            "tokens": sum(b.tokens for micro in share for b in micro),
            "largest": max((b.cost for micro in share for b in micro), default=0),
            "micro_batches": sum(map(bool, share)),
            "held": held,
        }
        for share, held in zip(trainer.shares[first:], trainer.held[first:], strict=True)
    ]


def measure(count: int, recipe: Any, sizes: list[Sizes], steps: int) -> list[dict[str, Any]]:
    """What each of `count` ranks measures, in processes forked from this one."""
    context, port, parent = multiprocessing.get_context("fork"), free_port(), os.getpid()
    with tempfile.TemporaryDirectory() as folder:

        def work(number: int) -> None:
            die_with_parent(parent)
            found = rank(number, count, port, recipe, sizes, steps)
            (Path(folder) / f"{number}.json").write_text(json.dumps(found))

        processes = [context.Process(target=work, args=(number,)) for number in range(count)]
        for process in processes:
            process.start()
        while any(process.is_alive() for process in processes):
            if any(process.exitcode for process in processes):
                for process in processes:
                    process.kill()  # they would wait for the one that failed
            time.sleep(0.05)
        if any(process.exitcode for process in processes):
            raise SystemExit(f"of {count} ranks one has failed (above)")
        return [json.loads((Path(folder) / f"{number}.json").read_text()) for number in range(count)]


def summary(found: list[dict[str, Any]], together: int) -> dict[str, Any]:
    """Of a step, as means over the steps; of `together` ranks that share rows the first speaks for all."""
    steps = [[one["steps"][n] for one in found] for n in range(len(found[0]["steps"]))]
    cut = [
        [row["updates"][u] for row in step[::together]]
        for step in steps
        for u in range(len(step[0]["updates"]))
    ]

    def spread(value: Callable[[dict[str, Any]], float]) -> dict[str, float]:
        of_steps = [[value(row) for row in step[::together]] for step in steps]
        return {"mean": fmean(map(fmean, of_steps)), "most": fmean(map(max, of_steps))}

    def of_updates(name: str) -> dict[str, float]:
        return spread(lambda row: sum(update[name] for update in row["updates"]))

    return {
        "ranks": len(found),
        "samples": fmean(sum(row["samples"] for row in step) for step in steps),
        "dealt": {name: fmean(step[0]["dealt"][name] for step in steps) for name in ("samples", "responses")},
        "sampled": spread(lambda row: row["sampled"]),
        **{name: of_updates(name) for name in ("tokens", "held", "micro_batches")},
        "of_share": max(map(of_share, cut)),
        "rank_0": first([step[0] for step in steps]),
        "sent": {kind: fmean(row["sent"].get(kind, 0) for step in steps for row in step) for kind in KINDS},
        "memory": found[0]["memory"],
        "joined_s": max(one["joined_s"] for one in found),
    }


def of_share(ranks: Sequence[dict[str, int]]) -> float:
    """What the rank with most of an update has, as a part of what it may have."""
    costs = [one["cost"] for one in ranks]
    most = sum(costs) / len(costs) + (1 - 1 / len(costs)) * max(one["largest"] for one in ranks)
    return max(costs) / most


def first(steps: list[dict[str, Any]]) -> dict[str, Any]:
    """Of rank 0, in the step that was disturbed least: CPU seconds without making up samples, and what its
    collectives took of them, took in all, and sent."""

    def worked(row: dict[str, Any]) -> float:
        return float(row["seconds"]["timing_s/step"] - row["seconds"]["timing_s/rollout"])

    best = min(steps, key=worked)
    by_kind = {name: {kind: best[name].get(kind, 0) for kind in KINDS} for name in ("sent", "cpu", "wall")}
    return by_kind | {"cpu_s": worked(best)}


def show(rows: list[dict[str, Any]]) -> None:
    """Two tables: what ranks have, and what they send and do."""
    print(
        "| ranks | tokens sampled: mean, most | tokens trained: mean, most | of its share | micro-batches |"
    )
    print("|---|---|---|---|---|")
    for row in rows:
        cells = [f"{row[name]['mean']:,.0f}, {row[name]['most']:,.0f}" for name in ("sampled", "tokens")]
        micro = row["micro_batches"]
        print(
            f"| {row['ranks']} | {' | '.join(cells)} | {row['of_share']:.0%} | "
            f"{micro['mean']:.1f}, {micro['most']:.0f} |"
        )
    print(
        "\n| ranks | sent by a rank, MB: scores | tokens | sums | rank 0: CPU s | of it in these | "
        "in an exchange, s | MiB |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        zero = row["rank_0"]
        sent = " | ".join(f"{row['sent'][kind] / 1e6:.2f}" for kind in KINDS)
        cpu = " + ".join(f"{zero['cpu'][kind]:.2f}" for kind in KINDS)
        wall, memory = sum(zero["wall"].values()), row["memory"] / 2**20
        print(f"| {row['ranks']} | {sent} | {zero['cpu_s']:.2f} | {cpu} | {wall:.1f} | {memory:.0f} |")


def sizes_of(options: Namespace, recipe: Any) -> list[Sizes]:
    batch = recipe.batch
    if options.run is None:
        groups, most = 4 * batch.prompts_per_step, recipe.rollout.max_tokens
        return drawn(groups, batch.group_size, median=options.median, most=most)
    found = recorded(options.run, options.longer)
    found = [group for group in found if len(group.samples) >= batch.group_size]
    if not found:
        raise SystemExit(f"{options.run}/rollouts has no group of {batch.group_size} samples")
    return found


def main() -> int:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, metavar="RUN", help="run directory whose rollouts are replayed")
    parser.add_argument("--longer", type=float, default=1.0, help="times the recorded lengths")
    parser.add_argument("--median", type=float, default=500, help="tokens of a response without --run")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--steps", type=int, default=2, help="measured, after one of warm-up")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ranks.yaml"
        file.write_text(RECIPE)
        recipe: Any = compose.load(str(file), options.overrides)
    sizes = sizes_of(options, recipe)
    together = recipe.trainer.sequence_parallel
    rows = []
    for count in options.ranks:
        rows.append(summary(measure(count, recipe, sizes, options.steps), together))
        print(f"{count} ranks: joined in {rows[-1]['joined_s']:.1f} s", file=sys.stderr, flush=True)
    show(rows)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return int(any(row["of_share"] > 1 for row in rows))


if __name__ == "__main__":
    sys.exit(main())
