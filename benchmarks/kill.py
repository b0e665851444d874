"""A run that is killed again and again: `python benchmarks/kill.py --kills 100 [key=value ...]`.

A tiny DAPO run with ZeRO-2 on 2 ranks and vLLM is done twice: undisturbed, and with all its processes, the
launcher included, killed by SIGKILL at random moments and started again each time. Both must leave the same
weights to the bit, the same metrics line by line (times and speed apart) and the same rollouts. Where a
thread samples beside the trainer (`rollout.overlap=beside`) no two runs are equal: both must account for
every prompt, sample, step and token instead (accounts.py). Prints where the kills fell; exit code 1 where
something is not as it must be.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import started
from accounts import account, accounted, other_prompts

from rlvr_cli.core.heartbeat import START, Heart

RECIPE = """
defaults:
  - algorithm: dapo
  - model: tiny
  - data@data.train: addition
  - verifier@verifiers.chance: random
  - rollout: vllm
  - trainer: zero2
  - _self_
name: killed
model: {tiny: {hidden_size: 64, layers: 2, heads: 2, kv_heads: 1, max_positions: 64}}
data: {train: {limit: 64, verifiers: [chance]}}
batch: {prompts_per_step: 4, group_size: 4, updates_per_step: 2, tokens_per_microbatch: 200}
rollout: {max_prompt_tokens: 16, max_tokens: 12, kv_cache_gb: 0.25}
trainer: {lr: 1e-3, precision: fp32, ranks: 2}
checkpoint: {every: 1}
tracker: {wandb: disabled}
"""
BESIDE = "rollout.overlap=beside"
NOTED = "tracker.tokens=true"
"""Accounts are of each token."""
AIMS = ("rollout", "update", "sync", "writing", "start", "any")
"""Phases, a checkpoint being written, and any moment; the first kills go through all of them."""
RUNNING_S = 1800
"""Longest wait for anything."""


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill, and what rank 0 was doing."""

    aim: str
    step: int
    phase: str
    writing: bool
    """A checkpoint was half written."""


def start(recipe: Path, out: Path, overrides: list[str]) -> subprocess.Popen[bytes]:
    words = ["train", str(recipe), f"out={out}", *overrides]
    command = [sys.executable, "-m", "rlvr_cli", *words]
    with open(out.with_suffix(".log"), "ab") as log:
        if started.forked:
            return started.forked[0].start("command", words, log.fileno(), log.fileno())  # type: ignore[no-any-return]
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def finish(process: subprocess.Popen[bytes], out: Path) -> None:
    if code := process.wait(RUNNING_S):
        sys.exit(f"the run in {out} ended with code {code}; see {out.with_suffix('.log')}")


def hearts(process: subprocess.Popen[bytes]) -> dict[int, Heart]:
    """Process id -> heart of the launcher's ranks, in their order, through the descriptors they hold."""
    found = {}
    for child in sorted(psutil.Process(process.pid).children(), key=lambda child: child.pid):
        for link in Path(f"/proc/{child.pid}/fd").iterdir():
            if "rlvr-heartbeat" in os.readlink(link):
                descriptor = os.open(link, os.O_RDWR)
                found[child.pid] = Heart(descriptor)
                os.close(descriptor)
    return found


def strike(
    process: subprocess.Popen[bytes], out: Path, aim: str, skip: int, rng: random.Random
) -> Kill | None:
    """Wait for the moment and kill every process of the run; None: it has ended before.

    `skip`: steps to let pass first.
    """
    ranks: dict[int, Heart] = {}
    heart, began, skip_to = None, time.monotonic(), None
    delay = rng.uniform(0, {"start": 6.0, "any": 0.5}.get(aim, 0.02))
    while process.poll() is None and time.monotonic() - began < RUNNING_S:
        try:
            ranks = ranks or hearts(process)
            heart = next(iter(ranks.values()), None)
        except (psutil.Error, OSError):  # a process has come or gone meanwhile
            heart = None
        beat = heart.read() if heart else None
        if beat and beat.phase != START and skip_to is None:
            skip_to = beat.done + skip
        reached = skip_to is not None and beat is not None and beat.done >= skip_to
        if aim == "writing":  # it takes milliseconds, and is stopped at once
            there, delay = reached and caught_writing(out, ranks), 0.0
        else:
            there = {"start": beat is not None, "any": reached}.get(
                aim, reached and beat is not None and beat.phase == aim
            )
        if there:
            time.sleep(delay)
            assert heart is not None
            return kill(process, out, aim, heart)
        time.sleep(0.001)
    return None


def is_writing(out: Path) -> bool:
    return any((out / "checkpoints").glob(".step_*.tmp"))


def caught_writing(out: Path, ranks: Collection[int]) -> bool:
    """Whether a checkpoint is being written; if so the ranks, by their process ids, stand still in it."""
    if not is_writing(out):
        return False
    send(signal.SIGSTOP, ranks)
    if is_writing(out):
        return True
    send(signal.SIGCONT, ranks)  # it was done first
    return False


def send(number: signal.Signals, processes: Collection[int]) -> None:
    for each in processes:
        with suppress(ProcessLookupError):
            os.kill(each, number)


def kill(process: subprocess.Popen[bytes], out: Path, aim: str, heart: Heart) -> Kill | None:
    """Kill the launcher first, so that it can do nothing about the others."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    process.kill()
    for child in family:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    beat = heart.read()
    writing = beat.phase != START and is_writing(out)  # a start has yet to clear away what was left
    while any(map(runs, family)):
        time.sleep(0.01)
    if process.wait() == 0:
        return None
    return Kill(aim, beat.done + 1, beat.phase or "between phases", writing)


def runs(process: psutil.Process) -> bool:
    """Also where nobody collects the dead: they hold nothing any more."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def disturbed(
    recipe: Path, out: Path, overrides: list[str], kills: int, steps: int, seed: int, aims: Sequence[str] = ()
) -> list[Kill]:
    """Kill the run so often, at random moments or at `aims`, then let it end; where the kills fell."""
    rng, done = random.Random(seed), []
    aims = aims or [*rng.sample(AIMS, len(AIMS)), *rng.choices(AIMS, k=kills)][:kills]
    for aim in aims:
        reached = max((made.step for made in done), default=0)
        skip = rng.choice((0, 1, 1)) if steps - reached > kills - len(done) + 2 else 0
        if (found := strike(start(recipe, out, overrides), out, aim, skip, rng)) is None:
            break
        done.append(found)
        print(f"kill {len(done)}: step {found.step}, {found.phase}{', writing' * found.writing}", flush=True)
    finish(start(recipe, out, overrides), out)
    return done


def metrics(out: Path) -> list[dict[str, Any]]:
    """Rows of metrics.jsonl without what a clock has measured."""
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    clocked = ("time", "timing_s/", "perf/")
    counted = "perf/total_response_tokens"
    return [
        {k: v for k, v in row.items() if k == counted or not (k.startswith(clocked) or "seconds" in k)}
        for row in rows
    ]


def rollouts(out: Path) -> dict[str, list[Any]]:
    """Every record by file, without the milliseconds of verdicts and the seconds of environments."""
    found = {}
    for path in sorted((out / "rollouts").iterdir()):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            for verdict in row["verdicts"].values():
                del verdict["ms"]
            for turn in row.get("turns", ()):
                del turn["seconds"]
            row.get("measures", {}).pop("tool/seconds", None)
        found[path.name] = rows
    return found


def differences(whole: Path, killed: Path) -> list[str]:
    """What the two runs do not have in common; empty: they are the same."""
    found = []
    weights = [(out / "final" / "model.safetensors").read_bytes() for out in (whole, killed)]
    if weights[0] != weights[1]:
        found.append("final weights differ")
    rows = [metrics(out) for out in (whole, killed)]
    if [row["step"] for row in rows[0]] != [row["step"] for row in rows[1]]:
        found.append("metrics.jsonl has other steps")
    for ours, theirs in zip(*rows, strict=False):
        if keys := [key for key in ours | theirs if ours.get(key) != theirs.get(key)]:
            found.append(f"metrics of step {ours['step']} differ: {', '.join(keys[:5])}")
    records = [rollouts(out) for out in (whole, killed)]
    for name in sorted(records[0].keys() | records[1].keys()):
        if records[0].get(name) != records[1].get(name):
            found.append(f"rollouts/{name} differs")
    return found


def experiment(
    folder: Path, kills: int, seed: int, overrides: list[str], aims: Sequence[str] = ()
) -> tuple[list[Kill], list[str]]:
    """Both runs in `folder`; the kills, and what is not as it must be."""
    steps = kills + 6
    recipe = folder / "killed.yaml"
    recipe.write_text(RECIPE)
    whole, killed = folder / "whole", folder / "killed"
    overrides = [f"trainer.steps={steps}", *overrides, *[NOTED] * (BESIDE in overrides)]
    finish(start(recipe, whole, overrides), whole)
    made = disturbed(recipe, killed, overrides, kills, steps, seed, aims)
    if BESIDE not in overrides:
        return made, differences(whole, killed)
    faults = [f"{out.name}: {fault}" for out in (whole, killed) for fault in account(out).faults]
    return made, faults + other_prompts(whole, killed)


def table(kills: list[Kill]) -> str:
    phases = Counter("start" if kill.phase == START else kill.phase for kill in kills)
    lines = [f"| {phase} | {count} |" for phase, count in phases.most_common()]
    written = sum(kill.writing for kill in kills)
    lines += [f"| (of all: a checkpoint half written) | {written} |", f"| **all** | {len(kills)} |"]
    return "\n".join(["| rank 0 was in | kills |", "|---|---|", *lines])


def main() -> int:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a new directory that is kept")
    started.add(parser)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_args()
    if options.fork:
        started.prepare(2, fork=True)
    folder = options.out or Path(tempfile.mkdtemp(prefix="kill-"))
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    kills, found = experiment(folder, options.kills, options.seed, options.overrides)
    print(f"\n{table(kills)}\n\n{time.monotonic() - began:,.0f} s; runs in {folder}")
    good = "weights, metrics and rollouts are those of the undisturbed run"
    if BESIDE in options.overrides:
        print(accounted({name: account(folder / name) for name in ("whole", "killed")}))
        good = "every prompt, sample, step and token is accounted for"
    print("\n".join(found) or good)
    return 1 if found or len(kills) < options.kills else 0


if __name__ == "__main__":
    sys.exit(main())
