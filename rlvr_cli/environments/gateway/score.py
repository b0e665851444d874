"""What a program has earned: by what it returns, by a file it leaves, or by what it has posted."""

from __future__ import annotations

import json
import math
from enum import Enum
from pathlib import Path
from typing import Any

FILES = ("reward.json", "reward.txt")
NAMES = ("reward", "score")


class Score(Enum):
    returned = "returned"
    """What the function returns: a number, an object with `reward`, or nothing."""
    file = "file"
    """`reward.json` or `reward.txt` in its folder."""
    posted = "posted"
    """What it sends to `set_reward`; 0 where it sends nothing."""
    verifier = "verifier"
    """None: verifiers judge the episode's last turn."""


class Failed(Enum):
    crash = "crash"
    """There is no verdict."""
    zero = "zero"
    """The episode has earned 0."""


class NoScore(ValueError):
    """It is none; says why, in a line."""


def of_value(value: Any) -> tuple[float | None, dict[str, float]]:
    """Reward and measures of what a function returns, or a file holds."""
    if value is None:
        return None, {}
    if not isinstance(value, dict):
        return _number(value), {}
    name = next((name for name in NAMES if name in value), None)
    if name is None:
        raise NoScore(f"an object without {' or '.join(NAMES)}: its keys are {', '.join(map(str, value))}")
    reward = value[name]
    measures = {
        str(key): float(each)
        for key, each in value.items()
        if key != name and isinstance(each, bool | int | float) and math.isfinite(each)
    }
    return None if reward is None else _number(reward), measures


def of_files(folder: Path) -> tuple[float | None, dict[str, float]]:
    """Of what a program has left."""
    path = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if path is None:
        raise NoScore(f"the program has left no {' or '.join(FILES)}")
    try:
        text = path.read_text()
        return of_value(json.loads(text) if path.suffix == ".json" else float(text))
    except NoScore as error:
        raise NoScore(f"{path.name} holds {error}") from None
    except (ValueError, OSError, RecursionError) as error:
        raise NoScore(f"{path.name} cannot be read: {' '.join(str(error).split())}") from None


def _number(value: Any) -> float:
    if not isinstance(value, bool | int | float) or not math.isfinite(value):
        raise NoScore(f"{str(value)[:40]!r}, which is no finite number")
    return float(value)
