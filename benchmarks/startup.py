"""From the command to the first step: `python benchmarks/startup.py`.

Starts `rlvr dapo tiny_dapo` on the built-in model and takes the time until its first step begins, by phase.
The limit is a process that imports torch and vLLM and builds the same engine on the same model, nothing else.
Both are started in turn, in the same run, so that whatever else the machine does hits both; the first pair
warms the disk and is left out. Prints medians and the median of the rounds' ratios; `--json FILE` keeps all.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any, TextIO

from rlvr_cli.schema import Recipe

FILE = "startup.json"
BEGAN = "STARTUP_BEGAN"
"""Variable with the monotonic time at which the command was given."""
OVERRIDES = ["trainer.steps=1", "eval.at_start=false", "eval.at_end=false", "tracker.wandb=disabled"]
PARTS = {
    "load_tokenizer": "tokenizer",
    "load_problems": "data",
    "Trainer": "model and optimizer",
    "start_engine": "engine",
    "Pool": "verifiers",
    "self_check": "self-check",
}
"""What assemble.py calls, and the phase it is shown under."""

Row = dict[str, float]


def rank(recipe: Recipe, terminal: TextIO) -> None:
    """Entry of the rank: `loop.rl` with a clock around what comes before the first step."""
    from overhead import Clock

    clock = Clock()
    began = float(os.environ[BEGAN])
    row = {"command to rank": monotonic() - began}
    since = monotonic()
    from rlvr_cli.training import assemble, loop

    row["imports without vllm"] = monotonic() - since
    for name, phase in PARTS.items():
        setattr(assemble, name, clock.around(phase, getattr(assemble, name)))
    loop.process_group.initialise = clock.around("process group", loop.process_group.initialise)
    loop.preflight = clock.around("preflight", loop.preflight)  # type: ignore[assignment]
    loop.sync = clock.around("first sync", loop.sync)  # type: ignore[assignment]
    step = loop.train_step

    def first_step(parts: Any) -> None:
        whole = monotonic() - began
        spent = row | clock.take()
        row.update(spent | {"rest": whole - sum(spent.values()), "all": whole})
        step(parts)

    loop.train_step = first_step
    loop.rl(recipe, terminal)
    (Path(recipe.out) / FILE).write_text(json.dumps(row))


def ours(model: str, out: str, overrides: list[str]) -> int:
    """The command, in a process of its own."""
    from rlvr_cli import compose
    from rlvr_cli.launch import start

    words = [f"model.path={model}", f"out={out}", *OVERRIDES, *overrides]
    return start.launch(compose.load("tiny_dapo", words, "train"), "startup:rank")


def bare(model: str, out: str, overrides: list[str]) -> int:
    """The engine alone, with the settings ours has for the recipe."""
    from rlvr_cli.core.rank_process import library_defaults
    from rlvr_cli.launch import prerequisites

    os.environ.update(library_defaults(1, gpus := prerequisites.count_gpus()))
    began = float(os.environ[BEGAN])
    row = {"command to imports": monotonic() - began}
    since = monotonic()
    import torch  # noqa: F401
    from vllm import LLM

    row["imports"] = monotonic() - since
    memory = {} if gpus else {"kv_cache_memory_bytes": 2**28, "max_num_batched_tokens": 8192}
    LLM(
        model=model,
        dtype="float32",
        max_model_len=56,
        max_num_seqs=512,
        enforce_eager=not gpus,
        skip_tokenizer_init=True,
        disable_log_stats=True,
        **memory,
    )
    whole = monotonic() - began
    row |= {"engine": whole - sum(row.values()), "all": whole}
    Path(out).mkdir(parents=True)
    (Path(out) / FILE).write_text(json.dumps(row))
    return 0


SIDES = {"ours": ours, "bare": bare}


def timed(side: str, model: str, folder: Path, overrides: list[str]) -> Row:
    """One start in a fresh process; its output goes to a log, shown where it fails."""
    here = os.path.abspath(__file__)
    environment = os.environ | {"PYTHONPATH": os.path.dirname(here), BEGAN: str(monotonic())}
    command = [sys.executable, here, "--side", side, "--model", model, "--out", str(folder), *overrides]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    if ended.returncode != 0:
        raise SystemExit(f"{side} failed:\n{ended.stdout[-2000:]}{ended.stderr[-4000:]}")
    row: Row = json.loads((folder / FILE).read_text())
    return row


def main() -> int:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--side", choices=SIDES, help="one start, of this side (the benchmark calls itself)")
    parser.add_argument("--model", help="of --side")
    parser.add_argument("--out", help="of --side")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_args()
    if options.side:
        return SIDES[options.side](options.model, options.out, options.overrides)
    rows: dict[str, list[Row]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory(prefix="startup-") as folder:
        model = Path(folder) / "model"
        make_model(model)
        for number in range(options.rounds + 1):
            for side, kept in rows.items():
                row = timed(side, str(model), Path(folder) / f"{side}{number}", options.overrides)
                kept += [row] if number else []
    report(rows)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    return 0


def make_model(folder: Path) -> None:
    from rlvr_cli.engine.tiny import make_tiny
    from rlvr_cli.schema import TinyModel

    make_tiny(folder, TinyModel(), seed=0)


def report(rows: dict[str, list[Row]]) -> None:
    for side, of_side in rows.items():
        print(f"\n| {side} | s |\n|---|---|")
        for phase in of_side[0]:
            print(f"| {phase} | {median(row[phase] for row in of_side):.2f} |")
    ratios = [mine["all"] / least["all"] for mine, least in zip(rows["ours"], rows["bare"], strict=True)]
    print(f"\nratio {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}, {len(ratios)} rounds)")


if __name__ == "__main__":
    sys.exit(main())
