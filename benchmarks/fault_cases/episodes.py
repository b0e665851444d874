"""Episodes: an environment that fails, and tools that do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fault_cases import Place, case, plugin

FAILED = r"environments\.game failed|environment failed in"


def referee(fails: str) -> list[str]:
    """The healthy run's problems, played with an environment of one turn."""
    return [
        plugin("referee"),
        f"+environments.game={{name: referee, fails: {fails}, step_s: 1}}",
        "data.train.environment=game",
    ]


@case("the environment's server is gone for a third of the episodes", FAILED)
def failing_environment(place: Place) -> list[str]:
    return referee("gone")


@case("the environment answers too late in a third of the episodes", FAILED)
def late_environment(place: Place) -> list[str]:
    return referee("late")


@case("the environment's process dies in a third of the episodes", FAILED)
def dying_environment(place: Place) -> list[str]:
    return referee("dies")


def caller(place: Place) -> Path:
    return place.folder.parent / "caller"


@contextmanager
def trained_caller(place: Place) -> Iterator[None]:
    """A model that calls a calculator one time in ten and reads what it returns; made once."""
    if not ((out := caller(place)) / "final").is_dir():
        words = ["sft", "tiny_calculator_sft", "trainer.steps=300", f"out={out}", "tracker.wandb=disabled"]
        command = [sys.executable, "-m", "rlvr_cli", *words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield


def calculator(place: Place, body: str) -> list[str]:
    """Products of three-digit numbers with a tool whose body this is."""
    lines = (
        "def multiply(product: str) -> int:\n"
        '    """Multiply whole numbers.\n\n    Args:\n        product: As it is written: 347*582.\n    """\n'
        f"    {body}\n"
    )
    tool = place.write("tools.py", lines)
    keys = f"functions: ['{tool}'], syntax: tags, tags: {{multiply: c}}, result_tag: r, max_turns: 3"
    return [
        "data@data.train=product",
        f"+environments.calculator={{name: tools, {keys}}}",
        "data.train.environment=calculator",
        f"model.path={caller(place)}",
        "rollout.max_prompt_tokens=8",
        "rollout.max_tokens=50",
    ]


@case("the server behind a tool is down", r"tool calls .*answered with an error", around=trained_caller)
def failing_tool(place: Place) -> list[str]:
    return calculator(place, "raise ConnectionError('[Errno 111] Connection refused: http://127.0.0.1:9999')")
