"""Run as one or more ranks by test_teacher.py: updates with a teacher beside the policy, results as JSON."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ["DS_ACCELERATOR"] = "cpu"

import numpy as np
import torch
from engine_entries import apart, make_batch, make_trainer
from f1 import algorithm, make

from rlvr_cli.algorithms.objective import teacher_loss
from rlvr_cli.core import distributed
from rlvr_cli.core.types import Batch
from rlvr_cli.engine import logprobs, process_group
from rlvr_cli.engine.teacher import Average, Teacher
from rlvr_cli.schema import Model
from rlvr_cli.tracking import Timer
from rlvr_cli.training.teaching import Lessons

KINDS = ("forward", "reverse", "jensen_shannon")


def distilled(**values: Any) -> Any:
    from rlvr_cli.algorithms.divergence import Kind

    values = {"divergence": Kind(values.pop("divergence", "reverse"))} | values
    return algorithm(distillation=make("distillation", "loss", **values))


def lesson_batch(prompts: bool = False) -> Batch:
    """Every token has a teacher; with other prompts, those of every third sequence have none."""
    batch = make_batch()
    weights_N = batch.weights_N.clone()
    if not prompts:
        return replace(batch, teacher_weights_N=weights_N)
    rng = np.random.default_rng(5)
    other = [None if i % 3 == 0 else rng.integers(4, 90, size=2 + i).astype(np.int32) for i in range(12)]
    has_N = torch.tensor([p is not None for p in other]).repeat_interleave(torch.tensor(batch.lengths_B))
    return replace(batch, teacher_weights_N=weights_N * has_N, teacher_prompts=other)


def objective(of: Any, logprobs_n: Any, entropies_n: Any, hits_n: Any, *rest: Any) -> Any:
    """The teacher's part alone."""
    *compared, at = rest
    return teacher_loss(
        of,
        compared,
        new_N=logprobs_n,
        old_N=None,
        rollout_N=None,
        teacher_N=None,
        weights_N=at["teacher_weights"],
        lengths_B=at["lengths"],
    )


def step(
    path: str,
    teacher: str,
    stage: int,
    *,
    prompts: bool = False,
    owned: bool = False,
    budget: int = 64,
    elements: int | None = None,
    shift: bool = False,
    live: bool = False,
    **values: Any,
) -> dict[str, Any]:
    """Loss, metrics and the weights after one update."""
    trainer, of = make_trainer(path, stage, budget), distilled(**values)
    trainer.temperature = 0.9
    model = Teacher(Model(path=teacher), trainer, load=not live, live=live)
    if shift:
        read = model.read

        def shifted(*arguments: Any, **more: Any) -> Any:
            states = read(*arguments, **more)
            return replace(states, hidden_nD=states.hidden_nD.roll(1, 0))

        model.read = shifted  # type: ignore[method-assign]
    batch, before = lesson_batch(prompts), logprobs.here
    if owned:
        batch = apart(batch, [i % distributed.world_size() for i in range(12)])
    lessons = Lessons(model, of.distillation, vocabulary=trainer.vocabulary, room=10**6)
    logprobs.here = before if elements is None else lambda: elements
    try:
        with lessons.beside(trainer, batch, Timer()):
            totals = trainer.update(batch, lambda *scores: objective(of, *scores), lr=0.1)
    finally:
        logprobs.here = before
    weights = {name: float(w.double().square().sum()) for name, w in trainer.weights()}
    return {"totals": totals, "weights": weights, "tokens": lessons.tokens}


def average(path: str, stage: int, out: Path) -> dict[str, Any]:
    """A teacher that follows: its weights against a share of the policy's, and what a checkpoint brings
    back."""
    trainer = make_trainer(path, stage)
    teacher = Average(Model(path=path), trainer, 0.25)
    start = {name: w.double().clone() for name, w in trainer.weights()}
    batch = lesson_batch()

    def fit(*scores: Any) -> Any:
        return -(scores[0] * scores[-1]["weights"]).sum(), {}

    trainer.update(batch, fit, lr=0.1)
    teacher.follow()
    wanted = {name: 0.75 * start[name] + 0.25 * w.double() for name, w in trainer.weights()}
    kept, file = teacher.snapshot(), out / f"teacher{stage}.pt"
    moved = teacher.logprobs(batch.sequences, batch.trained)
    if distributed.rank() == 0:
        torch.save(kept, file)
    distributed.barrier()
    again = Average(Model(path=path), trainer, 0.25)
    again.load(file)
    gap = (
        max((float((kept[n].double() - w).abs().max()) for n, w in wanted.items()), default=0.0)
        if kept
        else 0.0
    )
    same = again.logprobs(batch.sequences, batch.trained)
    off = max(float((wanted[n] - start[n]).abs().max()) for n in wanted)
    return {"gap": gap, "restored": bool((same == moved).all()), "moved": off}


def main(path: str, out: Path, teacher: str) -> None:
    process_group.initialise(60)
    results: dict[str, Any] = {}
    for stage in (0, 2, 3):
        for kind in ("reverse",) if stage == 2 else KINDS:
            results[f"{kind} {stage}"] = step(path, teacher, stage, divergence=kind)
        results[f"prompts {stage}"] = step(path, teacher, stage, prompts=True, owned=True)
    for stage in (0, 3):
        results[f"chunks {stage}"] = step(path, teacher, stage, elements=4 * 7 * 100)
        results[f"micro {stage}"] = step(path, teacher, stage, budget=10_000)
        results[f"top {stage}"] = step(path, teacher, stage, divergence="forward", top_k=5)
        results[f"all tokens {stage}"] = step(path, teacher, stage, divergence="forward", top_k=10_000)
        results[f"same {stage}"] = step(path, path, stage)
        results[f"live {stage}"] = step(path, path, stage, live=True)
        results[f"average {stage}"] = average(path, stage, out)
    results["live with prompts"] = step(path, path, 3, live=True, prompts=True, owned=True)
    results["shifted"] = step(path, path, 0, shift=True)
    if distributed.rank() == 0:
        (out / "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
