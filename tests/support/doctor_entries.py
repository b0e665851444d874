"""Checks that break off in every way, run by test_doctor.py."""

from __future__ import annotations

import os
import signal
import time

from rlvr_cli.doctor.check_result import CheckResult, Status


def fine() -> list[CheckResult]:
    print("noise")
    rank, ranks = os.environ["RANK"], os.environ["WORLD_SIZE"]
    return [CheckResult(name="fine", status=Status.ok, detail=f"{rank} of {ranks}")]


def hangs() -> list[CheckResult]:
    print("about to wait", flush=True)
    time.sleep(100)
    return fine()


def crashes() -> list[CheckResult]:
    os.write(2, b"about to crash\n")
    os.kill(os.getpid(), signal.SIGSEGV)
    return fine()


def leaves() -> list[CheckResult]:
    os._exit(3)


def raises() -> list[CheckResult]:
    raise OSError("first line\nsecond line")


def last_raises() -> list[CheckResult]:
    """Rank 0 would wait for ever."""
    return raises() if os.environ["RANK"] == "1" else hangs()


def without_vllm() -> list[CheckResult]:
    import sys

    sys.modules["vllm"] = None  # type: ignore[assignment]  # what find_spec takes for absent
    from rlvr_cli.doctor.training import vllm

    return vllm()


def wrong_sum() -> list[CheckResult]:
    from rlvr_cli.core import distributed
    from rlvr_cli.doctor.training import collective

    distributed.sum_over_ranks = lambda values: values
    return collective()
