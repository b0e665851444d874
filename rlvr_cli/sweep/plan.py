"""Recipe and lists of values -> the runs of a sweep, each checked before the first one starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlvr_cli import compose
from rlvr_cli.checkpoints import manifest
from rlvr_cli.checkpoints.recipe_changes import completed, differences
from rlvr_cli.compose.checks import LONGEST_NAME
from rlvr_cli.compose.files import load_yaml
from rlvr_cli.compose.sweep import Grid, grid
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.lock_owner import in_use
from rlvr_cli.core.sweep_files import INDEX
from rlvr_cli.launch import directory_lock, run_directory, start
from rlvr_cli.schema import ExperienceRecipe, Recipe, Resume, SFTRecipe
from rlvr_cli.sweep import names
from rlvr_cli.sweep.index import Entry, Index, read

RECIPES, LOGS = "recipes", "logs"
"""Folders of a sweep: the resolved recipe of each run, and what its command printed."""


@dataclass(slots=True, kw_only=True)
class Planned:
    """A run of the grid, with its recipe."""

    entry: Entry
    recipe: Recipe | SFTRecipe
    out: Path


@dataclass(slots=True, kw_only=True)
class Sweep:
    folder: Path
    index: Index
    """With the runs of earlier grids too."""
    runs: list[Planned]
    """Those of the grid."""
    news: list[str]
    """What is worth saying about what was there already."""

    def recipe_of(self, run: Planned) -> Path:
        return self.folder / RECIPES / f"{run.entry.name}.yaml"

    def log_of(self, run: Planned) -> Path:
        return self.folder / LOGS / f"{run.entry.name}.log"

    def write(self) -> None:
        """The folder's files, once nothing can be wrong any more."""
        for run in self.runs:
            compose.save(run.recipe, self.recipe_of(run))
        (self.folder / LOGS).mkdir(exist_ok=True)
        self.index.write(self.folder)


def plan(recipe: str, overrides: list[str]) -> Sweep:
    """UserError for the first thing that is wrong with any of the runs; writes nothing."""
    found = grid(overrides)
    if chosen := [axis.key for axis in found.axes if axis.key in ("name", "out", "resume")]:
        raise UserError(f"{chosen[0]}: each run has its own name and folder already; sweep over another key")
    combinations = found.runs()
    first = _load(recipe, found, combinations[0], [])
    given = any(text.startswith("out=") for text in found.fixed)
    folder = Path(first.out if given else f"{first.out}-sweep").expanduser()
    if (folder / "recipe.yaml").is_file():
        raise UserError(f"{folder} holds a run; set out= to another folder for the sweep")
    before = read(folder)
    entries = _entries(found, combinations, before, LONGEST_NAME - len(first.name) - 1)
    runs = []
    for entry, combination in zip(entries, combinations, strict=True):
        out = folder / entry.name
        own = [f"name={first.name}_{entry.name}", f"out={_quoted(out)}"]
        typed, _ = start.resolve(_load(recipe, found, combination, own))
        assert isinstance(typed, Recipe | SFTRecipe)
        runs.append(Planned(entry=entry, recipe=typed, out=out))
    for run in runs:
        look(run)
        _check_same(run)
    mine = {entry.name for entry in entries}
    earlier = [each for each in before.runs if each.name not in mine] if before else []
    for each in earlier:
        each.in_grid = False
    index = Index(
        recipe=recipe, overrides=found.fixed, runs=[*entries, *earlier], jobs=before.jobs if before else []
    )
    return Sweep(folder=folder, index=index, runs=runs, news=_news(folder, before, entries, earlier))


def _load(recipe: str, found: Grid, run: dict[str, int], own: list[str]) -> Recipe | SFTRecipe:
    mine = found.overrides(run)
    try:
        made = compose.load(recipe, [*found.fixed, *mine, *own])
    except UserError as error:
        raise UserError(f"the run with {', '.join(mine)}: {error}") from error
    if isinstance(made, ExperienceRecipe):
        raise UserError(f"a sweep trains, and {recipe} learns experiences: start its runs one by one")
    return made


def _quoted(path: Path) -> str:
    """As Hydra's text."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _entries(
    found: Grid, combinations: list[dict[str, int]], before: Index | None, longest: int
) -> list[Entry]:
    """What is known of a run stays: its folder, and how far it has come."""
    known = {tuple(sorted(entry.overrides)): entry for entry in before.runs} if before else {}
    values: list[dict[str, Any]] = [
        {axis.key: axis.values[run[axis.key]] for axis in found.axes} for run in combinations
    ]
    entries = []
    for run, typed, name in zip(combinations, values, names.names_of(values, longest), strict=True):
        mine = found.overrides(run)
        entry = known.get(tuple(sorted(mine))) or Entry(name=name, overrides=mine, values=typed)
        entry.in_grid = True
        entries.append(entry)
    return entries


def look(run: Planned) -> None:
    """Set the state of a run by what its folder holds."""
    entry = run.entry
    if in_use(run.out / directory_lock.NAME):
        entry.state = "running"
    elif run.out.is_dir() and run_directory.finished(run.recipe, run.out) is not None:
        entry.state, entry.cause = "finished", None
    elif entry.state != "failed":
        entry.state = "stopped" if (run.out / "recipe.yaml").is_file() else "not begun"


def _check_same(run: Planned) -> None:
    """What the run itself would refuse later on: other values than those it began with."""
    before, steps = run.out / "recipe.yaml", manifest.steps(run.out / "checkpoints")
    if not steps or not before.is_file() or run.recipe.resume is Resume.changed:
        return
    new = compose.plain(run.recipe)
    if changed := differences(completed(load_yaml(before), new, run.recipe), new, steps[0], 0):
        raise UserError(
            f"{run.out} holds a run with another recipe: {', '.join(changed)}; set out= for a new sweep, "
            "use the old values to continue this one, or add resume=changed to continue it with the new"
        )


def _news(folder: Path, before: Index | None, entries: list[Entry], earlier: list[Entry]) -> list[str]:
    if before is None:
        return []
    known = {entry.name for entry in before.runs}
    added = [entry for entry in entries if entry.name not in known]
    lines = []
    if added:
        lines.append(f"the grid has {len(added)} runs more than {folder / INDEX} knows: they are added")
    if earlier:
        lines.append(f"{len(earlier)} runs of an earlier grid stay as they are, and out of this one's report")
    failed = [entry.name for entry in entries if entry.state == "failed"]
    if failed:
        lines.append(f"tried again, as they failed before: {', '.join(failed)}")
    return lines
