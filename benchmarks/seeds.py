"""Runs of a recipe with several settings and seeds each, for benchmarks of learning.

A run that is there already is not made again: an interrupted benchmark goes on, and `--seeds` can be raised.
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import algorithms
import started

QUIET = ("tracker.wandb=disabled", "tracker.console=plain")
SAMPLED = ("tracker.rollouts=false", "preflight.enabled=false")
"""Of runs that sample, besides."""
Labels = Mapping[str, Sequence[str]]
"""Name of a kind of run -> its settings."""
Measured = dict[str, float]


def parser(doc: str | None, labels: Labels, *, model: str, out: str, steps: int) -> ArgumentParser:
    made = ArgumentParser(description=doc, formatter_class=RawDescriptionHelpFormatter)
    made.add_argument("--model", default=model, help="model folder or run directory")
    made.add_argument("--out", default=out, help="where the runs go")
    made.add_argument("--seeds", type=int, default=5)
    made.add_argument("--steps", type=int, default=steps)
    made.add_argument("--jobs", type=int, default=2, help="runs at once")
    started.add(made)
    made.add_argument("--only", nargs="+", choices=labels, default=list(labels), metavar="LABEL")
    made.add_argument("--plot", type=Path, help="write the plot there")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    made.add_argument("overrides", nargs="*", metavar="key=value")
    return made


def interval(values: Sequence[float], digits: int = 3) -> str:
    """Mean over seeds and half the width of its 95% interval."""
    middle, half = algorithms.interval(list(values))
    return f"{middle:.{digits}f}" + (f" ± {half:.{digits}f}" if len(values) > 1 else "")


def folder_of(options: Namespace, label: str, seed: int) -> Path:
    return Path(options.out) / label.replace(", ", "_") / f"seed{seed}"


def finished(options: Namespace, label: str) -> Iterator[Path]:
    """Folders of the runs that are there, by seed."""
    folders = (folder_of(options, label, seed) for seed in range(options.seeds))
    return (folder for folder in folders if (folder / "final").is_dir())


def only(options: Namespace, labels: Labels) -> Namespace:
    """The options, of whose labels these alone are wanted."""
    return Namespace(**{**vars(options), "only": [label for label in options.only if label in labels]})


def train_all(options: Namespace, recipe: str, labels: Labels, more: Sequence[str]) -> None:
    """All runs that are missing, seed by seed; `more`: settings of all of them, which win."""

    def train(label: str, seed: int) -> None:
        out = folder_of(options, label, seed)
        if (out / "final").is_dir():
            return
        command = ["train", recipe, f"model.path={options.model}"]
        command += [f"trainer.steps={options.steps}", *labels[label], *options.overrides]
        command += [f"seed={seed}", f"out={out}", *QUIET, *more]
        done = started.rlvr(command)
        print(f"{label} seed {seed}: {started.last_line(done)}", flush=True)

    started.prepare(options.jobs, options.fork)
    with ThreadPoolExecutor(options.jobs) as pool:
        wanted = [(label, seed) for seed in range(options.seeds) for label in options.only]
        list(pool.map(lambda each: train(*each), wanted))


def measure(model: Path, out: Path, k: int = 4) -> Measured:
    """Share right and share without an answer on held-out sums, of `k` samples for each."""
    if not (out / "addition.json").is_file():
        words = ["eval", "--model", str(model), "--bench", "addition", "-k", f"{k}"]
        done = started.rlvr([*words, "rollout=hf", f"out={out}", "tracker.wandb=disabled"])
        if done.returncode:
            sys.exit(f"{model} was not measured: {started.last_line(done)}")
    found = json.loads((out / "addition.json").read_text())["summary"]
    right = next(value for name, value in found.items() if name.startswith("avg@"))
    return {"right": right, "none": found["no_answer_fraction"]}


def all_measured(
    options: Namespace, more: Callable[[str, Path], Measured], k: int = 4
) -> dict[str, list[Measured]]:
    """Label -> what each of its finished runs is worth, `more` of it besides; without any it is left out."""
    found = {
        label: [measure(run, run / "eval", k) | more(label, run) for run in finished(options, label)]
        for label in options.only
    }
    return {label: each for label, each in found.items() if each}


def show(options: Namespace, lines: Iterable[str], results: Mapping[str, Any]) -> None:
    """Print the table; with `--json` write the results."""
    print("\n".join(lines))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
