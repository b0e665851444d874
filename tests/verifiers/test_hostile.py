"""What a policy may write: verdicts in bounded time and memory, the same wherever they are asked for."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.schema import Verification
from rlvr_cli.verifiers.extract import Extraction, Rejected, extract
from rlvr_cli.verifiers.math import Math
from rlvr_cli.verifiers.mathematics import read
from rlvr_cli.verifiers.mathematics.guard import refuse, refuse_costly
from rlvr_cli.verifiers.pool import OUTSTANDING_PER_WORKER, Pool
from rlvr_cli.verifiers.remote import Remote
from rlvr_cli.verifiers.server import serving

pytestmark = pytest.mark.slow

FORMS = [
    *("9^{{9^{{{0}}}}}", "{0}00000!", r"\binom{{{0}0000000}}{{5000000}}", r"\sum_{{k=1}}^{{{0}}} k^k"),
    *(r"\sqrt{{{0}}}^{{{0}}}", "(1+x+y+z)^{{{0}}}", r"\prod_{{k=1}}^{{{0}}}(x+k)", "x^{{{0}}}", "(((x+{0}"),
    *("\x00{0}\x00", "\u202e{0}\ud800", "½²³{0}ⅷ𝟗", "__import__('os').system('{0}')", "{0}" * 99),
]
BIG = [
    "\\boxed{" + "{" * 100_000 + "5" + "}" * 100_000 + "}",
    "\\boxed{" * 20_000,
    "\\frac{" * 50_000 + "}" * 50_000,
    "Answer: " * 100_000,
    "####" * 500_000,
    "<think>" * 100_000,
    "1" * 10_000_000,
    "\\boxed{" + "9" * 10_000_000 + "}",
    " \n" * 2_000_000 + "\\boxed{5}",
    "\U0001f4a9" * 2_000_000,
]


def memory_mb() -> float:
    return psutil.Process().memory_info().rss / 2**20


HOW_MANY = [300, pytest.param(1000, marks=pytest.mark.long)]


@pytest.mark.parametrize("many", HOW_MANY)
def test_hundreds_of_hostile_answers_and_honest_work_beside_them(many: int) -> None:
    gold = r"\sqrt{2}"
    with Pool({"math": Math()}, Verification(workers=2, timeout_s=1.5, memory_mb=1024)) as pool:
        assert pool.submit("math", r"\boxed{\sqrt{8}/2}", gold, {}).result(60).score == 1.0
        before, started = memory_mb(), time.monotonic()
        futures = []
        for n in range(many):
            text = FORMS[n % len(FORMS)].format(n)
            futures.append(pool.submit("math", f"\\boxed{{{text}}}", gold, {}))
            if n % 100 == 99:
                futures.append(pool.submit("math", rf"\boxed{{\sqrt{{{n * n * 2}}}/{n}}}", gold, {}))
        found = [future.result(300) for future in futures]
        seconds = time.monotonic() - started
        served = [verdict for n, verdict in enumerate(found) if n % 101 == 100]
    assert len(served) == many // 100
    assert sum(verdict.score for verdict in served) >= 0.8 * len(served) - 0.5  # a busy machine may be late
    hostile = [verdict for n, verdict in enumerate(found) if n % 101 != 100]
    assert len(hostile) == many and not any(verdict.score for verdict in hostile if verdict.scored)
    assert seconds < many / 2  # a deadline each, on two workers
    assert memory_mb() - before < 100


@pytest.mark.parametrize("mode", list(Extraction))
def test_big_answers_cost_little(mode: Extraction) -> None:
    verifier, before = Math(extraction=mode), time.process_time()
    for text in BIG:
        verdict = verifier.inline(text, "5", {})
        assert verdict is None or verdict.score in (0.0, 1.0)
    assert time.process_time() - before < 20


def test_the_queue_is_bounded_in_bytes_too() -> None:
    """Long responses are not all held at once: submitting waits."""
    filler = "x" * 2_000_000
    with Pool({"math": Math()}, Verification(workers=1)) as pool:
        assert pool.submit("math", r"\boxed{\sqrt{3}}", r"\sqrt{2}", {}).result(60).score == 0.0
        peak, done, before = 0.0, [], memory_mb()
        for n in range(OUTSTANDING_PER_WORKER):
            done.append(pool.submit("math", rf"{filler}\boxed{{\sqrt{{{n}}}+1}}", r"\sqrt{2}", {}))
            peak = max(peak, memory_mb())
        assert all(future.result(120).score == 0.0 for future in done)
    assert peak - before < 150  # all of them are 256


@settings(max_examples=150, deadline=None)
@given(
    st.text(max_size=60)
    | st.lists(
        st.sampled_from(
            [
                *"0123456789",
                "\\boxed{",
                "}",
                "^{",
                "\\frac",
                "{",
                "!",
                "-",
                "/",
                ".",
                ",",
                "%",
                "####",
                "Answer:",
                "\n",
                "\\text{",
                "<think>",
                "</think>",
                "\x00",
                "\ud800",
                "or",
                "\\binom",
                "=",
                "x",
                "\\sqrt",
                "(",
                ")",
                "E",
                "²",
                "$",
                "\\pm",
            ]
        ),
        max_size=40,
    ).map("".join),
    st.sampled_from(list(Extraction)),
)
def test_extractor_and_normaliser_never_raise(text: str, mode: Extraction) -> None:
    """`Rejected` is a verdict, anything else would be a crash."""
    for function in (
        lambda: extract(text, mode),
        lambda: read(text),
        lambda: refuse(text, "5"),
        lambda: refuse_costly(text),
    ):
        try:
            function()
        except Rejected as rejected:
            assert rejected.verdict.score == 0.0
    verdict = Math(extraction=mode).inline(text, "5", {})
    assert verdict is None or verdict.reason is not Reason.crash


CASES = [
    (r"\boxed{\frac{1}{2}}", "0.5"),
    (r"\boxed{\sqrt{8}}", r"2\sqrt{2}"),
    (r"\boxed{(2,1)}", "(1,2)"),
    (r"\boxed{50\%}", "0.5"),
    (r"\boxed{5 or 6}", "5"),
    (r"\boxed{2^{2^{30}}}", "5"),
    ("\ud800", "5"),
]


def judge(case: tuple[str, str]) -> Verdict:
    return Math().verify(*case, {})


def test_the_verdict_is_the_same_from_everywhere() -> None:
    """Main thread, worker thread, forked process, spawned process, a pool, and a server asked by a pool."""
    main = [judge(case) for case in CASES]
    found: dict[str, list[Verdict]] = {"thread": []}
    thread = threading.Thread(target=lambda: found["thread"].extend(map(judge, CASES)))
    thread.start()
    thread.join()
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(1) as processes:
            found[method] = processes.map(judge, CASES)
    with Pool({"math": Math()}, Verification(workers=1)) as pool:
        found["pool"] = [pool.submit("math", *case, {}).result(60) for case in CASES]
    with serving({"math": Math()}, Verification(workers=1)) as server:
        remote = Remote(url=server.url, connections=1)
        with Pool({"r": remote}, Verification()) as pool:
            found["server"] = [pool.submit("r", *case, {}).result(60) for case in CASES]
    for where, verdicts in found.items():
        assert [replace(verdict, ms=0.0) for verdict in verdicts] == main, where


def test_descriptors_and_processes_after_kills() -> None:
    def worked() -> None:
        with Pool({"math": Math()}, Verification(workers=2)) as pool:
            futures = [pool.submit("math", rf"\boxed{{\sqrt{{{n}}}}}", r"\sqrt{2}", {}) for n in range(40)]
            futures[0].result(60)
            for child in psutil.Process().children():
                if "verifiers.worker" in " ".join(child.cmdline()):
                    child.kill()
            assert all(future.result(60).scored for future in futures)

    worked()
    before = len(os.listdir("/proc/self/fd"))
    worked()
    assert len(os.listdir("/proc/self/fd")) == before
    left = [
        " ".join(p.cmdline()) for p in psutil.Process().children(recursive=True) if p.status() != "zombie"
    ]
    assert not [line for line in left if "verifiers.worker" in line]


def test_the_command_line_gives_the_same(tmp_path: Any) -> None:
    """The verdicts of a run of the command line are those of the process: nothing depends on who asks."""
    path = tmp_path / "cases.jsonl"
    path.write_text("".join(json.dumps({"response": r, "answer": a}) + "\n" for r, a in CASES[:6]))
    command = [sys.executable, "-m", "rlvr_cli", "verify", str(path), "--verifier", "math"]
    subprocess.run([*command, "--out", str(tmp_path / "out.jsonl")], check=True, capture_output=True)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    for case, row in zip(CASES, rows, strict=False):
        direct = judge(case)
        assert (row["score"], row["reason"]) == (direct.score, direct.reason.value)
