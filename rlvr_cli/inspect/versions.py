"""The weights of a run as there were: the start model, those of its checkpoints, and what it exported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from rlvr_cli.checkpoints import manifest
from rlvr_cli.core.errors import UserError
from rlvr_cli.engine.model import load_model
from rlvr_cli.schema import Model, Precision, Recipe

Load = Callable[[], Any]
"""Makes a transformers model in fp32 on the CPU."""


def model_of(run: Path, recipe: Recipe) -> Model:
    """The start model, and transformers' own attention, which takes padded rows."""
    start = str(run / "start") if recipe.model.path.startswith("builtin:") else recipe.model.path
    return replace(recipe.model, path=start, attention="sdpa", gradient_checkpointing=False)


def versions(run: Path, recipe: Recipe) -> dict[int, Load]:
    """Finished steps -> weights after them, those that are on the disk; 0 is the start model."""
    model = model_of(run, recipe)
    found: dict[int, Load] = {0: partial(load_model, model, Precision.fp32)}
    for step in manifest.steps(run / "checkpoints"):
        found[step] = partial(_of_checkpoint, run / "checkpoints" / f"step_{step}", model)
    if (run / "final" / "config.json").is_file():
        bare = replace(model, path=str(run / "final"), lora=replace(model.lora, rank=0))
        found.setdefault(recipe.trainer.steps, partial(load_model, bare, Precision.fp32))
    return found


@torch.no_grad()
def _of_checkpoint(folder: Path, model: Model) -> Any:
    """The start model with the fp32 weights that the checkpoint's trainer had."""
    from rlvr_cli.engine.universal import Saved  # DeepSpeed says things when it is imported

    hf: Any = load_model(model, Precision.fp32)
    trained = {f"model.{name}": p for name, p in hf.named_parameters() if p.requires_grad}
    try:
        saved = Saved(folder / "trainer")
        saved.open({name: parameter.numel() for name, parameter in trained.items()})
    except (FileNotFoundError, RuntimeError) as error:
        raise UserError(f"{folder} cannot be read: {error}") from error
    for name, parameter in trained.items():
        parameter.copy_(saved.part(name, "fp32", 0, parameter.numel()).reshape(parameter.shape))
    return hf
