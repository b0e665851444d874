"""The worker pool: every item gets one verdict, whatever happens to workers, and nothing is left behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from places import ROOT, SUPPORT

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.schema import Verification
from rlvr_cli.verifiers.format import Format
from rlvr_cli.verifiers.match import Match
from rlvr_cli.verifiers.math import Math
from rlvr_cli.verifiers.pool import OUTSTANDING_PER_WORKER, Pool

pytestmark = pytest.mark.slow


@dataclass(kw_only=True)
class Misbehaving:
    """Does what the response says; the worker imports it from this file."""

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        action, _, argument = response.partition(" ")
        if answer == "bad gold" and action != "no":
            raise ValueError(answer)
        if action == "no":
            open("/no/such/file").close()
        if action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if action == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if action == "deaf":
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM, signal.SIGPROF])
            while True:
                pass
        if action == "sleep":
            time.sleep(float(argument))
        elif action == "hang":  # deaf to the alarm: only a kill ends it
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
            while True:
                time.sleep(1)
        elif action == "spin":
            while True:
                try:
                    while True:
                        pass
                except Exception:
                    pass
        elif action == "allocate":
            bytearray(8 << 30)
        elif action == "raise":
            raise ValueError(argument)
        elif action == "exit" or (action == "exit_once" and not os.path.exists(argument)):
            if argument:
                open(argument, "w").close()
            os._exit(3)
        return Verdict(score=1.0, reason=Reason.correct, extracted=answer, detail=str(os.getpid()))


@dataclass(kw_only=True)
class Broken:
    def warm(self) -> None:
        raise ImportError("no module named sympathy")

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        raise NotImplementedError


def pool(**settings: Any) -> Pool:
    return Pool({"bad": Misbehaving(), "match": Match()}, Verification(**{"timeout_s": 1.0, **settings}))


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def children() -> list[psutil.Process]:
    """Verifier workers below this process; other tests may have left helpers of other libraries."""
    found = psutil.Process().children(recursive=True)
    return [p for p in found if p.is_running() and "rlvr_cli.verifiers.worker" in " ".join(cmdline(p))]


def cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # it ended in between
        return []


def test_verdicts_are_the_same_inline_in_a_worker_and_from_a_thread() -> None:
    cases = [
        (r"\boxed{\frac{1}{2}}", "0.5"),
        (r"\boxed{\sqrt{8}}", r"2\sqrt{2}"),
        (r"\boxed{(1,2)}", "(2,1)"),
    ]
    cases += [(r"\boxed{5 or 6}", "5"), ("none", "5"), (r"\boxed{2^{2^{30}}}", "5"), ("\ud800", "5")]
    direct = [Math().verify(*case, {}) for case in cases]
    with Pool({"math": Math()}, Verification(workers=1)) as workers:
        pooled = [workers.submit("math", *case, {}) for case in cases]
        from_thread: list[Any] = []
        thread = threading.Thread(
            target=lambda: from_thread.extend(workers.submit("math", *case, {}) for case in cases)
        )
        thread.start()
        thread.join()
        for futures in (pooled, from_thread):
            for expected, future in zip(direct, futures, strict=True):
                found = future.result(60)
                assert found.ms > 0
                assert replace(found, ms=0.0) == expected


def test_a_hang_is_a_timeout_and_others_are_served() -> None:
    with pool(timeout_s=4.0) as workers:
        workers.submit("bad", "ok", "", {}).result(60)
        started = time.monotonic()
        hung, spun = workers.submit("bad", "hang", "", {}), workers.submit("bad", "spin", "", {})
        others = [workers.submit("bad", "ok", str(i), {}) for i in range(50)]
        inline = workers.submit("match", "a", "a", {})
        assert inline.done() and inline.result().score == 1  # needs no worker
        assert hung.result(30).reason is Reason.timeout, "it has not computed"
        assert spun.result(30).reason is Reason.refused and spun.result().score == 0
        assert [future.result(60).extracted for future in others] == [str(i) for i in range(50)]
        # All of it waited for the two, and yet no other item timed out: waiting does not count.
        assert time.monotonic() - started < 60
        assert hung.result().detail == "worker killed after 8 s"
        assert spun.result().detail == "took more than 3 s"


def test_what_is_deaf_to_its_clocks_is_killed_and_refused_for_its_computing() -> None:
    with pool(timeout_s=1.0) as workers:
        workers.submit("bad", "ok", "", {}).result(60)
        found = workers.submit("bad", "deaf", "", {}).result(60)
        assert (found.reason, found.detail) == (Reason.refused, "worker killed after 1 s of computing")


def test_memory_exceptions_and_deaths_are_the_responses_doing(tmp_path: Path) -> None:
    with pool(memory_mb=512) as workers:
        workers.submit("bad", "ok", "", {}).result(60)
        bomb = workers.submit("bad", "allocate", "", {}).result(60)
        assert bomb.reason is Reason.refused and "memory_mb" in bomb.detail
        raised = workers.submit("bad", "raise boom", "", {}).result(60)
        assert (raised.reason, raised.detail) == (Reason.refused, "ValueError: boom")
        for action, code in (("exit", 3), ("segfault", -11)):
            died = workers.submit("bad", action, "", {}).result(60)
            assert (died.reason, died.detail) == (Reason.refused, f"worker died (exit code {code})")
        once = workers.submit("bad", f"exit_once {tmp_path / 'flag'}", "", {}).result(60)
        assert once.reason is Reason.correct  # tried again on another worker
        assert workers.submit("bad", "ok", "", {}).result(60).score == 1


def test_what_no_response_has_caused_is_a_crash() -> None:
    """A gold answer that raises whatever the response says, and a machine without a file; workers that are
    killed from outside."""
    with pool() as workers:
        workers.submit("bad", "ok", "", {}).result(60)
        for response, said in (("raise boom", "ValueError: bad gold"), ("no file", "FileNotFoundError")):
            found = workers.submit("bad", response, "bad gold", {}).result(60)
            assert found.reason is Reason.crash and found.detail.startswith(said)
        killed = workers.submit("bad", "kill", "", {}).result(60)
        assert (killed.reason, killed.detail) == (Reason.crash, "worker died (exit code -9)")


def test_workers_that_die_before_they_have_judged_anything_end_the_pool() -> None:
    with pool(workers=1) as workers:
        futures = [workers.submit("bad", "exit", str(n), {}) for n in range(5)]
        with pytest.raises(RuntimeError, match=r"workers do not start \(exit code 3\)"):
            [future.result(60) for future in futures]


def test_a_pattern_that_backtracks_is_refused() -> None:
    verifiers = {"format": Format(pattern="(a+)+b")}
    with Pool(verifiers, Verification(workers=1, timeout_s=1.0)) as workers:
        assert workers.submit("format", "a" * 40, "", {}).result(60).reason is Reason.refused
        assert workers.submit("format", "aab", "", {}).result(60).score == 1


def test_workers_killed_at_random_lose_and_double_nothing() -> None:
    rng = random.Random(0)
    resolved: list[int] = []
    kills = 0
    with pool(timeout_s=20.0) as workers:
        assert workers.submit("bad", "ok", "", {}).result(60).score == 1
        futures = []
        for i in range(600):
            futures.append(workers.submit("bad", "sleep 0.005", str(i), {}))
            futures[-1].add_done_callback(lambda _, i=i: resolved.append(i))
            if i % 40 == 39:
                futures[-20].result(60)  # workers are up, and twenty items are in their hands or queued
                for victim in rng.sample(children(), 1):
                    victim.kill()
                    kills += 1
        found = [future.result(120) for future in futures]
    assert kills >= 10
    assert sorted(resolved) == list(range(600))
    for i, verdict in enumerate(found):  # hit twice by chance is possible, and is told
        assert verdict.reason is Reason.crash or verdict.extracted == str(i)
    assert sum(verdict.scored for verdict in found) >= 598


def test_workers_killed_while_they_start_are_started_again() -> None:
    with pool(workers=1) as workers:
        future = workers.submit("bad", "ok", "here", {})
        for _ in range(5):  # more than FAILED_STARTS; each before Python is up
            assert eventually(lambda: bool(children()))
            for child in children():
                child.kill()
            time.sleep(0.02)
        assert future.result(60).extracted == "here"


def test_recycling_changes_workers_without_a_pause() -> None:
    with pool(workers=1, recycle_after=5, timeout_s=5.0) as workers:
        pids: list[str] = []
        end = time.monotonic() + 60
        while len(set(pids)) < 3 and time.monotonic() < end:
            pids.append(workers.submit("bad", "sleep 0.05", "", {}).result(5).detail)
        assert len(set(pids)) == 3 and pids == sorted(pids, key=pids.index)  # one after the other
        assert min(pids.count(pid) for pid in pids[:-1]) >= 5
        assert eventually(lambda: len(children()) <= 2)


def test_submit_blocks_when_too_much_is_outstanding() -> None:
    with pool(workers=1, timeout_s=5.0) as workers:
        sent: list[int] = []

        def send() -> None:
            try:
                for i in range(OUTSTANDING_PER_WORKER + 5):
                    workers.submit("bad", "sleep 1" if i == 0 else "ok", "", {})
                    sent.append(i)
            except RuntimeError:
                pass

        thread = threading.Thread(target=send)
        thread.start()
        assert eventually(lambda: len(sent) == OUTSTANDING_PER_WORKER)
        time.sleep(0.1)
        assert len(sent) == OUTSTANDING_PER_WORKER and thread.is_alive()
        thread.join(30)
        assert len(sent) == OUTSTANDING_PER_WORKER + 5


def test_repeated_slow_answers_are_computed_once() -> None:
    with Pool({"math": Math()}, Verification(workers=1)) as workers:
        first = workers.submit("math", r"a \boxed{\sqrt{12}}", r"2\sqrt{3}", {})
        again = workers.submit("math", r"b \boxed{\sqrt{12}}", r"2\sqrt{3}", {})
        other = workers.submit("math", r"b \boxed{\sqrt{12}}", r"3\sqrt{2}", {})
        assert again is first and first.result(60).score == 1 and other.result(60).score == 0


def test_faults_of_the_setup_are_raised() -> None:
    with Pool({"broken": Broken()}, Verification(workers=1)) as workers:
        with pytest.raises(RuntimeError, match="no module named sympathy"):
            workers.submit("broken", "", "", {}).result(60)
        with pytest.raises(RuntimeError, match="no module named sympathy"):
            workers.submit("broken", "", "", {})
    with pool(memory_mb=10) as workers, pytest.raises(RuntimeError, match=r"cannot start|enough\?"):
        workers.submit("bad", "ok", "", {}).result(60)
    with pool() as workers, pytest.raises((TypeError, AttributeError)):  # not picklable: the caller's mistake
        workers.submit("bad", "ok", "", {"f": lambda: None})


def test_close_leaves_no_process_and_no_descriptor() -> None:
    pool().close()  # imports and caches of the standard library
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        workers = pool()
        done = workers.submit("bad", "ok", "", {})
        assert done.result(60).score == 1
        left = workers.submit("bad", "sleep 30", "", {})
        workers.close()
        workers.close()
        assert left.result(1).reason is Reason.crash and "closed" in left.result().detail
        with pytest.raises(RuntimeError, match="closed"):
            workers.submit("bad", "ok", "", {})
    assert children() == []
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_parent(how: signal.Signals, tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import signal, time\nfrom test_pool import pool, children\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # the tests may run where it is ignored
        "with pool(timeout_s=60.0) as workers:\n"  # no __main__ guard: workers must not import it
        "    workers.submit('bad', 'ok', '', {}).result()\n"
        "    workers.submit('bad', 'sleep 50', '', {})\n"
        "    print(*(child.pid for child in children()), flush=True)\n"
        "    time.sleep(60)\n"
    )
    path = os.pathsep.join([str(Path(__file__).parent), str(SUPPORT), str(ROOT)])
    parent = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path},
        text=True,
    )
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2
    parent.send_signal(how)
    parent.wait(30)
    parent.stdout.close()
    assert eventually(lambda: not any(psutil.pid_exists(pid) for pid in pids))


def test_five_hundred_hostile_answers() -> None:
    forms = [r"\sqrt{{{0}}}^{{{0}}}", r"\prod_{{k=1}}^{{{0}}}(x+k)", "9^{{9^{{{0}}}}}", "{0}00000!"]
    forms += ["(((x+{0}", "x^{{{0}}}"]
    gold = r"\sqrt{2}"
    with Pool({"math": Math()}, Verification(timeout_s=1.0, memory_mb=1024)) as workers:
        answers = [forms[i % len(forms)].format(i) for i in range(500)]
        futures = [workers.submit("math", f"\\boxed{{{answer}}}", gold, {}) for answer in answers]
        found = [future.result(300) for future in futures]
        assert len(children()) <= 4
    assert all(verdict.score == 0 for verdict in found)
    assert children() == []
