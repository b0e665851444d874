"""What runs beside the training, measured in one run: `python benchmarks/overlap.py`.

Two things always do: verdicts are found while other groups are still being sampled, and checkpoints are
written while the next steps train. For both, the seconds of the work are set against those that the training
waited for it: for verdicts after the last group was sampled, for a checkpoint while it was copied in memory,
and for the one before it. The verifier is a server that takes `--verdict-ms` for each, eight at a time; their
work is the time that this takes alone. The recipe is `tiny_dapo` without dynamic sampling, with a checkpoint
after every other step. The ratio is a step's time, its share of checkpoints included, over what its parts
take one after the other.

With `--placements` and `--modes` several runs are compared, each in a process of its own: where the engine
is, and how far it samples ahead (`modes.py`). The work of sampling is then what the run of the same placement
that waits for all of it has waited.
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
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from modes import MODES, PLACEMENTS, WAIT, settings
from quiet import quiet

from rlvr_cli import compose
from rlvr_cli.core import model_paths
from rlvr_cli.core.rank_process import free_port, library_defaults
from rlvr_cli.schema import Recipe

EVERY = 2
CONNECTIONS = 8
RECIPE = [
    "verifier@verifiers.math=remote",
    "rollout=vllm",
    "algorithm/filter=none",
    "algorithm/shaping=identity",
    "algorithm/mismatch=truncate",
    f"checkpoint.every={EVERY}",
    "preflight.enabled=false",
    "eval.at_start=false",
    "eval.at_end=false",
    "tracker.wandb=disabled",
    "tracker.console=plain",
]
Row = dict[str, float]


def measure(recipe: Recipe, warm_up: int) -> tuple[list[Row], list[Row]]:
    """A row for each step and for each checkpoint after the first `warm_up` steps."""
    from rlvr_cli.checkpoints.writer import Writer
    from rlvr_cli.engine import process_group
    from rlvr_cli.training import loop
    from rlvr_cli.training.assemble import assemble
    from rlvr_cli.training.tracker import open_tracker
    from rlvr_cli.training.weight_sync import sync

    sampled: list[Any] = []
    run = Writer.run
    written: list[float] = []

    def watched(sample: Callable[..., Any]) -> Callable[..., Any]:
        def sampling(*args: Any) -> Any:
            sampled.append(sample(*args))
            return sampled[-1]

        return sampling

    def timed_run(self: Any) -> None:
        began = perf_counter()
        run(self)
        written.append(perf_counter() - began)

    loop.sample_groups, loop.sample_ahead = watched(loop.sample_groups), watched(loop.sample_ahead)
    Writer.run = timed_run  # type: ignore[method-assign]
    steps: list[Row] = []
    checkpoints: list[Row] = []
    process_group.initialise()
    with open_tracker(recipe, sys.stdout, kind="rl") as tracker, assemble(recipe, tracker) as parts:
        sync(parts)
        for n in range(recipe.trainer.steps):
            began = perf_counter()
            loop.train_step(parts)
            row = {"step": perf_counter() - began}
            groups = sampled.pop().mine
            verdicts = [v for g in groups for named in g.verdicts for v in named.values()]
            row["verdicts"] = sum(v.ms for v in verdicts) / 1000 / CONNECTIONS
            if parts.due(recipe.checkpoint.every):
                began, done = perf_counter(), len(written)
                loop.save(parts)
                checkpoint = {"waited": perf_counter() - began}
                if n >= warm_up:
                    checkpoints.append(checkpoint)
                    checkpoint["number"] = done
            if n >= warm_up:
                steps.append(row)
        parts.checkpoints.settle()
        for checkpoint in checkpoints:
            checkpoint["written"] = written[int(checkpoint.pop("number"))]
    return steps, checkpoints


def run(options: Namespace, out: Path, port: int) -> dict[str, Any]:
    """Medians of steps and checkpoints, and a step's time over the sum of its parts."""
    os.environ.update(library_defaults(1, 0))
    model = model_paths.resolve_model(options.model)
    fixed = [f"model.path={model}", f"out={out}", f"trainer.steps={options.steps + options.warm_up}"]
    served = [f"verifiers.math.url=http://127.0.0.1:{port}", f"verifiers.math.connections={CONNECTIONS}"]
    [placement], [mode] = options.placements, options.modes
    chosen = [*RECIPE, *served, *fixed, *settings(placement, mode), *options.overrides]
    recipe = compose.load("tiny_dapo", chosen, "dapo")
    assert isinstance(recipe, Recipe)
    steps, checkpoints = measure(recipe, options.warm_up)
    from rlvr_cli.tracking import read_metrics

    for row, record in zip(steps, read_metrics(out)[-len(steps) :], strict=True):
        row["waited"] = record["timing_s/verify"]
        row["sampling"], row["sync"] = record["timing_s/rollout"], record["timing_s/sync"]
    step = median(row["step"] for row in steps)
    found = {"verdicts": summary(steps, "verdicts"), "checkpoint": summary(checkpoints, "written")}
    saved = found["verdicts"]["hidden_s"] + found["checkpoint"]["hidden_s"] / EVERY
    whole = step + found["checkpoint"]["waited_s"] / EVERY
    sampling, synced = (median(row[name] for row in steps) for name in ("sampling", "sync"))
    return {
        "step_s": whole,
        "parts_s": whole + saved,
        "ratio": whole / (whole + saved),
        "sampling_waited_s": sampling,
        "sync_s": synced,
        "parts": found,
    }


def compared(options: Namespace) -> list[dict[str, Any]]:
    """A row for each placement and mode, in turn."""
    rows = []
    for placement in options.placements:
        for mode in dict.fromkeys([WAIT, *options.modes]):
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "found.json"
                words = [sys.executable, __file__, "--model", options.model, "--json", str(file)]
                words += ["--steps", f"{options.steps}", "--warm-up", f"{options.warm_up}"]
                words += ["--verdict-ms", f"{options.verdict_ms}", "--placements", placement, "--modes", mode]
                subprocess.run([*words, "--", *options.overrides], check=True, stdout=subprocess.DEVNULL)
                row = json.loads(file.read_text())
            work = row["sampling_waited_s"] if mode == WAIT else rows[-1]["sampling_s"]
            hidden = max(0.0, work - row["sampling_waited_s"])
            row |= {
                "placement": placement,
                "mode": mode,
                "sampling_s": work,
                "sampling_hidden": hidden / work,
            }
            row["parts_s"] += hidden
            row["ratio"] = row["step_s"] / row["parts_s"]
            rows.append(row)
    return rows


def show_compared(rows: list[dict[str, Any]]) -> None:
    names = (
        "placement",
        "mode",
        "sync, s",
        "sampling, s",
        "training waited, s",
        "hidden",
        "step, s",
        "ratio",
    )
    print(f"| {' | '.join(names)} |\n|{'---|' * len(names)}")
    for row in rows:
        seconds = [f"{row[name]:.3f}" for name in ("sync_s", "sampling_s", "sampling_waited_s")]
        cells = [row["placement"], row["mode"], *seconds, f"{row['sampling_hidden']:.0%}"]
        print(f"| {' | '.join(cells)} | {row['step_s']:.2f} | {row['ratio']:.2f} |")


def summary(rows: list[Row], work: str) -> dict[str, float]:
    """Medians: seconds of the work, seconds that training waited for it, and the share that was hidden."""
    return {
        "work_s": median(row[work] for row in rows),
        "waited_s": median(row["waited"] for row in rows),
        "hidden_s": median(max(0.0, row[work] - row["waited"]) for row in rows),
        "hidden": median(max(0.0, 1 - row["waited"] / row[work]) for row in rows),
    }


class Slow(BaseHTTPRequestHandler):
    """A verifier behind HTTP that takes its time, and draws the verdict by a hash."""

    seconds = 0.0

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(self.seconds)
        right = sha256(body).digest()[0] % 2
        answer = {
            "score": float(right),
            "reason": ("wrong", "correct")[right],
            "extracted": None,
            "detail": "",
        }
        text = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: it would be a line for every verdict."""


def serve(port: int, milliseconds: float) -> None:
    Slow.seconds = milliseconds / 1000
    ThreadingHTTPServer(("127.0.0.1", port), Slow).serve_forever()


def show(result: dict[str, Any]) -> None:
    print("| | work, s | training waited, s | hidden |\n|---|---|---|---|")
    for name, row in result["parts"].items():
        print(f"| {name} | {row['work_s']:.3f} | {row['waited_s']:.3f} | {row['hidden']:.0%} |")
    print(
        f"\na step takes {result['step_s']:.2f} s, its parts one after the other {result['parts_s']:.2f}: "
        f"ratio {result['ratio']:.2f}"
    )


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="runs/tiny_sft", help="model folder or run directory")
    parser.add_argument("--steps", type=int, default=20, help="steps measured")
    parser.add_argument("--warm-up", type=int, default=2, help="steps before them")
    parser.add_argument("--verdict-ms", type=float, default=20.0, help="milliseconds of a verdict (20)")
    parser.add_argument("--placements", nargs="+", choices=PLACEMENTS, default=["in_process"])
    parser.add_argument("--modes", nargs="+", choices=MODES, default=[WAIT], help="how far ahead to sample")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--serve", type=int, help=SUPPRESS)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_args()
    if options.serve:
        return serve(options.serve, options.verdict_ms)
    if len(options.placements) > 1 or len(options.modes) > 1:
        rows = compared(options)
        show_compared(rows)
        if options.json:
            options.json.write_text(json.dumps(rows, indent=1) + "\n")
        return None
    port = free_port()
    command = [sys.executable, __file__, "--serve", str(port), "--verdict-ms", str(options.verdict_ms)]
    server = subprocess.Popen(command)
    with tempfile.TemporaryDirectory() as folder:
        try:
            with quiet(Path(folder)):
                result = run(options, Path(folder) / "run", port)
        finally:
            server.kill()
            server.wait()
    show(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
