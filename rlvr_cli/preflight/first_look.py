"""Whether data, verifiers and model of a run are new here: no run beside it has had a look at them.

The record is the `preflight.json` of the runs in the same folder, and nothing else.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rlvr_cli.core.model_paths import BUILT_IN
from rlvr_cli.schema import Recipe

MADE = BUILT_IN
"""Models that are made at random and know nothing: there is no need to look."""
REPORT = "preflight.json"


def is_new(recipe: Recipe) -> bool:
    """Whether no run beside `recipe.out` has passed a preflight of the same problems, verifiers and model."""
    if recipe.model.path in MADE:
        return False
    mark = fingerprint(recipe)
    return not any(_passed(path, mark) for path in sorted(Path(recipe.out).parent.glob(f"*/{REPORT}")))


def _passed(path: Path, mark: str) -> bool:
    try:
        report = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(report, dict) and report.get("fingerprint") == mark and report.get("passed") is True


def fingerprint(recipe: Recipe) -> str:
    """Of what decides what the start model makes of the problems: files by their size and time, not by what
    is in them."""
    rollout = recipe.rollout
    content = {
        "data": {
            name: asdict(source) | {"files": _files(source.path)} for name, source in recipe.data.items()
        },
        "verifiers": {name: asdict(verifier) for name, verifier in recipe.verifiers.items()},
        "environments": {name: asdict(each) for name, each in recipe.environments.items()},
        "model": recipe.model.path,
        "sampling": [rollout.max_tokens, rollout.temperature, rollout.top_p, list(rollout.stop)],
    }
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _files(given: str) -> list[Any]:
    path = Path(given).expanduser()
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    found = [(file.name, file.stat()) for file in files if file.is_file()]
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in found]
