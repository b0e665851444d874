"""Runs that sample from servers, one of which is killed again and again: `python benchmarks/replicas.py`.

The tiny DAPO run of kill.py three times: from one server, from two, and from two of which a random one is
killed by SIGKILL at `--kills` random moments. Nothing may be lost, doubled or changed by that: prompts,
tokens, verdicts and weights must be those of the run that nobody disturbed, to the bit. After each of
`--steps` syncs the trainer scores what the servers have sampled; both must mean the same policy. With
`--transfer broadcast` weights come to servers through process groups, and a run of two servers more, whose
weights come through memory, must be the same.

Prints a table (Markdown); exit code 1 where something differs, or no kill found its server.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import kill
import psutil

from rlvr_cli.schema import Transfer
from rlvr_cli.tracking import read_metrics

GAP = "mismatch/mean_abs"
LIMIT = 1e-5
MEMORY = "two, through memory"
SETTINGS = (
    *("trainer.ranks=1", "checkpoint.every=1000", "rollout.placement=servers", "rollout.servers.threads=1"),
    "preflight.enabled=false",
)


@dataclass(frozen=True)
class Left:
    """What a finished run has left."""

    weights: bytes
    records: dict[str, list[object]]
    gaps: list[float]
    """Of each step, nats per token: mean absolute difference of the servers' logprobs to the trainer's."""
    restarts: int
    sent_again: int

    @property
    def uneven(self) -> int:
        """Prompts that are not recorded with all their samples, once each."""
        rows = [row for rows in self.records.values() for row in rows]
        samples = Counter((row["step"], row["index"], row["sample"]) for row in rows)  # type: ignore[index]
        prompts = Counter(index for _, index, _ in samples)
        usual = max(prompts.values(), default=0)
        return sum(each > 1 for each in samples.values()) + sum(each < usual for each in prompts.values())


def read(out: Path) -> Left:
    rows = list(read_metrics(out))
    return Left(
        weights=(out / "final" / "model.safetensors").read_bytes(),
        records=kill.rollouts(out),
        gaps=[row[GAP] for row in rows if GAP in row],
        restarts=int(max(row.get("rollout/server_restarts", 0) for row in rows)),
        sent_again=int(max(row.get("rollout/samples_sent_again", 0) for row in rows)),
    )


def servers(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Those that serve now: children of their guardians."""
    family = psutil.Process(process.pid).children(recursive=True)
    guardians = [each for each in family if any("guardian.py" in word for word in each.cmdline())]
    return [child for guardian in guardians for child in guardian.children()]


def disturb(process: subprocess.Popen[bytes], out: Path, options: Namespace) -> int:
    """Kill a server at each of the moments; how many were hit."""
    rng = random.Random(options.seed)
    hit = 0
    for step in sorted(rng.sample(range(2, options.steps - 2), options.kills)):
        while process.poll() is None and done(out) < step:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 1))
        try:
            victim = rng.choice(servers(process))
            os.kill(victim.pid, signal.SIGKILL)
        except (psutil.Error, ProcessLookupError, IndexError):
            continue
        hit += 1
        print(f"kill {hit}: after step {done(out)}", flush=True)
    return hit


def done(out: Path) -> int:
    """Steps the run has recorded."""
    file = out / "metrics.jsonl"
    return file.read_bytes().count(b"timing_s/step") if file.is_file() else 0


def train(
    recipe: Path, out: Path, count: int, options: Namespace, *, kills: bool = False, transfer: str = ""
) -> int:
    """The run; how many of its servers were killed."""
    overrides = [*SETTINGS, f"trainer.steps={options.steps}", f"rollout.servers.count={count}"]
    overrides.append(f"rollout.servers.transfer={transfer or options.transfer}")
    process = kill.start(recipe, out, [*overrides, *options.overrides])
    hit = disturb(process, out, options) if kills else 0
    kill.finish(process, out)
    return hit


def compared(found: dict[str, Left], hit: int, options: Namespace) -> list[str]:
    """What is not as it must be."""
    faults = []
    calm, killed = found["two"], found["two, killed"]
    if calm.weights != killed.weights:
        faults.append("final weights of the killed run differ")
    if calm.records != killed.records:
        faults.append("rollouts of the killed run differ")
    if (other := found.get(MEMORY, calm)).weights != calm.weights or other.records != calm.records:
        faults.append("weights that come through memory make another run")
    if hit < options.kills or killed.restarts < hit:
        faults.append(f"{hit} of {options.kills} kills, {killed.restarts} restarts")
    for name, left in found.items():
        if left.uneven:
            faults.append(f"{name}: {left.uneven} prompts are lost or doubled")
        if len(left.gaps) < options.steps or max(left.gaps) > LIMIT:
            faults.append(f"{name}: {len(left.gaps)} gaps, the largest {max(left.gaps):.1e}")
    return faults


def main() -> int:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--transfer", choices=[each.value for each in Transfer], default="memory")
    parser.add_argument("--out", type=Path, help="a new directory that is kept")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_args()
    folder = options.out or Path(tempfile.mkdtemp(prefix="replicas-"))
    folder.mkdir(parents=True, exist_ok=True)
    recipe = folder / "served.yaml"
    recipe.write_text(kill.RECIPE)
    train(recipe, folder / "one", 1, options)
    train(recipe, folder / "two", 2, options)
    hit = train(recipe, folder / "killed", 2, options, kills=True)
    found = {"one": read(folder / "one"), "two": read(folder / "two"), "two, killed": read(folder / "killed")}
    if options.transfer == "broadcast":
        train(recipe, folder / "memory", 2, options, transfer="memory")
        found[MEMORY] = read(folder / "memory")
    print("| servers | steps | largest gap, nats | mean gap | restarts | samples sent again | weights |")
    print("|---|---|---|---|---|---|---|")
    for name, left in found.items():
        same = "those of two" if left.weights == found["two"].weights else "others"
        print(
            f"| {name} | {len(left.gaps)} | {max(left.gaps):.1e} | {sum(left.gaps) / len(left.gaps):.1e} "
            f"| {left.restarts} | {left.sent_again} | {same} |"
        )
    faults = compared(found, hit, options)
    print("\n".join(faults) or "every prompt once; tokens, verdicts and weights of the killed run are equal")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
