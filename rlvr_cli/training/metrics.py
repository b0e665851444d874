"""A step's metrics, under the names of docs/metrics.md."""

from __future__ import annotations

import math
import resource
from collections import Counter
from collections.abc import Iterable
from typing import Any
from zlib import crc32

import numpy as np
import psutil
import torch

from rlvr_cli.core import distributed, gpu_memory
from rlvr_cli.core.episode_rows import as_text
from rlvr_cli.core.types import Batch, Group, Reason
from rlvr_cli.sampling.wording import Sums
from rlvr_cli.tracking import Sample

PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "H800": 989e12, "A100": 312e12, "A800": 312e12, "L40S": 362e12}
"""Dense bf16 peak per GPU, for MFU."""


def mean(values: Iterable[float]) -> float:
    """Mean of the values that are numbers; NaN without any."""
    found = [v for v in values if not math.isnan(v)]
    return sum(found) / len(found) if found else math.nan


def reward_metrics(sampled: list[Group], kept: list[Group]) -> dict[str, float]:
    """Over all groups sampled, trained on or not: what the filter drops does not flatter the curve."""
    rewards = [r for g in sampled for r in g.rewards]
    correct = [c for g in sampled for c in g.correct]
    known = [[c for c in g.correct if not math.isnan(c)] for g in sampled]
    scores = [judged_scores(g) for g in sampled]
    count = len(sampled)
    return {
        "reward/mean": mean(rewards),
        "reward/std": float(np.nanstd(rewards)),
        "reward/correct_fraction": mean(correct),
        "reward/score": mean(x for each in scores for x in each),
        "reward/unscored_fraction": sum(map(math.isnan, correct)) / len(correct),
        "group/zero_signal_fraction": sum(len(set(x)) <= 1 for x in scores) / count,
        "group/all_correct_fraction": sum(bool(c) and min(c) >= 1 for c in known) / count,
        "group/all_wrong_fraction": sum(bool(c) and max(c) <= 0 for c in known) / count,
        "group/kept_fraction": len(kept) / count,
    }


def judged_scores(group: Group) -> list[float]:
    """The first verifier's scores of the samples it has judged."""
    return [x for x, c in zip(group.first_scores, group.correct, strict=True) if not math.isnan(c)]


def length_metrics(sampled: list[Group]) -> dict[str, float]:
    completions = [c for g in sampled for c in g.completions]
    lengths = np.array([c.response_length for c in completions])
    return {
        "response_length/mean": float(lengths.mean()),
        "response_length/min": float(lengths.min()),
        "response_length/max": float(lengths.max()),
        **{f"response_length/p{q}": float(np.percentile(lengths, q)) for q in (50, 95, 99)},
        "response_length/truncated_fraction": sum(not c.finished for c in completions) / len(completions),
    }


NO_SAY, UNSCORED = "reward/no_say_fraction", "reward/unscored_fraction"
"""A sample on which nobody has a say is not counted as unscored where this is known: `verifier_means`."""


def verifier_sums(mine: list[Group]) -> Sums:
    """What `verifier_means` takes the means of; those of ranks add up."""
    sums: Sums = {}

    def add(name: str, value: float) -> None:
        total, count = sums.get(name, (0.0, 0))
        sums[name] = total + value, count + 1

    for group in mine:
        for verdicts in group.verdicts:
            saying = [verdict for verdict in verdicts.values() if verdict.reason is not Reason.no_say]
            add(UNSCORED, float(bool(saying) and saying[0].missing))
        for correct in group.correct:
            if not math.isnan(correct):
                add(f"reward/source/{group.problem.source}/correct_fraction", correct)
        for correct, score in zip(group.correct, group.scores, strict=bool(group.scores)):
            if not math.isnan(correct + score):
                add("reward/paid_wrong_fraction", float(correct < 1 and score > 0))
        for score in judged_scores(group):
            add(f"reward/source/{group.problem.source}/score", score)
        for reward in group.rewards:
            if not math.isnan(reward):
                add(f"reward/source/{group.problem.source}/mean", reward)
        for verdicts in group.verdicts:
            for name, verdict in verdicts.items():
                add("reward/timeout_fraction", float(verdict.reason is Reason.timeout))
                add("reward/crash_fraction", float(verdict.reason is Reason.crash))
                add("reward/refused_fraction", float(verdict.reason is Reason.refused))
                add("reward/disputed_fraction", float(verdict.disputed))
                add(
                    "reward/no_answer_fraction", float(verdict.reason in (Reason.no_answer, Reason.malformed))
                )
                add(NO_SAY, float(verdict.reason is Reason.no_say))
                if verdict.scored:
                    add(f"reward/{name}/mean", verdict.score)
                for key, value in verdict.more.items() if verdict.scored else ():
                    if not isinstance(value, str):
                        add(f"reward/{name}/{key if key != 'mean' else 'mean_'}", value)
    return sums


def verifier_means(sums: Sums) -> dict[str, float]:
    """Of all ranks' sums."""
    silent = not sums.get(NO_SAY, (0.0, 0))[0]  # then all that is unscored is missing
    left_out = (NO_SAY, UNSCORED) if silent else ()
    return {name: total / count for name, (total, count) in sorted(sums.items()) if name not in left_out}


def targets(group: Group) -> list[str]:
    """The golds of the verifier that decides what is correct."""
    return group.problem.golds_of(next(iter(group.verdicts[0]), ""))


def answer_metrics(mine: list[Group]) -> dict[str, float]:
    """Share of the commonest extracted answer over all samples, and of the commonest gold answer over all
    problems; of a group's answers the share that differ (all ranks must call it). Absent where verifiers
    extract nothing."""
    by_group = [[next(iter(verdicts.values())).extracted for verdicts in group.verdicts] for group in mine]
    said = [answer for answers in by_group for answer in answers]
    gold = [answer for group in mine for answer in targets(group)]
    # Checksums, because gold answers may be long programs.
    counts = [
        Counter(crc32(a.encode("utf-8", "surrogatepass")) for a in x if a is not None) for x in (said, gold)
    ]
    read = [[answer for answer in answers if answer is not None] for answers in by_group]
    ratios = [len(set(answers)) / len(answers) for answers in read if answers]
    merged: list[Counter[int]] = [Counter(), Counter()]
    samples, different, groups = 0, 0.0, 0
    for number, share, ratio, many in distributed.gather((len(said), counts, sum(ratios), len(ratios))):
        samples, different, groups = samples + number, different + ratio, groups + many
        merged = [a + b for a, b in zip(merged, share, strict=True)]
    if not merged[0]:
        return {}
    return {
        "answers/commonest_fraction": max(merged[0].values()) / samples,
        "answers/commonest_gold_fraction": max(merged[1].values()) / merged[1].total(),
        "answers/different_fraction": different / groups,
    }


def difficulty_metrics(kept: list[Group], reweight: Any) -> dict[str, float]:
    """What reweighting did to right and wrong answers of hard, medium and easy prompts (thirds of pass rate).

    Estimated against the group's own mean, a right answer to a hard prompt is worth too little and to an
    easy one too much (HA-DW, 2601.08521, theorem 1): factors above 1 there and below 1 here undo that.
    """
    found: dict[str, list[float]] = {}
    for group in kept:
        rate = mean(group.correct)
        level = "hard" if rate < 1 / 3 else "easy" if rate > 2 / 3 else "medium"
        for correct, factor in zip(group.correct, group.corrections, strict=bool(group.corrections)):
            if not math.isnan(factor):
                found.setdefault(f"reweight/{level}_{'right' if correct >= 1 else 'wrong'}", []).append(
                    factor
                )
    anchor = {"reweight/anchor": reweight.beliefs[-1]} if getattr(reweight, "beliefs", None) else {}
    return anchor | {name: mean(factors) for name, factors in sorted(found.items())}


def pair_metrics(kept: list[Group], advantage: Any) -> dict[str, float]:
    """What an advantage made of pairs says of them."""
    return advantage.metrics() if kept and hasattr(advantage, "metrics") else {}


def critic_metrics(updates: list[dict[str, float]], batches: list[Batch]) -> dict[str, float]:
    """The critic's updates, and its values at the start of the step against what the samples then returned.

    Explained variance is 1 - Var(returns - values) / Var(returns) over all tokens: 0 for a constant, 1 for
    one that knew. It is absent where all returns are equal.
    """
    if not updates:
        return {}
    values_N = torch.cat([b.values_N for b in batches if b.values_N is not None]).double()
    returns_N = torch.cat([b.returns_N for b in batches if b.returns_N is not None]).double()
    out = {f"critic/{name}": mean(u[name] for u in updates) for name in updates[0]}
    out |= {"critic/value_mean": float(values_N.mean()), "critic/return_mean": float(returns_N.mean())}
    spread = float(returns_N.var(correction=0))
    if spread > 1e-12:
        left = float((returns_N - values_N).var(correction=0))
        out["critic/explained_variance"] = 1 - left / spread
    return out


def speed_metrics(
    sampled: list[Group], trained_tokens: int, parameters: int, timing: dict[str, float]
) -> dict[str, float]:
    """Tokens a second over all ranks, MFU of the update, memory of its GPU."""
    response = sum(c.length for g in sampled for c in g.completions)
    prompt = sum(
        len(row.after(g.problem)) + len(row.tokens) - row.row_length
        for g in sampled
        for c in g.completions
        for row in c.rows
        if row.row_length
    )
    update = timing.get("timing_s/update", 0.0)
    out = {
        "perf/tokens_per_second": (prompt + response) / timing["timing_s/step"],
        "perf/rollout_tokens_per_second": response / max(timing.get("timing_s/rollout", 0.0), 1e-9),
    }
    if update and trained_tokens:
        out["perf/train_tokens_per_second"] = trained_tokens / update
    out["perf/peak_memory_gb"] = peak_memory()
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        peak = next((flops for key, flops in PEAK_FLOPS.items() if key in name), None)
        if peak and update:
            # 6 FLOPs per parameter and token: 2 forward, 4 backward; attention is left out.
            out["perf/mfu"] = 6 * parameters * trained_tokens / (update * distributed.world_size() * peak)
    return out


def peak_memory() -> float:
    """GiB: the most on this rank's GPU since the last call, or without one resident since its start.

    On the GPU what torch allocates, less what a sleeping engine has given back.
    """
    if torch.cuda.is_available():
        return gpu_memory.peak.take() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def host_memory() -> float:
    """GiB that this rank's process holds in the machine's memory now."""
    return psutil.Process().memory_info().rss / 2**30


def example(mine: list[Group]) -> Sample | None:
    """A completion to show: of the first group with both right and wrong answers, else of the first."""
    mixed = [g for g in mine if len({c for c in g.correct if not math.isnan(c)}) > 1]
    for group in [*mixed[:1], *mine[:1]]:
        verdict: Any = next(iter(group.verdicts[0].values()))
        return Sample(
            prompt=group.problem.prompt,
            response=as_text(group.completions[0]),
            score=group.first_scores[0],
            reason=verdict.reason.value,
        )
    return None
