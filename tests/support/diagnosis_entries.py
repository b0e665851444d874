"""Sick runs, staged by test_diagnosis_runs.py: `python diagnosis_entries.py FOLDER NAME...`, one by one.

Every run is a real one (transformers as engine), with a fault in its recipe or, for `slow`, in its engine.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["DS_ACCELERATOR"] = "cpu"

from run_helpers import RECIPE

from rlvr_cli import compose
from rlvr_cli.rollout.hf import HFEngine
from rlvr_cli.tracking import plots
from rlvr_cli.training.loop import rl

SHORT = ["diagnosis.window=3", "trainer.steps=7", "batch.updates_per_step=1", "preflight.enabled=false"]
MATH = ["+verifier@verifiers.math=math", "data.train.verifiers=[math]"]
SEVEN = [
    "+verifier@verifiers.seven=format",
    "data.train.verifiers=[seven]",
    "verifiers.seven.require_box=false",
]
SEVEN += ["verifiers.seven.pattern='.*7.*'", "verifiers.seven.weight=1"]
ONCE = ["+verifier@verifiers.once=format", "verifiers.once.require_box=false"]
ONCE += ["verifiers.once.pattern='[^7]*7[^7]*'"]
RASH = ["trainer.lr=0.05"]
CONTROLLED = [
    *RASH,
    "controller.enabled=true",
    "controller.every=2",
    "checkpoint.every=100",
    "controller.actions.entropy_collapse=lower_lr",
]
STAGED: dict[str, list[str]] = {
    "rash": [*RASH, "trainer.steps=20"],
    "cut": ["rollout.max_tokens=3"],
    "impossible": MATH,
    "hacked": [
        *SEVEN,
        *ONCE,
        "diagnosis.second_verifier=once",
        "diagnosis.second_share=1",
        "trainer.lr=5e-3",
        "trainer.steps=30",
    ],
    "slow": ["trainer.steps=11"],
    "controlled": [*CONTROLLED, "trainer.steps=12"],
    "halved": [*CONTROLLED, "trainer.steps=9"],
    "resumed": [*CONTROLLED, "trainer.steps=12"],  # continues `halved`
}


def slowed(generate: Any, after: int) -> Any:
    """An engine that from some step on takes two seconds more."""
    calls = iter(range(10**6))

    def wrapped(self: HFEngine, *args: Any) -> Iterator[Any]:
        if next(calls) >= after:
            time.sleep(2.0)
        yield from generate(self, *args)

    return wrapped


def main(folder: Path, names: list[str]) -> None:
    path = folder / "recipe.yaml"
    path.write_text(RECIPE)
    plain = HFEngine.generate
    plots.curves = lambda out: None  # type: ignore[assignment]  # half the time of such a run
    for name in names:
        out = folder / ("halved" if name == "resumed" else name)
        recipe = compose.load(str(path), [*SHORT, f"out={out}", *STAGED[name]], "train")
        HFEngine.generate = slowed(plain, 7) if name == "slow" else plain  # type: ignore[method-assign]
        rl(recipe, sys.stdout)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
