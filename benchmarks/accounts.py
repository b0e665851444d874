"""Whether a run that samples ahead has lost or doubled anything, told by what it has left alone.

`overlap: beside` does not repeat itself to the bit: what a thread has finished when the trainer asks is the
clock's to say. Every prompt, sample, step and token must be accounted for all the same.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rlvr_cli.core import tensor_files
from rlvr_cli.tracking import read_metrics, read_records

GAP = 1e-4
"""Largest |logprob difference| in nats of a token to the weights that it says have sampled it, in fp32."""


@dataclass(slots=True)
class Account:
    """What a run has left; `faults`: what is wrong with it."""

    faults: list[str] = field(default_factory=list)
    prompts: int = 0
    """Recorded."""
    in_flight: int = 0
    """Prompts in the last checkpoint."""
    dropped: int = 0
    """Prompts."""
    tokens: int = 0
    """Recorded."""
    older: int = 0
    """Tokens of older weights than those their step trained."""
    continued: int = 0
    """Samples with tokens of several weights."""
    age: int = 0
    """Of the oldest token that trained."""
    compared: int = 0
    """Tokens whose logprobs were the trainer's to tell."""
    gap: float = 0.0
    """The largest of them, nats."""


def account(out: Path) -> Account:
    """Of a finished run in fp32 with `tracker.tokens` and old logprobs (a correction, several updates)."""
    recipe = yaml.safe_load((out / "recipe.yaml").read_text())
    made, rows = Account(), list(read_records(out))
    steps = [row for row in read_metrics(out) if "event" not in row]
    _prompts(made, out, rows, recipe["batch"]["group_size"])
    _steps(made, rows, steps, recipe["trainer"]["steps"])
    for row in rows:
        _tokens(made, row, recipe["rollout"]["max_staleness"])
    if not made.compared:
        made.faults.append("no token could be compared with the weights that have sampled it")
    return made


def _prompts(made: Account, out: Path, rows: list[dict[str, Any]], group: int) -> None:
    """Each prompt is recorded in one step with all its samples, or in flight, or was dropped: once."""
    places = Counter((row["index"], row["step"]) for row in rows)
    recorded = Counter(index for index, _ in places)
    samples: dict[int, list[int]] = {}
    for row in rows:
        samples.setdefault(row["index"], []).append(row["sample"])
    broken = [index for index, found in samples.items() if sorted(found) != list(range(group))]
    flying = [row["index"] for row in in_flight(out)]
    dropped = list(_dropped(out))
    made.prompts, made.in_flight, made.dropped = len(recorded), len(flying), len(dropped)
    seen = recorded + Counter(flying) + Counter(dropped)
    lost = sorted(set(range(max(seen, default=-1) + 1)) - set(seen))
    doubled = sorted(index for index, count in seen.items() if count > 1)
    named = {"lost": lost, "there twice": doubled, "without samples, or with too many": broken}
    made.faults += [f"prompts {what}: {which[:5]}" for what, which in named.items() if which]


def in_flight(out: Path) -> list[dict[str, Any]]:
    """What the last checkpoint holds, of all ranks."""
    steps = sorted((out / "checkpoints").glob("step_*"), key=lambda path: int(path.name[5:]))
    return [row for file in sorted(steps[-1].glob("flights_*.pt")) for row in tensor_files.read(file)]


def _dropped(out: Path) -> Iterator[int]:
    events = (json.loads(line) for line in (out / "events.jsonl").read_text().splitlines())
    for event in events:
        if event["kind"] == "dropped":
            yield from event["indices"]


def _steps(made: Account, rows: list[dict[str, Any]], steps: list[dict[str, Any]], count: int) -> None:
    """Each step has one row of metrics, and they say what the records say."""
    if [row["step"] for row in steps] != list(range(1, count + 1)):
        made.faults.append("metrics.jsonl has not each step once, in their order")
    tokens, trained = Counter[int](), Counter[int]()
    for row in rows:
        tokens[row["step"]] += row["length"]
        trained[row["step"]] += row["kept"] and row["sample"] == 0
    sampled = 0
    for row in steps:
        sampled += tokens[row["step"]]
        if row["group/trained"] != trained[row["step"]]:
            made.faults.append(
                f"step {row['step']} trained {row['group/trained']:g} groups, others are recorded"
            )
        if row["perf/total_response_tokens"] != sampled:
            made.faults.append(f"step {row['step']} counts other tokens than are recorded")


def _tokens(made: Account, row: dict[str, Any], staleness: int) -> None:
    """No token that trains is older than allowed, and the newest are of the weights that they say."""
    versions, now = row["versions"], row["step"] - 1
    where = f"step {row['step']}, prompt {row['index']}, sample {row['sample']}"
    if not len(versions) == len(row["logprobs"]) == row["length"]:
        made.faults.append(f"{where}: {row['length']} tokens, {len(versions)} versions")
    if sorted(versions) != versions or any(version > now for version in versions):
        made.faults.append(f"{where}: versions {versions[0]} to {versions[-1]} are in no order")
    age = max((now - version for version in versions), default=0)
    if row["kept"] and age > staleness:
        made.faults.append(f"{where}: trained at an age of {age}")
    made.tokens += len(versions)
    made.older += sum(version < now for version in versions)
    made.continued += len(set(versions)) > 1
    made.age = max(made.age, age if row["kept"] else 0)
    for version, theirs, ours in zip(versions, row["logprobs"], row.get("old_logprobs", ()), strict=False):
        if version == now:
            made.compared += 1
            made.gap = max(made.gap, abs(theirs - ours))
            if not abs(theirs - ours) <= GAP:
                made.faults.append(f"{where}: a token is off by {abs(theirs - ours):.1e} nats")


def other_prompts(whole: Path, killed: Path) -> list[str]:
    """Prompts that are not the same in two runs, of those that both have recorded."""
    ours, theirs = ({row["index"]: row["problem"] for row in read_records(out)} for out in (whole, killed))
    other = [index for index in sorted(ours.keys() & theirs.keys()) if ours[index] != theirs[index]]
    return [f"other problems than in the undisturbed run: {other[:5]}"] if other else []


def accounted(runs: dict[str, Account]) -> str:
    """A table (Markdown)."""
    names = ("prompts", "in_flight", "dropped", "tokens", "older", "continued", "age", "compared")
    titles = [
        *("prompts recorded", "in flight at the end", "dropped", "tokens", "of older weights"),
        *("samples of several weights", "largest age", "tokens compared", "largest gap, nats"),
    ]
    lines = [f"| run | {' | '.join(titles)} |", "|---" * (len(titles) + 1) + "|"]
    for run, found in runs.items():
        numbers = [f"{getattr(found, name):,}" for name in names]
        lines.append(f"| {run} | {' | '.join(numbers)} | {found.gap:.1e} |")
    return "\n".join(lines)
