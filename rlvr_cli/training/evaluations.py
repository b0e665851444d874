"""Evaluations within a run, and the best of its policies."""

from __future__ import annotations

from typing import Any

from rlvr_cli.core import distributed
from rlvr_cli.engine.model import export
from rlvr_cli.evaluation.bench import (
    disputed_rows,
    prompt_limit,
    questions,
    run_bench,
    shortfalls,
    unjudged,
)
from rlvr_cli.evaluation.outputs import write_result
from rlvr_cli.evaluation.stored_results import shares_right
from rlvr_cli.training.diagnose import diagnose
from rlvr_cli.training.parts import Parts
from rlvr_cli.training.resets import observe_validation
from rlvr_cli.training.resume import save
from rlvr_cli.training.stop import NoVerdict
from rlvr_cli.training.weight_sync import trainer_awake
from rlvr_cli.vision.gallery import FOLDER, Gallery
from rlvr_cli.vision.processor import processor_of


def evaluation_due(parts: Parts) -> bool:
    """Also after a resume, when the run was stopped before this step's evaluation was done."""
    due = parts.recipe.eval.at_start if parts.step == 0 else parts.due(parts.recipe.eval.every)
    return due and parts.state["evaluated"] != parts.step


def evaluate_benches(parts: Parts) -> None:
    """Run every bench of the recipe on the current policy; all ranks must call it.

    NoVerdict where one has no score: after a resume it is evaluated again.
    """
    if parts.ahead is not None:
        parts.ahead.pause()
    lost: list[str] = []
    folder = parts.out / "eval"
    gallery = Gallery(folder / FOLDER, parts.recipe.tracker.images, processor_of(parts.tokenizer))
    for name, bench in parts.recipe.eval.benches.items():
        limit, first = prompt_limit(bench, parts.recipe.rollout), name not in parts.questions
        with parts.timer("eval"):
            if first:
                parts.questions[name] = questions(
                    name, bench, parts.tokenizer, limit, environments=parts.environments
                )
            result = run_bench(
                name,
                bench,
                parts.engine,
                parts.pool,
                parts.questions[name],
                timer=parts.timer,
                stopped=lambda: parts.stop.asked,
                check=parts.stop.check,
                say=lambda text: parts.tracker.event("waiting", text),
                gallery=gallery,
            )
        parts.tracker.evaluation(parts.step, name, result.summary)
        parts.tracker.disputed(parts.step, disputed_rows(name, result.rows))
        said, has_score = unjudged(name, result)
        if said is not None:
            parts.tracker.event("warning", said)
            lost += [] if has_score else [said]
        if first:
            for line in parts.questions[name].warnings(name):
                parts.tracker.event("warning", line)
            for line in shortfalls("eval.benches", name, bench, limit, result.summary):
                parts.tracker.event("warning", line)
        values = {f"eval/{name}/{metric}": value for metric, value in result.summary.items()}
        row = {"step": parts.step, "event": "eval", "bench": name} | values
        diagnose(parts.watch, parts.tracker, row, shares_right(result.rows))
        if has_score:
            parts.state["first_eval"].setdefault(name, {"step": parts.step} | result.summary)
        parts.last_eval[name] = result.summary
        if distributed.rank() == 0:
            context: dict[str, Any] = {"step": parts.step, "run": parts.recipe.name}
            write_result(folder, name, bench, result, **context)
            write_result(folder / f"step_{parts.step}", name, bench, result, **context)
    if lost:
        raise NoVerdict("; ".join(lost))
    parts.state["evaluated"] = parts.step
    observe_validation(parts)
    keep_best(parts)  # last: its checkpoint holds what `observe_validation` has seen and done
    parts.timer.take()  # not part of the next step


def keep_best(parts: Parts) -> None:
    """Checkpoint and export the policy when `checkpoint.best` is higher than ever; all ranks must call it."""
    if (wanted := parts.recipe.checkpoint.best) is None:
        return
    bench, _, metric = wanted.partition("/")
    value, best = parts.last_eval[bench].get(metric), parts.state.get("best")
    if value is None:
        parts.tracker.event("warning", f"checkpoint.best: verdicts are missing, so there is no {wanted}")
        return
    if best is not None and value <= best["value"]:
        return
    parts.state["best"] = {"step": parts.step, "value": value}
    if parts.step == 0:  # the model the run starts from is there already
        return
    with trainer_awake(parts):
        save(parts)
        parts.checkpoints.settle()  # what is exported as the best is in a checkpoint
        state = parts.trainer.state_dict()
    if distributed.rank() == 0:
        note = {"run": parts.recipe.name, "steps": parts.step, wanted: value}
        export(parts.out / "best", parts.trainer.hf, state, parts.tokenizer, note)
    parts.tracker.event("best", f"{wanted} is {value:.4f}, the best so far: {parts.out / 'best'}")
