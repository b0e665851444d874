"""Benchmarks: k samples per problem, verified, with intervals; one code for training and `rlvr eval`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from rlvr_cli import __version__
from rlvr_cli.collect import collect
from rlvr_cli.data.prompts import problems
from rlvr_cli.engine import distributed
from rlvr_cli.engine.model import context_length, load_tokenizer
from rlvr_cli.files import write_atomically
from rlvr_cli.rollout import Engine, Sampling
from rlvr_cli.schema import Bench, EvalRecipe, Unscored
from rlvr_cli.session import default_precision, local_model, open_eval_tracker, start_engine
from rlvr_cli.tracking import Timer, print_results, versions
from rlvr_cli.types import Group
from rlvr_cli.verifiers.pool import Pool


@dataclass(slots=True, kw_only=True)
class Evaluation:
    """Result of one benchmark."""

    summary: dict[str, float]
    rows: list[dict[str, Any]]
    """One per problem, in the order of its source."""


def verifier_key(bench: str) -> str:
    """Name under which the pool knows a bench's own verifier."""
    return f"eval.{bench}"


def run_bench(
    name: str,
    bench: Bench,
    engine: Engine,
    pool: Pool,
    tokenizer: Any,
    *,
    max_prompt_tokens: int,
    timer: Timer,
    stopped: Callable[[], bool] = lambda: False,
    check: Callable[[], None] = lambda: None,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluation:
    """Sample and verify a benchmark, its problems dealt over the ranks; every rank gets the result.

    `stopped` ends the sampling early; `check`, called by all ranks after it, may raise then.
    `advance(done, total)` is told of each finished problem of this rank.
    """
    found, report = problems(name, bench.source, tokenizer, max_prompt_tokens, bench.seed)
    for problem in found:
        problem.verifiers = [verifier_key(name)]
    share = list(enumerate(found))[distributed.rank() :: distributed.world_size()]
    done = 0

    def finished(group: Group) -> None:
        nonlocal done
        done += 1
        advance(done, len(share))

    groups = collect(
        engine,
        pool,
        share,
        samples=1 if bench.temperature == 0 else bench.k,
        sampling=Sampling(temperature=bench.temperature, top_p=bench.top_p, max_tokens=bench.max_tokens),
        seed=bench.seed,
        weights={verifier_key(name): 1.0},
        unscored=Unscored.zero,
        timer=timer,
        stopped=stopped,
        finished=finished,
    )
    check()
    rows = [row(g) for g in groups]
    rows = sorted((r for part in distributed.gather(rows) for r in part), key=lambda r: r["index"])
    # A problem whose prompt does not fit is not part of the score: that must be seen beside it.
    return Evaluation(summary=summarise(rows) | {"left_out": float(report.too_long)}, rows=rows)


def row(group: Group) -> dict[str, Any]:
    """What is kept of a problem: everything a metric or a reader needs."""
    [key] = group.problem.verifiers
    verdicts = [v[key] for v in group.verdicts]
    return {
        "index": group.index,
        "id": group.problem.id,
        "answer": group.problem.answer,
        "prompt": group.problem.prompt,
        "correct": group.correct,
        "extracted": [v.extracted for v in verdicts],
        "reasons": [v.reason.value for v in verdicts],
        "lengths": [len(c.tokens) for c in group.completions],
        "truncated": [not c.finished for c in group.completions],
        "responses": [c.text for c in group.completions],
    }


def pass_at_k(n: int, c: float, k: int) -> float:
    """Unbiased estimate that one of k samples is right, c of n being right (Chen et al. 2021, 2107.03374)."""
    if n - c < k:
        return 1.0
    return 1.0 - math.prod((n - c - i) / (n - i) for i in range(k))


def summarise(rows: list[dict[str, Any]]) -> dict[str, float]:
    """avg@k with its 95% interval over problems, pass@k, and what can distort them.

    The interval treats problems as drawn from a larger set: mean +- 1.96 sd(per-problem means) / sqrt(n).
    """
    k = len(rows[0]["correct"])
    means = np.array([np.mean(r["correct"]) for r in rows])
    mean = float(means.mean())
    half = 1.96 * float(means.std(ddof=1)) / math.sqrt(len(rows)) if len(rows) > 1 else math.nan
    samples = len(rows) * k
    reasons = [reason for r in rows for reason in r["reasons"]]
    summary = {
        f"avg@{k}": mean,
        "ci95_low": max(0.0, mean - half),
        "ci95_high": min(1.0, mean + half),
        f"pass@{k}": float(np.mean([pass_at_k(k, sum(x >= 1 for x in r["correct"]), k) for r in rows])),
        "problems": float(len(rows)),
        "response_length": float(np.mean([n for r in rows for n in r["lengths"]])),
        "truncated_fraction": sum(t for r in rows for t in r["truncated"]) / samples,
        "no_answer_fraction": sum(x in ("no_answer", "malformed") for x in reasons) / samples,
        "timeout_fraction": sum(x in ("timeout", "crash") for x in reasons) / samples,
    }
    return summary


def write_result(folder: Path, name: str, bench: Bench, result: Evaluation, **context: Any) -> Path:
    """`eval/<bench>.json`: numbers, protocol, versions and every sample."""
    protocol = {k: v for k, v in vars(bench).items() if k not in ("source", "verifier")}
    content = {
        "bench": name,
        "summary": result.summary,
        "protocol": protocol,
        "source": vars(bench.source) | {"chat": bench.source.chat.value},
        "verifier": {k: getattr(v, "value", v) for k, v in vars(bench.verifier).items()},
        "versions": {"rlvr": __version__} | versions(),
        **context,
        "problems": result.rows,
    }
    path = folder / f"{name}.json"
    write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return path


def evaluate(recipe: EvalRecipe, terminal: TextIO) -> None:
    """Run `rlvr eval`: every bench of the recipe on one model."""
    assert recipe.out is not None  # the launcher has filled it in
    out = Path(recipe.out)
    distributed.initialise()
    model = local_model(recipe.model, out, recipe.seed)
    tokenizer = load_tokenizer(model)
    longest = max(b.max_tokens for b in recipe.benches.values())
    wanted = recipe.rollout.max_prompt_tokens + longest
    context = min(wanted, context_length(model) or wanted)
    with (
        open_eval_tracker(recipe, out, terminal) as tracker,
        Pool({verifier_key(n): b.verifier for n, b in recipe.benches.items()}, recipe.verification) as pool,
    ):
        tracker.header(
            {"model": recipe.model.path, "benches": ", ".join(recipe.benches), "results": str(out)}
        )
        if context < wanted:
            tracker.event("warning", f"the model has {context} positions: longer responses are cut there")
        results = {}
        precision = recipe.rollout.dtype or recipe.precision or default_precision()
        engine = start_engine(recipe.rollout, model, tokenizer, recipe.seed, precision, context)
        for name, bench in recipe.benches.items():
            timer = Timer()
            result = run_bench(
                name,
                bench,
                engine,
                pool,
                tokenizer,
                max_prompt_tokens=min(recipe.rollout.max_prompt_tokens, context - 1),
                timer=timer,
                advance=tracker.progress(name),
            )
            tracker.evaluation(0, name, result.summary)
            if distributed.rank() == 0:
                context_of = {
                    "model": recipe.model.path,
                    "precision": precision.value,
                    "timing": timer.take(),
                }
                path = write_result(out, name, bench, result, **context_of)
                results[str(path)] = {"bench": name} | result.summary
        engine.close()
    if distributed.rank() == 0:
        print_results(terminal, results)
