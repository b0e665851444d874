"""The scripted server of examples/experience, a recipe that asks it, and runs of it in this process."""

from __future__ import annotations

import importlib.util
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from places import ROOT

from rlvr_cli import compose
from rlvr_cli.schema import ExperienceRecipe

HERE = ROOT / "examples" / "experience"
_spec = importlib.util.spec_from_file_location("experience_server", HERE / "server.py")
assert _spec is not None and _spec.loader is not None
scripted: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(scripted)


@contextmanager
def served() -> Iterator[Any]:
    """A server, `Scripted`; what it is asked stands in `asked`."""
    server = scripted.Scripted()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@cache
def composed(overrides: tuple[str, ...]) -> ExperienceRecipe:
    made = compose.load(str(HERE / "recipe.yaml"), ["+data.train.options.size=64", *overrides], "experience")
    assert isinstance(made, ExperienceRecipe)
    return made


def recipe_of(server: Any, out: Path, *overrides: str) -> ExperienceRecipe:
    """The example's recipe with this server and folder."""
    made = composed(overrides)
    return replace(made, out=str(out), server=replace(made.server, url=server.url))


def run(
    recipe: ExperienceRecipe, pool: Any, tracker: Any = None, stop: Callable[[], bool] = lambda: False
) -> bool:
    """Learn, in this process, with a pool that others use too."""
    from rlvr_cli.experience.learn import learned
    from rlvr_cli.tracking.null_tracker import NullTracker

    return learned(recipe, NullTracker() if tracker is None else tracker, pool, stop)


def shown(recipe: ExperienceRecipe) -> tuple[bool, str]:
    """As `rlvr experience` runs it, and what it says."""
    from rlvr_cli.experience.learn import learn

    terminal = io.StringIO()
    return learn(recipe, terminal), terminal.getvalue()
