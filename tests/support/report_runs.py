"""Runs as `rlvr report` reads them, made without training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

PROBLEMS = 40


def make(
    folder: Path, name: str, lr: float, seed: int, right: list[float], steps: int = 6, **recipe: Any
) -> Path:
    """A run whose problem n is right in a share of `right[n]` of four samples, with a rising reward."""
    out = folder / name
    (out / "eval").mkdir(parents=True)
    tree = {
        "name": name,
        "algorithm": {"name": "grpo"},
        "trainer": {"lr": lr, "steps": steps},
        "seed": seed,
    } | recipe
    (out / "recipe.yaml").write_text(yaml.safe_dump(tree))
    mean = float(np.mean(right))
    rows: list[dict[str, Any]] = [
        {"step": n, "time": 1.0, "reward/mean": 0.1 * n + seed / 100, "timing_s/step": 2.0}
        for n in range(1, steps + 1)
    ]
    rows.append({"step": steps, "event": "eval", "bench": "sums", "eval/sums/avg@4": mean})
    rows[-1] |= {"eval/sums/ci95_low": mean - 0.1, "eval/sums/ci95_high": mean + 0.1}
    (out / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = {"step": 3, "time": 3.0, "kind": "diagnosis", "message": f"of seed {seed}"}
    (out / "events.jsonl").write_text(json.dumps(found) + "\n")
    problems = []
    for number, share in enumerate(right):
        correct = [each < round(4 * share) for each in range(4)]
        problem = {"index": number, "id": f"p{number}", "answer": "7", "prompt": "?", "correct": correct}
        problem |= {"scores": list(map(float, correct)), "extracted": ["7"] * 4, "reasons": ["wrong"] * 4}
        problem |= {"details": [""] * 4, "lengths": [1] * 4, "truncated": [False] * 4, "responses": [""] * 4}
        problems.append(problem)
    result = {
        "bench": "sums",
        "summary": {},
        "protocol": {"k": 4},
        "source": {},
        "verifier": {"name": "math"},
    }
    (out / "eval" / "sums.json").write_text(json.dumps(result | {"step": steps, "problems": problems}))
    return out
