"""A task set in the first form of the package verifiers; also runs with the entry points in fake/."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import verifiers as vf
from datasets import Dataset


def right(completion: Any, answer: str, **_: Any) -> float:
    return float(completion[-1]["content"].strip() == answer)


async def odd(completion: Any, info: Any, **_: Any) -> float:
    """Of tasks that are to go wrong."""
    fault = info["fault"]
    if fault == "hangs":
        await asyncio.sleep(3600)
    elif fault == "blocks":
        time.sleep(3600)
    elif fault == "exits":
        os._exit(3)
    return 0.5


def load_environment(tasks: int = 3, faults: tuple[str, ...] = ()) -> Any:
    print("this is no answer")
    rows = [
        {"prompt": [{"role": "user", "content": f"{n}+{n}"}], "answer": str(2 * n), "info": {"fault": fault}}
        for n, fault in enumerate([*[""] * tasks, *faults])
    ]
    rubric = vf.Rubric(funcs=[right, odd], weights=[1.0, 0.0])
    return vf.SingleTurnEnv(dataset=Dataset.from_list(rows), rubric=rubric)
