"""A few real steps of a recipe in a temporary directory: what memory and time they took. Imports no torch."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.schema import ConsoleMode, Recipe, SFTRecipe, WandbMode

STEPS = 4
"""The first warms up and is left out of the times."""
AnyRecipe = Recipe | SFTRecipe


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a few steps of the recipe showed."""

    steps: int
    peak: float
    """Bytes, the most of rank 0 in any step: `perf/peak_memory_gb`."""
    seconds: dict[str, float]
    """Phase -> seconds of a step, mean without the first step; `step` is everything."""
    startup: float
    """Seconds from the command to the first step's end, less one step."""
    response: float
    """Mean tokens of a response; 0 in SFT."""
    kept: float
    """Share of groups that passed the filter; 1 in SFT."""


def calibrate(recipe: AnyRecipe, ranks: int | None, dump: Callable[[AnyRecipe], str]) -> Measured:
    """Run the recipe's first steps as `rlvr train` would; what it prints goes to stderr.

    `dump` writes a recipe as YAML. Raises UserError where the run fails, which has said why by then.
    """
    with tempfile.TemporaryDirectory(prefix="rlvr-plan-") as made:
        folder = Path(made)
        short = shortened(recipe, folder / "run", ranks)
        (folder / "recipe.yaml").write_text(dump(short))
        command = [sys.executable, "-m", "rlvr_cli", "train", str(folder / "recipe.yaml")]
        began = time.time()
        code = subprocess.run(command, stdout=sys.stderr, check=False).returncode
        if code != 0:
            raise UserError(
                f"--calibrate: the run of {short.trainer.steps} steps ended with code {code}; its message is "
                "above; plan without --calibrate, or change what it names"
            )
        lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    return evaluate([json.loads(line) for line in lines], began)


def shortened(recipe: AnyRecipe, out: Path, ranks: int | None) -> AnyRecipe:
    """The same steps, a few of them, without what is not done in every one."""
    trainer = replace(recipe.trainer, steps=STEPS, response_tokens=None)
    if ranks is not None:
        trainer = replace(trainer, ranks=ranks)
    every = 1 if recipe.checkpoint.every == 1 else None
    changes: dict[str, Any] = {
        "out": str(out),
        "trainer": trainer,
        "checkpoint": replace(recipe.checkpoint, every=every, best=None),
        "tracker": replace(recipe.tracker, wandb=WandbMode.disabled, console=ConsoleMode.plain),
        "faults": replace(recipe.faults, max_restarts=0),
    }
    if isinstance(recipe, SFTRecipe):
        return replace(recipe, **changes, eval=replace(recipe.eval, every=None, stop_at=None))
    return replace(
        recipe,
        **changes,
        eval=replace(recipe.eval, every=None, at_start=False, at_end=False),
        preflight=replace(recipe.preflight, enabled=False),
        stages={},
    )


def evaluate(rows: list[dict[str, Any]], began: float) -> Measured:
    """Means of the rows of metrics.jsonl; `began` is the time of the command."""
    steps = [row for row in rows if "timing_s/step" in row]
    later = steps[1:] or steps
    names = dict.fromkeys(name for row in later for name in row if name.startswith("timing_s/"))
    seconds = {name.removeprefix("timing_s/"): mean(later, name) for name in names}
    return Measured(
        steps=len(steps),
        peak=max(float(row["perf/peak_memory_gb"]) for row in steps) * 2**30,
        seconds=seconds,
        startup=max(0.0, float(steps[0]["time"]) - began - seconds["step"]),
        response=mean(later, "response_length/mean"),
        kept=mean(later, "group/kept_fraction") or 1.0,
    )


def mean(rows: list[dict[str, Any]], name: str) -> float:
    return sum(float(row.get(name, 0.0)) for row in rows) / len(rows)
