"""Verifier throughput: `python benchmarks/verify.py`. Rates are checks per second.

With `--kill-seconds 120` instead: that long, random workers are killed while the pool is kept busy, and
every item is counted. Ends with code 1 where one is lost, doubled or judged wrongly.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
from collections import Counter
from concurrent.futures import Future
from contextlib import suppress
from itertools import count
from threading import Event, Thread
from time import monotonic, perf_counter

import math_verify
import psutil

from rlvr_cli.core.types import Verdict
from rlvr_cli.schema import Verification
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


def kill_workers(stop: Event, kills: list[int]) -> None:
    """A random worker of this process every 0.5 to 4 s, ready or not."""
    rng = random.Random(0)
    while not stop.wait(rng.uniform(0.5, 4)):
        children = psutil.Process().children(recursive=True)
        if children:
            victim = rng.choice(children).pid
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
                kills.append(victim)


def under_fire(seconds: float) -> bool:
    """Whether every item had exactly one verdict, and the right one where it had a score."""
    told: Counter[int] = Counter()
    items: list[tuple[Future[Verdict], float]] = []
    stop, kills = Event(), list[int]()
    with Pool({"math": Math()}, Verification(workers=2)) as pool:
        killer = Thread(target=kill_workers, args=(stop, kills))
        killer.start()
        end = monotonic() + seconds
        for n in count(2):
            if monotonic() > end:
                break
            right = n % 3 > 0
            future = pool.submit(
                "math", f"\\boxed{{\\sqrt{{{3 * n * n}}}}}", f"{n + 1 - right}\\sqrt{{3}}", {}
            )
            future.add_done_callback(lambda _, n=n: told.update([n]))  # type: ignore[misc]
            items.append((future, float(right)))
        stop.set()
        killer.join()
        verdicts = [(future.result(120), expected) for future, expected in items]
    lost = len(items) - len(told)
    doubled = sum(times > 1 for times in told.values())
    wrong = sum(verdict.scored and verdict.score != expected for verdict, expected in verdicts)
    reasons = Counter(verdict.reason.value for verdict, _ in verdicts)
    print(f"{len(items)} items in {seconds:g} s, {len(kills)} workers killed")
    print(f"lost {lost}, doubled {doubled}, judged wrongly {wrong}")
    print(f"verdicts: {', '.join(f'{name} {number}' for name, number in sorted(reasons.items()))}")
    return not (lost or doubled or wrong)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kill-seconds", type=float, help="kill workers for so long, and count verdicts")
    arguments = parser.parse_args()
    if arguments.kill_seconds:
        sys.exit(not under_fire(arguments.kill_seconds))
    throughput()


def throughput() -> None:
    easy, hard = integers(50_000), expressions(1300)
    alone(hard[:100])  # imports and grammar tables
    # The better of two, in turns and on different problems: single runs show what else the machine does.
    mine, theirs = [], []
    for start in (100, 500):
        mine.append(ours(hard[start : start + 200]))
        theirs.append(alone(hard[start + 200 : start + 400]))
    rows = [
        ("AIME integers, exact path", max(inline(easy) for _ in range(3))),
        ("AIME integers, math-verify alone", alone(easy[:500])),
        ("AIME integers, pool with 2 workers", pooled(easy, 2)),
        ("expressions, ours in one process", max(mine)),
        ("expressions, math-verify alone", max(theirs)),
        ("expressions, pool with 2 workers", pooled(hard[900:], 2)),
    ]
    print(f"{'':36}{'checks/s':>10}{'correct':>10}")
    for name, (rate, correct) in rows:
        print(f"{name:36}{rate:10,.0f}{correct:10.2f}")
    print(f"AIME integers, exact path / 50,000 checks/s: {rows[0][1][0] / 50_000:.2f}")
    print(f"AIME integers, exact path / math-verify alone: {rows[0][1][0] / rows[1][1][0]:.0f}")
    print(f"expressions, ours / math-verify alone: {rows[3][1][0] / rows[4][1][0]:.2f}")


if __name__ == "__main__":
    main()
