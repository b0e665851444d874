"""What every verb that runs a model sets up first: the start model, the tracker, the header."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, TextIO

from rlvr_cli.engine import distributed
from rlvr_cli.engine.model import eos_ids
from rlvr_cli.engine.tiny import make_tiny
from rlvr_cli.plan import derive
from rlvr_cli.rollout import Engine, make_engine
from rlvr_cli.schema import EvalRecipe, Model, Precision, Recipe, Rollout, Server, SFTRecipe
from rlvr_cli.stop import Stop
from rlvr_cli.tracking import Tracker, write_environment
from rlvr_cli.tracking.silent import Silent

TINY = "builtin:tiny"


def local_model(model: Model, out: Path, seed: int) -> Model:
    """The model with a path that loads: `builtin:tiny` is first made in the run directory (by rank 0)."""
    if model.path != TINY:
        return model
    folder = out / "start"
    if distributed.rank() == 0 and not folder.exists():
        make_tiny(folder, model.tiny, seed)
    distributed.barrier()
    return replace(model, path=str(folder))


def open_tracker(
    recipe: Recipe | SFTRecipe, terminal: TextIO, *, kind: Literal["rl", "sft"]
) -> Tracker | Silent:
    """Rank 0's tracker, after writing environment.json; the other ranks' silent one."""
    if distributed.rank() != 0:
        return Silent()
    out = Path(recipe.out)
    write_environment(out, seed=recipe.seed, world_size=distributed.world_size())
    tracker = Tracker(
        recipe.tracker,
        out,
        terminal=terminal,
        total_steps=recipe.trainer.steps,
        run_name=recipe.name,
        recipe=asdict(recipe),
        kind=kind,
    )
    what = {"run": f"{recipe.name} ({recipe.algorithm.name})", "model": recipe.model.path}
    tracker.header(what | derive(recipe) | {"ranks": str(distributed.world_size())})
    return tracker


def tell_resume(tracker: Tracker | Silent, step: int, damaged: list[str], changed: list[str]) -> None:
    """Say where a run goes on: after its newest good checkpoint, whatever is wrong with newer ones."""
    for said in damaged:
        tracker.event("warning", f"a damaged checkpoint was set aside (renamed to .corrupt): {said}")
    if changed:
        tracker.event("recipe", f"changed after step {step}: {', '.join(changed)}", changes=changed)
    tracker.event("resume", f"continuing after step {step}")


def tell_stop(tracker: Tracker | Silent, step: int, stop: Stop, out: Path) -> None:
    tracker.event(
        "stop", f"stopped after step {step}{stop.reason}; to continue: rlvr train {out}/recipe.yaml"
    )


def default_precision() -> Precision:
    """What evaluation computes in where nobody says."""
    return Precision.bf16 if distributed.device().type == "cuda" else Precision.fp32


def start_engine(
    rollout: Rollout, model: Model, tokenizer: Any, seed: int, precision: Precision, positions: int
) -> Engine:
    """This rank's rollout engine, with room for `positions` tokens of prompt and response."""
    return make_engine(
        rollout,
        path=model.path,
        tokenizer=tokenizer,
        eos=eos_ids(model.path, tokenizer),
        seed=seed + distributed.rank(),
        precision=precision,
        max_model_len=positions,
        revision=model.revision,
        trust_remote_code=model.trust_remote_code,
        overrides=model.overrides,
    )


def start_server(server: Server, model: Model, tokenizer: Any) -> Engine:
    """The server that samples in the place of an engine; UserError when it cannot be reached."""
    from rlvr_cli.rollout.server import ServerEngine

    return ServerEngine(server, model=model.path, tokenizer=tokenizer)


def open_eval_tracker(recipe: EvalRecipe, out: Path, terminal: TextIO) -> Tracker | Silent:
    if distributed.rank() != 0:
        return Silent()
    return Tracker(
        recipe.tracker,
        out,
        terminal=terminal,
        total_steps=0,
        run_name=recipe.name,
        recipe=asdict(recipe),
        kind="eval",
    )
