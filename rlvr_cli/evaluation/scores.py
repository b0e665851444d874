"""Scores of a benchmark from its verdicts: avg@k, pass@k, maj@k, G-Pass@k, mG-Pass@k and their intervals.

A problem is a row {correct, scores, extracted, reasons, details, lengths, truncated}, each a list over its
k samples (bench.row); so are `episodes`, where an environment has taken part. A sample is right when its
verdict is `correct`. One without a verdict (None) is no part of any score: a problem has as many samples as
it has verdicts. No torch: files are scored and compared without it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from math import comb
from statistics import NormalDist
from typing import Any

import numpy as np

from rlvr_cli.core.result_files import right as right
from rlvr_cli.core.result_files import share_right as share_right
from rlvr_cli.schema.score_names import TAUS, powers

Row = dict[str, Any]

MOST_MISSING = 0.5
"""Share of samples without a verdict above which there is no score."""
RESAMPLES = 10_000
LEVEL = 0.95


def pass_at_k(n: int, c: int, k: int) -> float:
    """Unbiased estimate that one of k samples is right, c of n being right (Chen et al. 2021, 2107.03374)."""
    if n - c < k:
        return 1.0
    return 1.0 - math.prod((n - c - i) / (n - i) for i in range(k))


def g_pass_at_k(n: int, c: int, k: int, tau: float) -> float:
    """Unbiased estimate that at least ceil(tau k) of k samples are right (Liu et al. 2024, 2412.13147)."""
    least = max(1, math.ceil(round(tau * k, 9)))
    return sum(comb(c, j) * comb(n - c, k - j) for j in range(least, min(c, k) + 1)) / comb(n, k)


def mg_pass_at_k(n: int, c: int, k: int) -> float:
    """G-Pass@k over thresholds from a half to all: 2/k times its sum at i/k, ceil(k/2) < i <= k (2412.13147).

    The sum stands for 2 times an integral and is that of the paper and its code: with an odd k a model that
    is always right has (k - 1)/k.
    """
    return 2 / k * sum(g_pass_at_k(n, c, k, i / k) for i in range(math.ceil(k / 2) + 1, k + 1))


def maj_at_k(right: list[bool], answers: list[str | None], k: int) -> float:
    """Probability that the commonest answer of k samples out of n is right: exact, over all k-subsets.

    The right samples are one answer, whatever their form; wrong ones are told apart by their text; a sample
    without an answer does not vote. Where t answers tie, each is taken with probability 1/t.
    """
    n, c = len(right), sum(right)
    wrong = Counter(a for r, a in zip(right, answers, strict=True) if not r and a is not None)
    silent = n - c - sum(wrong.values())
    won = 0.0
    for votes in range(1, min(c, k) + 1):
        for rivals, ways in enumerate(_outvoted(list(wrong.values()), silent, votes, k - votes)):
            won += comb(c, votes) * ways / (rivals + 1)
    return won / comb(n, k)


def _outvoted(wrong: list[int], silent: int, votes: int, size: int) -> list[int]:
    """Ways to draw `size` samples that are not right with no answer above `votes`, by how many reach it."""
    ways = [[comb(silent, drawn) for drawn in range(size + 1)]]
    for count in wrong:
        longer = [[0] * (size + 1) for _ in range(len(ways) + (count >= votes))]
        for ties, row in enumerate(ways):
            for drawn, number in enumerate(row):
                if number:
                    for more in range(min(count, votes, size - drawn) + 1):
                        longer[ties + (more == votes)][drawn + more] += number * comb(count, more)
        ways = longer
    return [row[size] for row in ways]


def over_problems(
    values: list[float],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> tuple[float, float] | None:
    """95% interval of the mean for other problems of this kind: bootstrap over problems with their samples.

    Percentiles are widened for small sets as Hesterberg (2015, 1411.5279) does, or 30 problems would get 93%.
    Where every value is the lower or every value the upper bound, nothing varies: the exact binomial limit
    stands in. One problem has no interval (None).
    """
    n = len(values)
    if n < 2:
        return None
    if bounds[0] == 0 and (limit := _one_sided(values, n)):
        return limit
    data, generator = np.asarray(values, float), np.random.default_rng(seed)
    chunk = max(1, 2**21 // n)
    means = [
        data[generator.integers(n, size=(min(chunk, resamples - done), n))].mean(1)
        for done in range(0, resamples, chunk)
    ]
    tail = NormalDist().cdf(-math.sqrt(n / (n - 1)) * _student(n - 1))
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return max(bounds[0], float(low)), min(bounds[1], float(high))


def _one_sided(values: list[float], trials: int) -> tuple[float, float] | None:
    """Clopper-Pearson limits when all of `trials` failed, or all succeeded."""
    chance = ((1 - LEVEL) / 2) ** (1 / trials)
    if not any(values):
        return 0.0, 1 - chance
    return (chance, 1.0) if all(value == 1 for value in values) else None


def _student(freedom: int) -> float:
    """0.975 quantile of Student's t by its expansion around the normal (error < 0.01 from 4 degrees on)."""
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return sum(term / freedom**power for power, term in enumerate(terms))


def sampling_only(samples: list[list[float]]) -> tuple[float, float] | None:
    """95% interval of the mean for other samples of the same problems.

    Half its width is 1.96 sqrt(sum_i s_i^2 / n_i) / problems, s_i being the deviation within problem i.
    """
    if any(len(values) < 2 for values in samples):
        return None
    flat = [value for values in samples for value in values]
    if limit := _one_sided(flat, len(flat)):
        return limit
    variance = sum(float(np.var(values, ddof=1)) / len(values) for values in samples)
    mean = float(np.mean([np.mean(values) for values in samples]))
    half = NormalDist().inv_cdf((1 + LEVEL) / 2) * math.sqrt(variance) / len(samples)
    return max(0.0, mean - half), min(1.0, mean + half)


def share_missing(rows: list[Row]) -> float:
    """Samples without a verdict, of all."""
    return sum(row["correct"].count(None) for row in rows) / sum(len(row["correct"]) for row in rows)


def averaged(rows: list[Row], size: int, score: Callable[[list[bool], Row], float]) -> float | None:
    """Mean of score(right, row) over the problems with at least `size` verdicts; None without any."""
    found = [score(judged, row) for row in rows if len(judged := right(row)) >= size]
    return float(np.mean(found)) if found else None


def summarise(
    rows: list[Row], *, pass_at: list[int] | None = None, majority: bool = True
) -> dict[str, float]:
    """The numbers that are tracked: scores, their 95% intervals, and what can distort them.

    `ci95` is over problems, `sampling95` over samples alone (from two samples a problem on). Without
    verdicts for half of the samples there are no scores; one that needs more verdicts than any problem has is
    absent.
    """
    if share_missing(rows) > MOST_MISSING:
        return health(rows)
    k = len(rows[0]["correct"])
    judged = [row for row in rows if right(row)]
    means = [float(np.mean(right(row))) for row in judged]
    scores = [float(np.mean([x for x in row["scores"] if x is not None])) for row in judged]
    summary: dict[str, float | None] = {f"avg@{k}": float(np.mean(means)), "score": float(np.mean(scores))}
    samples = [[float(ok) for ok in right(row)] for row in judged]
    repeated = [each for each in samples if len(each) > 1]
    within = sampling_only(repeated) if repeated else None
    for name, interval in {"ci95": over_problems(means), "sampling95": within}.items():
        if interval is not None:
            summary |= {f"{name}_low": interval[0], f"{name}_high": interval[1]}
    summary |= {f"pass@{j}": passed(rows, j) for j in pass_at or powers(k)}
    if majority and k > 1:
        summary |= {f"maj@{j}": majority_at(rows, j) for j in powers(k)[1:]}
    if k > 1:
        summary |= {f"gpass@{k}_{tau}": g_passed(rows, k, tau) for tau in TAUS}
        summary |= {f"mgpass@{j}": mg_passed(rows, j) for j in powers(k)[1:]}
    found = {name: value for name, value in summary.items() if value is not None}
    return found | tracked(rows) | measured(rows) | health(rows)


def played(rows: list[Row]) -> dict[str, float]:
    """What the episodes of all samples were like; nothing where there are none. Measures of environments are
    means over the episodes that have them."""
    episodes = [episode for row in rows for episode in row.get("episodes", ())]
    if not episodes:
        return {}
    found = {"turns/mean": sum(len(episode["turns"]) for episode in episodes) / len(episodes)}
    for name in sorted({name for episode in episodes for name in episode["measures"]}):
        values = [episode["measures"][name] for episode in episodes if name in episode["measures"]]
        found[name if "/" in name else f"environment/{name}"] = sum(values) / len(values)
    return found


def passed(rows: list[Row], j: int) -> float | None:
    return averaged(rows, j, lambda judged, row: pass_at_k(len(judged), sum(judged), j))


def g_passed(rows: list[Row], j: int, tau: float) -> float | None:
    return averaged(rows, j, lambda judged, row: g_pass_at_k(len(judged), sum(judged), j, tau))


def mg_passed(rows: list[Row], j: int) -> float | None:
    return averaged(rows, j, lambda judged, row: mg_pass_at_k(len(judged), sum(judged), j))


def majority_at(rows: list[Row], k: int) -> float | None:
    def won(judged: list[bool], row: Row) -> float:
        pairs = zip(row["correct"], row["extracted"], strict=True)
        return maj_at_k(judged, [said for correct, said in pairs if correct is not None], k)

    return averaged(rows, k, won)


def measured(rows: list[Row]) -> dict[str, float]:
    """What a verifier counts besides its score (Verdict.measures), over all samples: points by how many."""
    points: dict[str, list[float]] = {}
    for row in rows:
        for measures in row.get("measures", []):
            for name, (got, of) in measures.items():
                total = points.setdefault(name, [0.0, 0.0])
                total[0] += got
                total[1] += of
    return {name: got / of for name, (got, of) in points.items()}


def tracked(rows: list[Row]) -> dict[str, float]:
    """Of each verifier that a bench tracks: its mean score over the samples it has a verdict on, and how many
    of those with half a score or more, and of the others, are right (Spurious Rewards, 2506.10947: accuracy
    with and without code)."""
    found: dict[str, float] = {}
    for name in sorted({name for row in rows for name in row.get("tracked", {})}):
        pairs = [
            (score, right)
            for row in rows
            for score, right in zip(row["tracked"][name], row["correct"], strict=True)
            if score is not None
        ]
        if pairs:
            found[f"tracked/{name}"] = sum(score for score, _ in pairs) / len(pairs)
        for kind, among in (("right_with", True), ("right_without", False)):
            judged = [right for score, right in pairs if right is not None and (score >= 0.5) is among]
            if judged:
                found[f"tracked/{name}/{kind}"] = sum(judged) / len(judged)
    return found


def health(rows: list[Row]) -> dict[str, float]:
    """How many, how long, and what was never judged by its content."""
    samples = sum(len(row["correct"]) for row in rows)
    reasons = Counter(reason for row in rows for reason in row["reasons"])
    return {
        "problems": float(len(rows)),
        "response_length": sum(sum(row["lengths"]) for row in rows) / samples,
        "truncated_fraction": sum(sum(row["truncated"]) for row in rows) / samples,
        "no_answer_fraction": (reasons["no_answer"] + reasons["malformed"]) / samples,
        "timeout_fraction": reasons["timeout"] / samples,
        "crash_fraction": reasons["crash"] / samples,
        "disputed_fraction": sum(sum(row.get("disputed", [])) for row in rows) / samples,
        **played(rows),
    }


def curves(rows: list[Row]) -> dict[str, dict[str, float]]:
    """pass@j, G-Pass@j and mG-Pass@j for every j up to k; none where there is no score."""
    if share_missing(rows) > MOST_MISSING:
        return {}
    sizes = range(1, len(rows[0]["correct"]) + 1)
    found = {"pass@": {str(j): passed(rows, j) for j in sizes}}
    found |= {f"gpass_{tau}@": {str(j): g_passed(rows, j, tau) for j in sizes} for tau in TAUS}
    found["mgpass@"] = {str(j): mg_passed(rows, j) for j in sizes[1:]}
    return {
        name: {j: value for j, value in curve.items() if value is not None} for name, curve in found.items()
    }
