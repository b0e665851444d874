"""What an algorithm remembers between steps, for checkpoints (plain numbers, lists and dicts)."""

from __future__ import annotations

from typing import Any

from rlvr_cli.algorithms import AXES, Algorithm


def algorithm_state(algorithm: Algorithm) -> dict[str, Any]:
    """Axis -> state of its option, for the options that have one."""
    chosen = {axis: getattr(algorithm, axis) for axis in AXES}
    return {axis: part.state() for axis, part in chosen.items() if hasattr(part, "state")}


def load_algorithm_state(algorithm: Algorithm, states: dict[str, Any]) -> None:
    """Inverse of algorithm_state; an axis whose option was changed since is left fresh."""
    for axis, state in states.items():
        part = getattr(algorithm, axis)
        if hasattr(part, "load"):
            part.load(state)
