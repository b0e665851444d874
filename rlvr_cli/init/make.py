"""Data and model -> the text of a recipe, which is composed and looked at before anybody gets it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rlvr_cli import compose
from rlvr_cli.core.files import write_atomically
from rlvr_cli.dry_run.look import look
from rlvr_cli.init import recipe_text
from rlvr_cli.init.golds import accepted
from rlvr_cli.init.machine import gpus_and_memory
from rlvr_cli.init.model import model_facts
from rlvr_cli.init.reward import described, settings_of
from rlvr_cli.init.rows import read_rows
from rlvr_cli.init.sizes import sizes_of
from rlvr_cli.init.task import task_of
from rlvr_cli.launch.start import resolve


@dataclass(kw_only=True)
class Made:
    text: str
    verb: str
    bench: str
    name: str
    lines: list[str]
    """What was found, for the terminal."""


def make(
    data: str, model: str, target: Path, *, task: str | None, reward: str | None, columns: dict[str, str]
) -> Made:
    """A recipe for `target`, which nothing is written to. UserError where the rows or the model cannot be
    trained on."""
    facts = model_facts(model)
    rows = read_rows(data, columns)
    chosen = task_of(rows, task, settings_of(reward) if reward is not None else None)
    how = described(chosen.verifier) if reward is not None else ""
    golds = accepted(rows, chosen) if chosen.verifier and reward is None else None
    sizes = sizes_of(rows, facts, chosen, *gpus_and_memory())
    name = re.sub(r"[^\w.+-]", "_", target.stem)
    text = recipe_text.text_of(name, rows, facts, chosen, sizes, golds, how)
    lines = [
        f"data    {data}: {recipe_text.counted(rows)}",
        f"task    {chosen.name}: {chosen.why}" + (f"; {golds.said}" if golds else ""),
        *([f"reward  {how}"] if how else []),
        f"model   {model}: {facts.said}",
        *([f"memory  {sizes.memory}"] if sizes.memory else []),
    ]
    key = recipe_text.key_of(data)
    return Made(text=text, verb="grpo" if chosen.verifier else "sft", bench=key, name=name, lines=lines)


def write(made: Made, target: Path) -> Iterator[str]:
    """Write the recipe where it composes and its world is there; UserError, and nothing left, where not.
    Warnings."""
    write_atomically(target, made.text)
    try:
        recipe = compose.load(str(target), [])
        found = look(resolve(recipe)[0])
    except BaseException:
        target.unlink()
        raise
    yield from found.warnings
