"""Faults by name: each breaks one thing of a healthy tiny run and says which sentence must come of it.

A case is a function of a `Place` that writes what is broken and returns overrides of the healthy recipe.
What must be broken in the ranks themselves is a plugin of `broken/`. Each file holds the cases of one part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

BROKEN = Path(__file__).with_name("broken")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a case breaks something."""

    folder: Path
    """Of the case, empty at first; the run is in `run` within it."""
    model: Path
    """The start model: a run of `rlvr sft`."""

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path


Break = Callable[[Place], list[str]]
Around = Callable[[Place], AbstractContextManager[None]]


def nothing(place: Place) -> AbstractContextManager[None]:
    """Nothing is needed around the run."""
    return nullcontext()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    name: str
    pain: str
    """What is broken, in a user's words."""
    said: str
    """Regular expression of the sentence that must be said: its evidence, or what it says to do."""
    begins: int
    """Finished steps after which the fault is there; 0: from the first."""
    make: Break
    around: Around


CASES: dict[str, Case] = {}
"""In the order of the table; `every` fills it."""


def case(pain: str, said: str, *, begins: int = 0, around: Around = nothing) -> Callable[[Break], Break]:
    """Make a function a case under its own name."""

    def register(make: Break) -> Break:
        name = make.__name__
        CASES[name] = Case(name=name, pain=pain, said=said, begins=begins, make=make, around=around)
        return make

    return register


def plugin(name: str) -> str:
    """The override that breaks the ranks by a file of `broken/`."""
    return f"plugins=[{BROKEN / name}.py]"


def every() -> Iterator[Case]:
    from fault_cases import data, engine, episodes, learning, machine, prompts, verifying  # each fills CASES

    assert all((data, engine, episodes, learning, machine, prompts, verifying))
    yield from CASES.values()
