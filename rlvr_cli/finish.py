"""What a run leaves behind: the record of a step, evaluations, the interrupted and the finished end."""

from __future__ import annotations

from typing import Any

from rlvr_cli import metrics
from rlvr_cli.assemble import Parts, save
from rlvr_cli.audit import audit_metrics
from rlvr_cli.bench import prompt_limit, questions, run_bench, shortfalls
from rlvr_cli.diagnose import diagnose
from rlvr_cli.engine import distributed
from rlvr_cli.engine.model import export
from rlvr_cli.errors import Hopeless
from rlvr_cli.faults import skipped_metrics
from rlvr_cli.heartbeat import heart
from rlvr_cli.outputs import write_result
from rlvr_cli.renewal import watch
from rlvr_cli.sampling import Rollouts
from rlvr_cli.session import tell_stop
from rlvr_cli.token_notes import token_notes
from rlvr_cli.types import Batch

MAX_EMPTY_STEPS = 3


class NoSignal(Hopeless):
    """Steps in a row found no group to train on."""


def record(
    parts: Parts,
    rollouts: Rollouts,
    batches: list[Batch],
    updates: list[dict[str, float]],
    lr: float,
    critic_updates: list[dict[str, float]],
) -> None:
    """Write a finished step's rollouts and metrics; all ranks must call it."""
    heart.step(parts.step)
    kept = {g.index for g in rollouts.kept}
    if parts.records is not None:
        advantages = {g.index: g.advantages for g in rollouts.kept}
        parts.records.write(
            parts.step,
            rollouts.mine,
            rewards=[g.rewards for g in rollouts.mine],
            advantages=[advantages.get(g.index, [float("nan")] * len(g.completions)) for g in rollouts.mine],
            kept=[g.index in kept for g in rollouts.mine],
            versions=[parts.step - 1] * len(rollouts.mine),
            notes=token_notes(rollouts.kept, batches if updates else []),
        )
    trained = sum(len(s) for b in batches for s in b.sequences) if updates else 0
    kept_tokens = sum(int((b.weights_N != 0).sum()) for b in batches)
    all_tokens = sum(len(c.tokens) for g in rollouts.kept for c in g.completions)
    sampled_tokens = sum(len(c.tokens) for g in rollouts.sampled for c in g.completions)
    parts.state["response_tokens"] += sampled_tokens + rollouts.state_tokens
    timing = parts.timer.take()
    row = (
        metrics.reward_metrics(rollouts.sampled, rollouts.kept)
        | metrics.verifier_metrics(rollouts.mine)
        | metrics.answer_metrics(rollouts.mine)
        | audit_metrics(rollouts.mine, parts.recipe.diagnosis)
        | stage_metrics(parts)
        | skipped_metrics(parts.state, parts.recipe.faults)
        | {"group/refills": float(rollouts.refills), "group/trained": float(len(rollouts.kept))}
        | {"perf/total_response_tokens": float(parts.state["response_tokens"])}
        | ({"perf/state_tokens": float(rollouts.state_tokens)} if rollouts.state_tokens else {})
        | metrics.length_metrics(rollouts.sampled)
        | metrics.update_metrics(updates, rollouts.kept, lr)
        | metrics.critic_metrics(critic_updates, batches)
        | metrics.difficulty_metrics(rollouts.kept, parts.recipe.algorithm.reweight)
        | {"actor/trained_token_fraction": kept_tokens / max(1, all_tokens)}
        | metrics.speed_metrics(rollouts.sampled, trained, parts.trainer.parameters, timing)
        | timing
    )
    parts.tracker.step(parts.step, row, metrics.example(rollouts.mine))
    diagnose(parts, {"step": parts.step} | row)
    parts.checkpoints.poll()
    warn_of_missing_groups(parts, rollouts)


def stage_metrics(parts: Parts) -> dict[str, float]:
    """Where a long run stands: its stage, and the age of the reference and optimizer this step used."""
    finished = parts.step - 1
    out = {"stage/number": float(parts.state["stage"])} if len(parts.stages) > 1 else {}
    if parts.reference is not None:
        out["reference/age"] = float(finished - parts.state["last_reset"])
    if parts.state["fresh_optimizer"]:
        out["actor/optimizer_age"] = float(finished - parts.state["fresh_optimizer"])
    return out


def warn_of_missing_groups(parts: Parts, rollouts: Rollouts) -> None:
    """Say so when the cap on generation left a step short; give up when there is nothing again and again."""
    wanted, got, seen = parts.recipe.batch.prompts_per_step, len(rollouts.kept), len(rollouts.sampled)
    parts.state["empty_steps"] = 0 if got else parts.state["empty_steps"] + 1
    if got >= wanted:
        return
    said = f"step {parts.step}: {got} of {seen} groups sampled passed the filter, {wanted} are wanted"
    parts.tracker.event(
        "warning", f"{said}; " + ("trained on these" if got else "no update"), kept=got, sampled=seen
    )
    if parts.state["empty_steps"] >= MAX_EMPTY_STEPS:
        raise NoSignal(
            f"{MAX_EMPTY_STEPS} steps in a row had no group with a signal (the last: 0 of {seen} groups); "
            "the problems are too easy or too hard for this model: change data, model or rollout.max_tokens"
        )


def evaluation_due(parts: Parts) -> bool:
    """Also after a resume, when the run was stopped before this step's evaluation was done."""
    due = parts.recipe.eval.at_start if parts.step == 0 else parts.due(parts.recipe.eval.every)
    return due and parts.state["evaluated"] != parts.step


def evaluate_benches(parts: Parts) -> None:
    """Run every bench of the recipe on the current policy; all ranks must call it."""
    for name, bench in parts.recipe.eval.benches.items():
        limit, first = prompt_limit(bench, parts.recipe.rollout), name not in parts.questions
        with parts.timer("eval"):
            if first:
                parts.questions[name] = questions(name, bench, parts.tokenizer, limit)
            result = run_bench(
                name,
                bench,
                parts.engine,
                parts.pool,
                parts.questions[name],
                timer=parts.timer,
                stopped=lambda: parts.stop.asked,
                check=parts.stop.check,
            )
        parts.tracker.evaluation(parts.step, name, result.summary)
        if first:
            for line in shortfalls("eval.benches", name, bench, limit, result.summary):
                parts.tracker.event("warning", line)
        values = {f"eval/{name}/{metric}": value for metric, value in result.summary.items()}
        diagnose(parts, {"step": parts.step, "event": "eval", "bench": name} | values)
        parts.state["first_eval"].setdefault(name, {"step": parts.step} | result.summary)
        parts.last_eval[name] = result.summary
        if distributed.rank() == 0:
            folder = parts.out / "eval"
            context: dict[str, Any] = {"step": parts.step, "run": parts.recipe.name}
            write_result(folder, name, bench, result, **context)
            write_result(folder / f"step_{parts.step}", name, bench, result, **context)
    parts.state["evaluated"] = parts.step
    watch(parts)
    keep_best(parts)  # last: its checkpoint holds what `watch` has seen and done
    parts.timer.take()  # not part of the next step


def keep_best(parts: Parts) -> None:
    """Checkpoint and export the policy when `checkpoint.best` is higher than ever; all ranks must call it."""
    if (wanted := parts.recipe.checkpoint.best) is None:
        return
    bench, _, metric = wanted.partition("/")
    value, best = parts.last_eval[bench][metric], parts.state.get("best")
    if best is not None and value <= best["value"]:
        return
    parts.state["best"] = {"step": parts.step, "value": value}
    if parts.step == 0:  # the model the run starts from is there already
        return
    save(parts)
    parts.checkpoints.settle()  # what is exported as the best is in a checkpoint
    state = parts.trainer.state_dict()
    if distributed.rank() == 0:
        note = {"run": parts.recipe.name, "steps": parts.step, wanted: value}
        export(parts.out / "best", parts.trainer.hf, state, parts.tokenizer, note)
    parts.tracker.event("best", f"{wanted} is {value:.4f}, the best so far: {parts.out / 'best'}")


def interrupted(parts: Parts) -> None:
    """Save what is finished and say how to go on."""
    save(parts, last=True)
    tell_stop(parts.tracker, parts.step, parts.stop, parts.out)
    parts.tracker.close("interrupted")


def conclude(parts: Parts) -> None:
    """Save the last state and export the model as an ordinary Hugging Face folder."""
    save(parts, last=True)
    state = parts.trainer.state_dict()
    note = {"run": parts.recipe.name, "algorithm": parts.recipe.algorithm.name, "steps": parts.step}
    if distributed.rank() == 0:
        export(parts.out / "final", parts.trainer.hf, state, parts.tokenizer, note)
    if parts.critic is not None:
        state = parts.critic.state_dict()
        if distributed.rank() == 0:
            export(parts.out / "critic", parts.critic.hf, state, parts.tokenizer, note)
    for line in gains(parts):
        parts.tracker.event("result", line)
    parts.tracker.event("export", f"model: {parts.out / 'final'}")
    distributed.barrier()


def gains(parts: Parts) -> list[str]:
    """What training changed on each bench: `addition avg@4: 0.31 [0.28, 0.34] -> 0.78 [0.75, 0.81]`."""
    lines = []
    for name, after in parts.last_eval.items():
        before = parts.state["first_eval"][name]
        metric = next(key for key in after if key.startswith("avg@"))
        if before["step"] == parts.step or metric not in before:
            continue
        shown = [f"{x[metric]:.1%} [{x['ci95_low']:.1%}, {x['ci95_high']:.1%}]" for x in (before, after)]
        lines.append(
            f"{name} {metric}: {shown[0]} before, {shown[1]} after {parts.step} steps "
            f"({100 * (after[metric] - before[metric]):+.1f} points; 95% intervals over problems)"
        )
    return lines
