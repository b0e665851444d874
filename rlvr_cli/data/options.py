"""What an option of a synthetic family may be."""

from __future__ import annotations

from typing import Any

from rlvr_cli.core.errors import UserError


def check(option: str, value: Any, low: int, high: int) -> None:
    """UserError where it is no whole number in the range."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise UserError(f"options.{option} is {value!r}; it must be a whole number from {low} to {high}")
