"""Programs per second in the sandbox: `python benchmarks/sandbox.py`, one after the other, so per core.

Cold: a new box for every program. Warm: a box that forks for each, as a verifier's worker has it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from rlvr_cli.verifiers.code import Code
from rlvr_cli.verifiers.sandbox import Isolation, Sandbox, probe

SOURCE = "print(sum(map(int, input().split())))"
RESPONSE = f"```python\n{SOURCE}\n```"
PAIRS = json.dumps({"inputs": ["1 2\n"] * 5, "outputs": ["3\n"] * 5})
ASSERTS = json.dumps({"test_list": [f"assert add({n}, 1) == {n + 1}" for n in range(3)]})
ADDS = "def add(a, b):\n    return a + b"
VERDICTS = (
    ("verdict, 5 outputs", RESPONSE, PAIRS),
    ("verdict, 3 asserts", f"```python\n{ADDS}\n```", ASSERTS),
    ("the same with numpy", f"```python\nimport numpy\n{ADDS}\n```", ASSERTS),
)


def timed(action: Callable[[], object], count: int) -> tuple[float, float, float]:
    """(per second, median ms, 99th percentile ms)"""
    times = []
    for _ in range(count):
        started = perf_counter()
        action()
        times.append((perf_counter() - started) * 1000)
    times.sort()
    return 1000 * count / sum(times), statistics.median(times), times[min(count - 1, int(count * 0.99))]


def cold(tier: str) -> None:
    with Sandbox(Isolation(tier)) as sandbox:
        assert sandbox.script(SOURCE, b"1 2\n", 30).stdout == b"3\n"


def bare() -> None:
    """A new interpreter without any isolation."""
    command = [sys.executable, "-I", "-S", "-c", SOURCE]
    assert subprocess.run(command, input=b"1 2\n", capture_output=True, check=True).stdout == b"3\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300, help="programs per figure (cold: a tenth)")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    rows = [("plain python -I -S", "", *timed(bare, arguments.count // 10))]
    for tier in probe():
        if not tier.available:
            print(f"{tier.name} is left out: {tier.detail}")
            continue
        rows.append((tier.name, "cold", *timed(lambda name=tier.name: cold(name), arguments.count // 10)))
        with Sandbox(Isolation(tier.name)) as sandbox:
            sandbox.prepare(1)
            warm = timed(lambda box=sandbox: box.script(SOURCE, b"1 2\n", 30), arguments.count)
            rows.append((tier.name, "warm", *warm))
        for name, response, answer in VERDICTS:
            verifier = Code(timeout_s=30, total_s=60, isolation=Isolation(tier.name))
            assert verifier.verify(response, answer, {}).score == 1.0
            check = timed(lambda v=verifier, r=response, a=answer: v.verify(r, a, {}), arguments.count // 5)
            rows.append((f"  {name}", "warm", *check))
    print(f"{'':22}{'':6}{'per second':>12}{'median ms':>12}{'p99 ms':>12}")
    for name, how, rate, median, worst in rows:
        print(f"{name:22}{how:6}{rate:12.1f}{median:12.1f}{worst:12.1f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
