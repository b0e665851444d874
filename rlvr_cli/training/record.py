"""The record of a finished step: rollouts, metrics, and what the step was short of."""

from __future__ import annotations

import math
from typing import Any, NoReturn

from rlvr_cli.core import distributed
from rlvr_cli.core.errors import Hopeless
from rlvr_cli.core.heartbeat import heart
from rlvr_cli.core.types import Batch, Group
from rlvr_cli.training import metrics
from rlvr_cli.training.careful_update import skipped_metrics
from rlvr_cli.training.diagnose import diagnose
from rlvr_cli.training.difficulty import pace_metrics
from rlvr_cli.training.dynamic_sampling import Rollouts
from rlvr_cli.training.episode_metrics import episode_metrics
from rlvr_cli.training.gap import second_opinion
from rlvr_cli.training.kl_course import kl_metrics
from rlvr_cli.training.leaves import note_values, tree_metrics
from rlvr_cli.training.parts import Parts
from rlvr_cli.training.routing import routing_metrics
from rlvr_cli.training.sample_metrics import sample_metrics
from rlvr_cli.training.staleness import staleness_metrics
from rlvr_cli.training.stop import NoVerdict
from rlvr_cli.training.taught import teacher_metrics
from rlvr_cli.training.texts import length_correlation, lengths_by_outcome
from rlvr_cli.training.token_records import token_notes
from rlvr_cli.training.unjudged import tell_missing
from rlvr_cli.training.update_metrics import update_metrics

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
    write_rollouts(parts, rollouts, kept, batches if updates else [])
    trained = sum(len(s) for b in batches for s in b.sequences) if updates else 0
    idle_tokens = sum(b.idle_tokens for b in batches)
    kept_tokens = sum(int((b.weights_N != 0).sum()) for b in batches) + idle_tokens
    all_tokens, sampled_tokens = lengths(rollouts.kept), lengths(rollouts.sampled)
    parts.state["response_tokens"] += sampled_tokens + rollouts.state_tokens
    timing = parts.timer.take()
    row = (
        metrics.reward_metrics(rollouts.sampled, rollouts.kept)
        | sample_metrics(rollouts.mine, parts.recipe.data)
        | metrics.answer_metrics(rollouts.mine)
        | length_correlation(rollouts.sampled)
        | second_opinion(rollouts.mine, parts.recipe.diagnosis, parts.state)
        | stage_metrics(parts)
        | rank_metrics(parts)
        | ({} if parts.course is None else parts.course.metrics)
        | skipped_metrics(parts.state, parts.recipe.faults)
        | ({} if (lost := parts.trainer.merge.error) is None else {"actor/lora_merge_error": lost})
        | {"group/refills": float(rollouts.refills), "group/trained": float(len(rollouts.kept))}
        | {"perf/total_response_tokens": float(parts.state["response_tokens"])}
        | ({"perf/state_tokens": float(rollouts.state_tokens)} if rollouts.state_tokens else {})
        | metrics.length_metrics(rollouts.sampled)
        | lengths_by_outcome(rollouts.sampled)
        | episode_metrics(rollouts.sampled)
        | update_metrics(updates, rollouts.kept, lr)
        | metrics.critic_metrics(critic_updates, batches)
        | metrics.difficulty_metrics(rollouts.kept, parts.recipe.algorithm.reweight)
        | tree_metrics(rollouts.sampled, rollouts.kept, parts.recipe.algorithm.advantage)
        | metrics.pair_metrics(rollouts.kept, parts.recipe.algorithm.advantage)
        | pace_metrics(parts.sampler)
        | {"actor/trained_token_fraction": kept_tokens / max(1, all_tokens)}
        | {"actor/idle_token_fraction": idle_tokens / max(1, all_tokens)}
        | staleness_metrics(parts.ahead, rollouts.mine, kept, parts.step - 1)
        | routing_metrics(parts)
        | teacher_metrics(parts, batches if updates else [], timing)
        | metrics.speed_metrics(rollouts.sampled, trained, parts.trainer.parameters, timing)
        | timing
    )
    write_row(parts, row, rollouts.mine)
    tell_missing(parts, rollouts.mine)
    diagnose(parts.watch, parts.tracker, {"step": parts.step} | row)
    parts.checkpoints.poll()
    if rollouts.unjudged is None:
        warn_of_missing_groups(parts, rollouts)
        if parts.ahead is not None:  # now, so that a checkpoint of this step knows it
            parts.ahead.drop_too_old(parts.step)


def rank_metrics(parts: Parts) -> dict[str, float]:
    """Of the rank that is worst off: how much of its engine the newest sync has proved, and the memory of its
    process. All ranks must call it."""
    verified, memory = zip(*distributed.gather((parts.verified, metrics.host_memory())), strict=True)
    known = [share for share in verified if not math.isnan(share)]  # one rank may speak for servers
    return ({"sync/verified": min(known)} if known else {}) | {"perf/host_memory_gb": max(memory)}


def write_row(parts: Parts, row: dict[str, float], mine: list[Group]) -> None:
    """The step's metrics, and verdicts to look at; all ranks must call it."""
    disputed = disputed_rows(mine)
    with parts.timer("record"):  # counts in the step that follows
        parts.tracker.step(parts.step, row, metrics.example(mine))
        parts.tracker.disputed(parts.step, disputed)


def write_rollouts(parts: Parts, rollouts: Rollouts, kept: set[int], batches: list[Batch]) -> None:
    """The step's samples, where they are recorded. `kept`: indices of the groups that train."""
    if parts.records is None:
        return
    advantages = {g.index: g.advantages for g in rollouts.kept}
    note_values(rollouts.mine, parts.recipe.algorithm.advantage)
    with parts.timer("record"):
        parts.records.write(
            parts.step,
            rollouts.mine,
            rewards=[g.rewards for g in rollouts.mine],
            advantages=[advantages.get(g.index, [float("nan")] * len(g.completions)) for g in rollouts.mine],
            kept=[g.index in kept for g in rollouts.mine],
            versions=[parts.step - 1] * len(rollouts.mine),
            notes=token_notes(rollouts.kept, batches),
        )


def lengths(groups: list[Group]) -> int:
    """Sampled tokens of all of them."""
    return sum(c.length for g in groups for c in g.completions)


def disputed_rows(mine: list[Group]) -> list[dict[str, Any]]:
    """Verdicts that two ways of comparing disagree on, of all ranks; all ranks must call it."""
    found = [
        {
            "problem": group.problem.id,
            "source": group.problem.source,
            "verifier": name,
            "gold": group.problem.golds,
            "extracted": verdict.extracted,
            "detail": verdict.detail,
        }
        for group in mine
        for verdicts in group.verdicts
        for name, verdict in verdicts.items()
        if verdict.disputed
    ]
    return [row for share in distributed.gather(found) for row in share]


def record_unjudged(parts: Parts, rollouts: Rollouts) -> NoReturn:
    """Write a step without verdicts, which changes nothing, and end the run. All ranks must call it."""
    tokens = parts.state["response_tokens"]
    parts.step += 1
    record(parts, rollouts, [], [], 0.0, [])
    parts.step -= 1
    parts.state["response_tokens"] = tokens
    raise NoVerdict(f"no sample of step {parts.step + 1} has a verdict: {rollouts.unjudged}")


def stage_metrics(parts: Parts) -> dict[str, float]:
    """Where a long run stands: its stage, the age of reference and optimizer in this step, the KL's
    coefficient, its servers."""
    finished = parts.step - 1
    out = {"stage/number": float(parts.state["stage"])} if len(parts.stages) > 1 else {}
    if parts.reference is not None:
        out["reference/age"] = float(finished - parts.state["last_reset"])
    if parts.state["fresh_optimizer"]:
        out["actor/optimizer_age"] = float(finished - parts.state["fresh_optimizer"])
    out |= kl_metrics(parts.recipe.algorithm.kl)
    return out | getattr(parts.engine, "measures", dict)()  # of an engine that has servers


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
            "the problems are too easy or too hard for this model, or its answers are not read: "
            f"rlvr why {parts.out} tells which"
        )
