"""What recording, watching and diagnosing a run cost, and a checkpoint: `python benchmarks/overhead.py`.

Trains the tiny DAPO recipe through the launcher, with a checkpoint after every fifth step. Within the rank a
clock runs around everything that is not training: metrics, rollout and token records, events, the diagnosis,
the controller, the notes of an update, and every sign of life for the watchdog. The watchdog itself is the
launcher: its CPU seconds count too. Prints medians over the steps after the first five, as shares of a step;
exit code 1 where all of it is over 2%, or a checkpoint holds training up for a step or longer.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, TextIO

from rlvr_cli import compose
from rlvr_cli.launch import start
from rlvr_cli.schema import Recipe

LIMIT = 0.02
WARM_UP = 5
EVERY = 5
OVERRIDES = [
    f"checkpoint.every={EVERY}",
    "eval.at_start=false",
    "eval.at_end=false",
    "tracker.wandb=disabled",
]
FILE = "overhead.json"


class Clock:
    """Seconds within the functions it was put around, by name; what calls another is counted once."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inside = False

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return function(*args, **kwargs)
            self._inside, began = True, perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self._inside = False
                self.seconds[name] = self.seconds.get(name, 0.0) + perf_counter() - began

        return timed

    def take(self) -> dict[str, float]:
        taken, self.seconds = self.seconds, {}
        return taken


def rank(recipe: Recipe, terminal: TextIO) -> None:
    """Entry of the rank: `loop.rl` under the clock; leaves a row for each step."""
    from rlvr_cli.core.heartbeat import Heart
    from rlvr_cli.training import loop, token_records

    clock, rows = Clock(), []
    loop.record = clock.around("records, metrics, diagnosis", loop.record)  # type: ignore[assignment]
    loop.stabilise = clock.around("controller", loop.stabilise)  # type: ignore[assignment]
    for name in ("beat", "enter", "verdicts", "_write"):
        setattr(Heart, name, clock.around("signs of life", getattr(Heart, name)))
    loop.noted = lambda batch, objective: note(clock, batch, objective, token_records)  # type: ignore[assignment]
    step = loop.train_step

    def train_step(parts: Any) -> None:
        clock.take()
        began = perf_counter()
        step(parts)
        rows.append({"step": perf_counter() - began} | clock.take())

    loop.train_step = train_step
    loop.save = stall(rows, loop.save)  # type: ignore[assignment]
    loop.rl(recipe, terminal)
    (Path(recipe.out) / FILE).write_text(json.dumps(rows))


def note(clock: Clock, batch: Any, objective: Any, token_records: Any) -> Any:
    """The notes' part of the objective: all of it less the objective itself."""
    inner = [0.0]

    def timed(*arguments: Any) -> Any:
        began = perf_counter()
        result = objective(*arguments)
        inner[0] = perf_counter() - began
        return result

    watched = token_records.noted(batch, timed)

    def whole(*arguments: Any) -> Any:
        began = perf_counter()
        result = watched(*arguments)
        spent = perf_counter() - began - inner[0]
        clock.seconds["notes of the update"] = clock.seconds.get("notes of the update", 0.0) + spent
        return result

    return whole


def stall(rows: list[dict[str, float]], save: Callable[..., None]) -> Callable[..., None]:
    def timed(parts: Any, **options: Any) -> None:
        began = perf_counter()
        save(parts, **options)
        if not options:  # the last one has nothing to hold up
            rows[-1]["checkpoint"] = perf_counter() - began

    return timed


def main() -> int:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="runs/tiny_sft", help="model folder or run directory")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder:
        fixed = [f"out={folder}/run", f"model.path={options.model}", f"trainer.steps={options.steps}"]
        recipe = compose.load("tiny_dapo", [*fixed, *OVERRIDES, *options.overrides], "train")
        began, cpu = time.monotonic(), time.process_time()
        if code := start.launch(recipe, "overhead:rank"):
            return code
        watching = (time.process_time() - cpu) / (time.monotonic() - began)
        rows = json.loads((Path(folder) / "run" / FILE).read_text())[WARM_UP:]
    return report(rows, watching)


def report(rows: list[dict[str, float]], watching: float) -> int:
    """Print the table; the exit code."""
    step = median(row["step"] for row in rows)
    names = sorted({name for row in rows for name in row} - {"step", "checkpoint"})
    shares = {name: median(row.get(name, 0.0) / row["step"] for row in rows) for name in names}
    shares["launcher with its watchdog"] = watching
    stalls = [row["checkpoint"] for row in rows if "checkpoint" in row]
    print(f"\n| of a step of {step * 1000:,.0f} ms | % |\n|---|---|")
    for name, share in shares.items():
        print(f"| {name} | {share:.2%} |".replace("%", ""))
    whole = sum(shares.values())
    print(f"| **all** | **{100 * whole:.2f}** |")
    print(
        f"\na checkpoint holds training up for {median(stalls) * 1000:,.0f} ms "
        f"(largest {max(stalls) * 1000:,.0f})"
    )
    return 1 if whole > LIMIT or median(stalls) >= step else 0


if __name__ == "__main__":
    sys.exit(main())
