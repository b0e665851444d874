"""Verifier throughput: `python benchmarks/verify.py`. Rates are checks per second."""

from __future__ import annotations

import random
from time import perf_counter

import math_verify

from rlvr_cli.schema import Verification
from rlvr_cli.types import Verdict
from rlvr_cli.verifiers.math import Math
from rlvr_cli.verifiers.pool import Pool

REASONING = "First we factor the expression, then we count the cases one by one and add them up. " * 4
Check = tuple[str, str]


def integers(count: int) -> list[Check]:
    """AIME: integers below 1000, half of them right, at the end of a few hundred characters."""
    rng = random.Random(0)
    golds = [rng.randrange(1000) for _ in range(count)]
    return [(f"{REASONING}\n\\boxed{{{gold + rng.randrange(2)}}}", str(gold)) for gold in golds]


def expressions(count: int) -> list[Check]:
    """Roots and polynomials, all different and in random order, which need an algebra system."""
    checks = []
    for i in range(2, count + 2):
        if i % 2:
            checks.append((f"{REASONING}\n\\boxed{{\\sqrt{{{3 * i * i}}}}}", f"{i}\\sqrt{{3}}"))
        else:
            checks.append((f"{REASONING}\n\\boxed{{(x+{i})(x-1)}}", f"x^2+{i - 1}x-{i}"))
    random.Random(0).shuffle(checks)
    return checks


def ours(checks: list[Check]) -> tuple[float, float]:
    """(rate, share of correct verdicts) in this process."""
    verifier = Math()
    started = perf_counter()
    correct = sum(verifier.verify(response, gold, {}).score for response, gold in checks)
    return len(checks) / (perf_counter() - started), correct / len(checks)


def inline(checks: list[Check]) -> tuple[float, float]:
    verifier = Math()
    started = perf_counter()
    verdicts = [verifier.inline(response, gold, {}) for response, gold in checks]
    rate = len(checks) / (perf_counter() - started)
    assert all(verdicts)
    return rate, sum(verdict.score for verdict in verdicts if verdict) / len(checks)


def alone(checks: list[Check]) -> tuple[float, float]:
    """math-verify as its README calls it."""
    started = perf_counter()
    correct = sum(
        math_verify.verify(math_verify.parse(f"\\boxed{{{gold}}}"), math_verify.parse(response))
        for response, gold in checks
    )
    return len(checks) / (perf_counter() - started), correct / len(checks)


def pooled(checks: list[Check], workers: int) -> tuple[float, float]:
    with Pool({"math": Math()}, Verification(workers=workers)) as pool:
        warm_up = [pool.submit("math", f"\\boxed{{\\sqrt{{{i}}}}}", "\\pi", {}) for i in range(2, 40)]
        for future in warm_up:
            future.result()
        started = perf_counter()
        futures = [pool.submit("math", response, gold, {}) for response, gold in checks]
        verdicts: list[Verdict] = [future.result() for future in futures]
        rate = len(checks) / (perf_counter() - started)
    return rate, sum(verdict.score for verdict in verdicts) / len(checks)


def main() -> None:
    easy, hard = integers(50_000), expressions(900)
    alone(hard[:100])  # imports and grammar tables
    rows = [
        ("AIME integers, exact path", inline(easy)),
        ("AIME integers, math-verify alone", alone(easy[:500])),
        ("AIME integers, pool with 2 workers", pooled(easy, 2)),
        ("expressions, ours in one process", ours(hard[100:300])),
        ("expressions, math-verify alone", alone(hard[300:500])),
        ("expressions, pool with 2 workers", pooled(hard[500:], 2)),
    ]
    print(f"{'':36}{'checks/s':>10}{'correct':>10}")
    for name, (rate, correct) in rows:
        print(f"{name:36}{rate:10,.0f}{correct:10.2f}")
    print(f"expressions, ours / math-verify alone: {rows[3][1][0] / rows[4][1][0]:.2f}")


if __name__ == "__main__":
    main()
