"""Run directories of sick and healthy runs, written by the real tracker and records from simulated samples.

A run is a function of the step that says what samples are like; metrics are computed from them as in
training.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from rlvr_cli import compose
from rlvr_cli.core.types import Completion, Group, Problem, Reason, Verdict
from rlvr_cli.evaluation.bench import Evaluation
from rlvr_cli.evaluation.outputs import write_result
from rlvr_cli.evaluation.scores import summarise
from rlvr_cli.schema import Tracker as Settings
from rlvr_cli.schema import WandbMode
from rlvr_cli.tracking import RolloutRecords, Tracker
from rlvr_cli.training import metrics
from rlvr_cli.training.second_verifier import audit_metrics

RECIPE = """
defaults:
  - algorithm: {algorithm}
  - model: tiny
  - data@data.sums: addition
  - verifier@verifiers.units: math
  - verifier@verifiers.strict: math
  - bench@eval.benches.val: addition
  - rollout: hf
  - trainer: zero0
  - _self_
name: staged
data: {{sums: {{verifiers: [units]}}}}
verifiers: {{units: {{extraction: answer_tags}}}}
rollout: {{max_prompt_tokens: 16, max_tokens: 64}}
trainer: {{steps: 200, lr: 1e-4}}
diagnosis: {{second_verifier: strict, second_share: 0.25}}
eval: {{every: 5}}
tracker: {{wandb: disabled}}
{more}
"""


@dataclass(kw_only=True)
class Like:
    """What the samples of a step are like; shares of 1."""

    right: float = 0.3
    """Mean pass rate of the problems."""
    spread: float = 0.25
    """Its deviation between problems."""
    unread: float = 0.02
    """Of those that are not right: no answer is found."""
    refused: float = 0.0
    crashed: float = 0.0
    cut: float = 0.01
    partial: float = 0.0
    """Score of a wrong answer."""
    fooled: float = 0.02
    """Of the right ones, by the second verifier: not."""
    same: float = 0.0
    """Of the wrong ones: the commonest answer."""
    length: float = 30.0
    values: dict[str, float] = field(default_factory=dict)
    """Further metrics."""


@dataclass(kw_only=True)
class Staged:
    """`shape(step)`: what its samples are like."""

    shape: Callable[[int], Like]
    steps: int = 40
    prompts: int = 8
    size: int = 8
    scores: dict[int, float] = field(default_factory=dict)
    """Step -> pass rate of the problems of the bench `val`."""
    algorithm: str = "grpo"
    more: str = ""
    stage_after: int | None = None


def stage(folder: Path, name: str, staged: Staged, seed: int = 0) -> Path:
    """Write the run; its directory."""
    out, random = folder / name, Random(f"{name} {seed}")
    out.mkdir(parents=True)
    recipe = recipe_of(staged.algorithm, staged.more)
    batch = replace(recipe.batch, prompts_per_step=staged.prompts, group_size=staged.size)
    recipe = replace(recipe, name=name, out=str(out), batch=batch)
    compose.save(recipe, out / "recipe.yaml")
    records = RolloutRecords(out / "rollouts", 0)
    settings = Settings(wandb=WandbMode.disabled)
    tracker = Tracker(
        settings, out, terminal=io.StringIO(), total_steps=200, run_name=name, recipe={}, kind="rl"
    )
    tastes = {n: random.gauss(0, 1) for n in range(100)}  # of the bench's problems
    for step in range(staged.steps + 1):
        if step:
            like = staged.shape(step)
            groups = [group(random, like, step, n, staged.size) for n in range(staged.prompts)]
            row = row_of(groups, like, random, recipe)
            if staged.stage_after is not None:
                row |= {"stage/number": float(step > staged.stage_after)}
            tracker.step(step, row)
            if step % 5 == 0 or staged.steps - step < 2:
                kept, rewards = [True] * len(groups), [g.rewards for g in groups]
                records.write(step, groups, rewards, None, kept, [step - 1] * len(groups))
        if step in staged.scores:
            evaluate(out, tracker, recipe.eval.benches["val"], step, staged.scores[step], tastes, random)
    (out / "final").mkdir()  # the tracker is left open: closing it would draw curves
    return out


@cache
def recipe_of(algorithm: str, more: str) -> Any:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "staged.yaml"
        path.write_text(RECIPE.format(algorithm=algorithm, more=more))
        return compose.load(str(path), [], "train")


def group(random: Random, like: Like, step: int, number: int, size: int) -> Group:
    a, b = random.randrange(100), random.randrange(100)
    rate = min(1.0, max(0.0, random.gauss(like.right, like.spread if 0 < like.right < 1 else 0)))
    problem = Problem(
        id=f"sums-{step}-{number}",
        prompt=f"{a}+{b}=",
        tokens=[1, 2, 3],
        answer=str(a + b),
        source="sums",
        verifiers=["units"],
    )
    found = Group(problem=problem, index=step * 100 + number, completions=[])
    for sample in range(size):
        verdict = verdict_of(random, like, rate, a + b)
        said = verdict.extracted or str(a + b)
        tokens = np.zeros(max(1, round(random.gauss(like.length, like.length / 6))), np.int32)
        found.completions.append(
            Completion(
                tokens=tokens,
                logprobs=np.zeros(len(tokens), np.float32),
                text=f"carry the one, so \\boxed{{{said}}}",
                finished=random.random() >= like.cut,
            )
        )
        found.verdicts.append({"units": verdict})
        found.first_scores.append(verdict.score if verdict.scored else float("nan"))
        found.correct.append(float(verdict.reason is Reason.correct) if verdict.scored else float("nan"))
        if verdict.scored and random.random() < 0.25:
            agreed = verdict.reason is Reason.correct and random.random() >= like.fooled
            reason = Reason.correct if agreed else Reason.wrong
            found.audits[sample] = Verdict(score=float(agreed), reason=reason)
    found.scores = found.rewards = list(found.first_scores)
    return found


def verdict_of(random: Random, like: Like, rate: float, gold: int) -> Verdict:
    if random.random() < like.crashed:
        return Verdict(
            score=0.0, reason=Reason.crash, detail="ConnectionError: [Errno 111] Connection refused"
        )
    if random.random() < like.refused:
        return Verdict(score=0.0, reason=Reason.refused, detail="takes longer than 6 s", ms=6000.0)
    if random.random() < rate:
        return Verdict(score=1.0, reason=Reason.correct, extracted=str(gold))
    if random.random() < like.unread:
        return Verdict(score=0.0, reason=Reason.no_answer, detail="no <answer> tags")
    wrong = 7 if random.random() < like.same else gold + random.randint(1, 30)
    return Verdict(score=like.partial, reason=Reason.wrong, extracted=str(wrong))


def row_of(groups: list[Group], like: Like, random: Random, recipe: Any) -> dict[str, float]:
    """A row of metrics, with noise in those of the update."""

    def noisy(value: float) -> float:
        return value * (1 + random.gauss(0, 0.1))

    usual = {
        "actor/entropy": 0.4, "actor/ref_kl": 0.002, "actor/grad_norm": 0.4, "mismatch/k3": 3e-4,
        "timing_s/rollout": 2.0, "timing_s/update": 1.0,
    }  # fmt: skip
    drawn = {name: noisy(value) for name, value in (usual | like.values).items()}
    step_s = drawn["timing_s/rollout"] + drawn["timing_s/update"]
    return (
        metrics.reward_metrics(groups, groups)
        | metrics.verifier_means(metrics.verifier_sums(groups))
        | metrics.answer_metrics(groups)
        | audit_metrics(groups, recipe.diagnosis)
        | metrics.length_metrics(groups)
        | drawn
        | {"timing_s/step": step_s, "perf/tokens_per_second": 2000 / step_s}
    )


def evaluate(
    out: Path, tracker: Tracker, bench: Any, step: int, rate: float, tastes: dict[int, float], random: Random
) -> None:
    """100 problems, four samples each, some of them easier than others in every evaluation."""
    rows = []
    for n, taste in tastes.items():
        chance = 0.0 if rate == 0 else min(1.0, max(0.0, rate + 0.2 * min(1, 5 * rate) * taste))
        right = [random.random() < chance for _ in range(4)]
        rows.append(
            {
                "index": n,
                "id": f"p{n}",
                "answer": "1",
                "prompt": "",
                "extra": {},
                "correct": right,
                "scores": [float(ok) for ok in right],
                "extracted": ["1"] * 4,
                "reasons": ["correct" if ok else "wrong" for ok in right],
                "details": [""] * 4,
                "responses": [""] * 4,
                "lengths": [9] * 4,
                "truncated": [False] * 4,
            }
        )
    summary = summarise(rows) | {"left_out": 0.0}
    tracker.evaluation(step, "val", summary)
    write_result(
        out / "eval" / f"step_{step}", "val", bench, Evaluation(summary=summary, rows=rows), step=step
    )


def ramp(start: float, end: float, over: int) -> Callable[[int], float]:
    """From `start` at step 1 to `end` at step `over`, and there it stays."""
    return lambda step: start + (end - start) * min(1.0, (step - 1) / max(1, over - 1))


def learns(start: float = 0.2, end: float = 0.7, over: int = 40, **like: Any) -> Callable[[int], Like]:
    rate = ramp(start, end, over)
    return lambda step: replace(Like(**like), right=rate(step))


def _blown_up(step: int) -> Like:
    """A learning rate far too high: something at first, nothing from the third step on."""
    values = {"actor/entropy": min(0.9, 0.4 + 0.1 * step), "actor/ref_kl": min(1.0, 0.2 * step)}
    return Like(right={1: 0.14, 2: 0.08}.get(step, 0.0), unread=0.4, values=values)


def _collapsed(step: int) -> Like:
    return Like(right=0.4, values={"actor/entropy": max(0.01, 0.4 * 0.85**step)})


SICK: dict[str, tuple[str, Staged]] = {
    "wrong_extraction": ("unreadable", Staged(shape=lambda step: Like(right=0.0, unread=0.98))),
    "too_hard": ("all_wrong", Staged(shape=lambda step: Like(right=0.002, spread=0.0))),
    "too_easy": ("all_right", Staged(shape=lambda step: Like(right=1.0))),
    "lr_too_high": ("signal_lost", Staged(shape=_blown_up)),
    "noise": ("within_noise", Staged(shape=learns(0.11, 0.12), prompts=4, size=8)),
    "dead_judge": ("no_verdicts", Staged(shape=lambda step: Like(crashed=1.0), steps=1)),
    "cut_off": ("cut_off", Staged(shape=lambda step: Like(right=0.0, unread=0.95, cut=0.9), steps=12)),
    "too_slow_to_judge": ("all_refused", Staged(shape=lambda step: Like(right=0.3, refused=0.99))),
    "equal_credit": ("equal_scores", Staged(shape=lambda step: Like(right=0.0, unread=0.0, partial=0.5))),
    "worse_and_worse": (
        "eval_regression",
        Staged(shape=learns(), scores={0: 0.112, 5: 0.006, 10: 0.0, 20: 0.0, 40: 0.0}),
    ),
    "hangs_the_verifier": (
        "refusals_rising",
        Staged(shape=lambda step: Like(right=0.4, refused=max(0.0, 0.012 * (step - 8)))),
    ),
    "entropy_gone": ("entropy_collapse", Staged(shape=_collapsed)),
    "fools_the_verifier": (
        "reward_hacking",
        Staged(
            shape=lambda step: Like(right=ramp(0.3, 0.8, 40)(step), fooled=ramp(0.0, 0.9, 40)(step)),
            prompts=16,
        ),
    ),
    "one_answer": ("same_answer", Staged(shape=lambda step: Like(right=0.05, same=0.95))),
    "falls": ("reward_falls", Staged(shape=learns(0.6, 0.3))),
}  # fmt: skip
"""Name -> the rule that must come first, and the run."""


def _passing_trouble(step: int) -> Like:
    return Like(right=ramp(0.2, 0.7, 60)(step), cut=0.4 if 10 < step < 20 else 0.01)


HEALTHY: dict[str, Staged] = {
    "steady": Staged(shape=learns()),
    "fast_then_flat": Staged(shape=learns(0.2, 0.6, 12), steps=60),
    "short": Staged(shape=learns(), steps=10),
    "very_short": Staged(shape=learns(0.1, 0.15), steps=2),
    "small_batches": Staged(shape=learns(0.2, 0.65, 60), prompts=4, size=8, steps=60),
    "sparse": Staged(shape=learns(0.03, 0.35, 60, spread=0.1), steps=60, prompts=16),
    "solved": Staged(shape=lambda step: Like(right=0.95, spread=0.06)),
    "partial_credit": Staged(
        shape=lambda step: Like(right=ramp(0.0, 0.2, 40)(step), partial=ramp(0.1, 0.6, 40)(step))
    ),
    "level_benches": Staged(
        shape=learns(), scores={0: 0.2, 5: 0.3} | {step: 0.4 for step in range(10, 41, 2)}
    ),
    "a_lost_verdict_now_and_then": Staged(shape=learns(crashed=0.005), steps=60),
    "longer_answers": Staged(shape=lambda step: Like(right=ramp(0.2, 0.7, 40)(step), length=20.0 + step / 2)),
    "single_samples": Staged(shape=learns(), prompts=64, size=1, algorithm="reinforce_pp"),
    "second_stage": Staged(
        shape=lambda step: Like(right=ramp(0.2, 0.6, 20)(step)),
        steps=40,
        stage_after=20,
        more="stages: {longer: {after: 20, max_tokens: 128}}",
    ),
    "trouble_that_passes": Staged(shape=_passing_trouble, steps=60),
}
