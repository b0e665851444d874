"""Run as ranks by test_routing_runs.py: updates with and without routes, and runs with noisy routers."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ["DS_ACCELERATOR"] = "cpu"

import numpy as np
import torch
from deepspeed.utils import safe_get_full_grad
from engine_entries import make_batch, policy_objective
from run_helpers import RECIPE, comparable, steps_of
from safetensors.torch import load_file, save_file

from rlvr_cli import compose
from rlvr_cli.core import distributed
from rlvr_cli.core.routers import routers_of
from rlvr_cli.engine import process_group
from rlvr_cli.engine.trainer import Trainer
from rlvr_cli.sampling import start_model
from rlvr_cli.schema import Model, Precision, RoutingReplay
from rlvr_cli.schema import Trainer as Settings
from rlvr_cli.tracking import plots
from rlvr_cli.training.loop import rl

CASES: dict[str, tuple[int, Precision, dict[str, Any]]] = {
    **{f"zero {stage}": (stage, Precision.fp32, {}) for stage in range(4)},
    "bf16": (2, Precision.bf16, {}),
    "recomputed": (0, Precision.fp32, {"gradient_checkpointing": True}),
    "all of it": (3, Precision.bf16, {"attention": "sdpa", "gradient_checkpointing": True}),
}
RUNS = {
    "none": "none",
    "measure": "measure",
    "r2": "r2",
    "noise, measure": "measure",
    "noise, r3": "r3",
}
NOISE = 0.02


def updated(path: str, case: str) -> dict[str, Any]:
    """Whether an update without routes and one with the trainer's own are the same; one with others."""
    stage, precision, more = CASES[case]
    settings = Settings(zero_stage=stage, precision=precision, lr=0.1, eps=1.0)
    trainer = Trainer(
        Model(path=path, **more),
        settings,
        tokens_per_microbatch=64,
        max_grad_norm=0.0,
        routing=RoutingReplay.r3,
    )
    batch = make_batch()
    batch.owners = [n % distributed.world_size() for n in range(len(batch.sequences))]
    plain_N = trainer.score(batch.sequences, batch.trained, owners=batch.owners)[0]
    trainer.score(batch.sequences, batch.trained, owners=batch.owners, records=True)
    assert trainer.routing is not None
    own = trainer.routing.take_recorded(len(batch.sequences))
    others = [((rows + 1) % 8).astype(np.uint8) for rows in own]
    replayed_N = trainer.score(batch.sequences, batch.trained, owners=batch.owners, routes=own)[0]
    found: dict[str, Any] = {"logprobs": bool(torch.equal(plain_N, replayed_N))}
    gradients = {}
    for name, routes in (("plain", None), ("own", own), ("others", others)):
        trainer.routing.take_metrics()
        gradients[name], totals = gradient(trainer, replace(batch, routes=routes))
        found[name] = totals | trainer.routing.take_metrics()
    found["gradients"] = bool(torch.equal(gradients["plain"], gradients["own"]))
    found["size"] = float(gradients["plain"].norm())
    found["moved"] = float((gradients["others"] - gradients["own"]).norm())
    return found


def gradient(trainer: Trainer, batch: Any) -> tuple[torch.Tensor, dict[str, float]]:
    """Of an update that moves nothing: the whole gradient, flat, and what the update says."""
    step, seen = trainer._step, []

    def watched(norm: float) -> dict[str, float]:
        whole = (safe_get_full_grad(p) for p in trainer.engine.module.parameters())
        seen.append(torch.cat([g.double().flatten() for g in whole if g is not None]))
        return step(norm)

    trainer._step = watched  # type: ignore[method-assign]
    totals = trainer.update(batch, policy_objective, lr=0.0)
    trainer._step = step  # type: ignore[method-assign]
    return seen[0], {name: totals[name] for name in ("loss", "grad_norm")}


def unsure(model: Path, folder: Path) -> Path:
    """The mixture with routers that are less sure, and experts that say more: its choice matters."""
    shutil.copytree(model, folder)
    weights = load_file(model / "model.safetensors")
    for name, weight in weights.items():
        weight *= (
            0.25 if name.endswith("mlp.gate.weight") else 8.0 if name.endswith("down_proj.weight") else 1.0
        )
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def noisy(make: Callable[..., Any]) -> Callable[..., Any]:
    """Engines whose routers, and no other part, see a disturbed token."""

    def made(*given: Any, **named: Any) -> Any:
        engine = make(*given, **named)
        random = torch.Generator().manual_seed(0)

        def disturb(module: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
            hidden = args[0]
            return (hidden + NOISE * torch.randn(hidden.shape, generator=random).to(hidden), *args[1:])

        for router in routers_of(engine.model, "model"):
            router.module.register_forward_pre_hook(disturb)
        return engine

    return made


def run(model: str, recipe: Path, out: Path, name: str) -> list[dict[str, float]]:
    make = start_model.make_engine
    if name.startswith("noise"):
        start_model.make_engine = noisy(make)
    settings = [f"out={out}", f"model.path={model}", f"rollout.routing_replay={RUNS[name]}"]
    settings += [f"trainer.ranks={distributed.world_size()}", "rollout.probe_tolerance=20"]
    settings += ["tracker.tokens=true", "trainer.lr=1e-2", "trainer.steps=2"]
    made = compose.load(str(recipe), settings, "train")
    if distributed.rank() == 0:
        out.mkdir()
        compose.save(made, out / "recipe.yaml")
    distributed.barrier()
    try:
        with open(os.devnull, "w") as nowhere:
            rl(made, nowhere)
    finally:
        start_model.make_engine = make
    distributed.barrier()
    return [comparable(row) for row in steps_of(out)] if distributed.rank() == 0 else []


def main(model: str, out: Path) -> None:
    process_group.initialise()
    found: dict[str, Any] = {case: updated(model, case) for case in CASES}
    plots.curves = lambda out: None
    recipe = out / f"routing{distributed.rank()}.yaml"
    recipe.write_text(RECIPE)
    if distributed.rank() == 0:
        unsure(Path(model), out / "unsure")
    distributed.barrier()
    found |= {name: run(str(out / "unsure"), recipe, out / name.replace(", ", "_"), name) for name in RUNS}
    if distributed.rank() == 0:
        (out / "results.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
