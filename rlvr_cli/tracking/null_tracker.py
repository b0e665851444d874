"""The tracker of every rank but the first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self


class NullTracker:
    """Takes what a Tracker takes and does nothing with it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        pass

    def header(self, *details: Any) -> None:
        pass

    def table(self, *details: Any) -> None:
        pass

    def phase(self, name: str) -> None:
        pass

    def progress(self, name: str) -> Callable[[int, int], None]:
        return lambda done, total: None

    def step(self, *details: Any) -> None:
        pass

    def evaluation(self, *details: Any) -> None:
        pass

    def event(self, *details: Any, **fields: Any) -> None:
        pass

    def gradient(self, *details: Any) -> None:
        pass

    def disputed(self, step: int, rows: list[dict[str, Any]]) -> None:
        pass

    def resume_at(self, step: int | None) -> None:
        pass

    def close(self, status: str) -> None:
        pass
