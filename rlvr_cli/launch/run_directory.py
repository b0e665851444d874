"""The run directory at start: what is in it already, and whether it is the same run."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

from rlvr_cli import compose
from rlvr_cli.checkpoints import manifest
from rlvr_cli.checkpoints.recipe_changes import code_differences, completed, differences
from rlvr_cli.compose.files import load_yaml
from rlvr_cli.core import recorded_code
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.files import write_atomically
from rlvr_cli.launch import directory_lock
from rlvr_cli.launch.directory_lock import writable
from rlvr_cli.launch.started_code import code_of
from rlvr_cli.schema import EvalRecipe, ExperienceRecipe, ProfileRecipe, Recipe, Resume, SFTRecipe


def prepare(recipe: compose.AnyRecipe, out: Path) -> str:
    """Check that `out` is new or holds this same run, write recipe and code; returns what will happen."""
    before, codes = out / "recipe.yaml", code_of(recipe)
    if isinstance(recipe, EvalRecipe):  # results of earlier evaluations stay beside the new ones
        _record_beside_results(out, codes)
        compose.save(recipe, before)
        doing = "profiling" if isinstance(recipe, ProfileRecipe) else "evaluating"
        if isinstance(recipe, ExperienceRecipe):
            doing = "learning experiences for"
        return f"{doing} {recipe.model.path}"
    manifest.recover(out / "checkpoints")
    steps = manifest.steps(out / "checkpoints")
    if recipe.resume is Resume.never and (steps or before.is_file()):
        raise UserError(f"{out} holds a run and resume=never; set name= or out= for a new one")
    if steps:
        news = _continue(recipe, before, codes)
    else:
        news = f"starting {out}"
        if before.is_file():
            with writable(out):
                aside = _set_aside(out)
            news += f" (files of a run that left no checkpoint are in {aside})"
        elif set(os.listdir(out)) - {directory_lock.NAME, "logs"}:
            raise UserError(f"{out} is not empty and not a run directory; set out= to another one")
    # How to resume is said each time: left in the file, it would also hold for the starts to come.
    with writable(out):
        recorded_code.record(out, codes)
        compose.save(replace(recipe, resume=Resume.auto), before)
    return news


def _record_beside_results(out: Path, codes: list[recorded_code.Code]) -> None:
    """The code of an evaluation. That of another one, whose results stay, is put aside under its own sum."""
    earlier = recorded_code.recorded(out)
    if earlier and codes and [code.sha256 for code in earlier] != [code.sha256 for code in codes]:
        both = recorded_code.digest({code.key: code.sha256.encode() for code in earlier})
        recorded_code.keep(out, both[:12])
    if codes:
        recorded_code.record(out, codes)


def finished(recipe: compose.AnyRecipe, out: Path) -> str | None:
    """What is said of a run that this same recipe has ended and that has left its model; else None."""
    before = out / "recipe.yaml"
    if isinstance(recipe, EvalRecipe) or recipe.resume is Resume.never:
        return None
    if not before.is_file() or not (out / "final").is_dir():
        return None
    recipe = replace(recipe, resume=Resume.auto)
    now = compose.plain(recipe)
    same = completed(load_yaml(before), now, recipe) == now
    steps = manifest.steps(out / "checkpoints")
    if not same or not steps or _newest(out / "checkpoints")[0] < recipe.trainer.steps:
        return None
    said = f"{out} is finished ({recipe.trainer.steps} steps), its model is {out / 'final'}"
    if changed := _other_code(out, code_of(recipe)):
        kept = out / recorded_code.FOLDER
        said += f", run with code that has changed since: {', '.join(changed)}; that code is in {kept}"
    return f"{said}; to go on, raise trainer.steps; for a new run, set name= or out="


def _continue(recipe: Recipe | SFTRecipe, before: Path, codes: list[recorded_code.Code]) -> str:
    """Refuse another recipe than that of the run, or keep the old one if that is wanted."""
    out = before.parent
    if not before.is_file():
        raise UserError(f"{out} has checkpoints but no recipe.yaml; set out= to a new directory")
    step, begun = _newest(out / "checkpoints")
    new = compose.plain(recipe)
    was = {code.key: code.sha256 for code in recorded_code.recorded(out)}
    moved = {code.key for code in codes if was.get(code.key) == code.sha256}  # the same, wherever it lies
    other_code = _other_code(out, codes)
    old = completed(load_yaml(before), new, recipe)
    differing = differences(old, new, step, begun, moved) + other_code
    if not differing:
        return f"continuing {out}"
    if recipe.resume is not Resume.changed:
        raise UserError(
            f"{out} holds a run with another recipe: {', '.join(differing)}; set name= or out= for "
            f"a new run, use the old values to continue it, or add resume=changed to continue it with the new"
        )
    kept = out / f"recipe.{step}.yaml"
    with writable(out):
        write_atomically(kept, before.read_bytes())
        if other_code:
            recorded_code.keep(out, f"{step}")
    return f"continuing {out} with another recipe: {', '.join(differing)}; the old one is in {kept}"


def _other_code(out: Path, codes: list[recorded_code.Code]) -> list[str]:
    """What of the code is another than the run was started with."""
    was, is_ = ({code.key: code.sha256 for code in each} for each in (recorded_code.recorded(out), codes))
    return code_differences(was, is_)


def _newest(checkpoints: Path) -> tuple[int, int]:
    """Step of the newest checkpoint that is not plainly damaged, and how many stages had begun there.

    The ranks look at every byte later on. An older checkpoint than this one only has fewer stages begun.
    """
    steps = manifest.steps(checkpoints)
    for step in steps:
        folder = checkpoints / f"step_{step}"
        if manifest.wrong(folder, only=["state.json"]) is None:
            saved = json.loads((folder / "state.json").read_text())
            return step, int(saved.get("loop", {}).get("stage", 0))
    return steps[0], 0


def _set_aside(out: Path) -> Path:
    number = 1
    while (out / f"attempt_{number}").exists():
        number += 1
    aside = out / f"attempt_{number}"
    aside.mkdir()
    for path in list(out.iterdir()):
        if path.name != directory_lock.NAME and not path.name.startswith("attempt_"):
            path.rename(aside / path.name)
    return aside
