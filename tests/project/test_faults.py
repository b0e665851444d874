"""How benchmarks/faults.py reads a run: only the right sentence counts, from where the fault begins."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from places import ROOT

sys.path.append(str(ROOT / "benchmarks"))
import fault_cases
import faults

CASES = list(fault_cases.every())
STALL = "SLEEP"


def saying(*said: str):
    """A start of a command that says these lines; a STALL waits for minutes."""
    body = "\n".join("time.sleep(600)" if line == STALL else f"print({line!r}, flush=True)" for line in said)

    def start(words: list[str], out: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", f"import time\n{body}"], stdout=out, stderr=out)

    return start


def case(said: str, begins: int = 0) -> fault_cases.Case:
    return fault_cases.Case(
        name="some",
        pain="something",
        said=said,
        begins=begins,
        make=lambda place: [],
        around=fault_cases.nothing,
    )


def step(number: int) -> str:
    return f"step {number:>2}/48  reward  0.10  correct 0.10"


def test_a_run_is_ended_by_the_right_sentence_and_others_are_kept() -> None:
    other, right = "10:00:00  diagnosis  responses grew", "10:00:01  diagnosis  entropy fell from 1 to 0"
    began = time.monotonic()
    found = faults.watched(
        case("entropy fell", begins=2), [], saying(*map(step, range(1, 6)), other, right, STALL)
    )
    assert time.monotonic() - began < 300  # not to the end of the stall
    assert (found.noticed, found.sentence, found.others) == (True, right, [other])
    assert (found.steps, found.finished, found.code) == (3, 5, None)


def test_what_is_no_complaint_does_not_count() -> None:
    """A header, a preflight's table and a line of a step may hold the same words."""
    lines = ("learning rate: entropy fell", "  example 1  entropy fell", step(1) + " entropy fell")
    found = faults.watched(case("entropy fell"), [], saying(*lines))
    assert not found.noticed and found.code == 0 and found.others == []


def test_a_healthy_run_keeps_all_that_it_complains_of() -> None:
    alarms = [
        "10:00:00  warning  preflight: x",
        "10:00:00  why  the reward falls (found after step 2); change y",
    ]
    quiet = [
        "10:00:00  why  reward 0.1 -> 0.3: more than noise",
        "10:00:00  diagnosis  over: x, found after",
        "10:00:00  why  within noise (found after step 2); change y",  # of a short run, and true
    ]
    found = faults.healthy("h", [], saying(step(1), *alarms, *quiet, "rlvr: failed: z"))
    assert found.others == [*alarms, "rlvr: failed: z"] and found.finished == 1
    assert "0.1 -> 0.3" in found.sentence


def test_every_broken_part_is_of_a_case_and_every_case_says_something(tmp_path: Path) -> None:
    assert len(CASES) >= 45 and len({each.name for each in CASES}) == len(CASES)
    used = set()
    for each in CASES:
        folder = tmp_path / each.name
        folder.mkdir()
        words = each.make(fault_cases.Place(folder=folder, model=tmp_path))
        assert words and not faults.re.compile(each.said).search(""), each.name
        used |= {Path(word[len("plugins=[") : -1]) for word in words if word.startswith("plugins=[")}
    assert used == set(fault_cases.BROKEN.glob("*.py"))


@pytest.mark.parametrize("name", ["dapo_0", "ppo", "canary"])
def test_no_healthy_run_is_a_case(name: str) -> None:
    assert name in faults.HEALTHY and len(faults.HEALTHY) == 13
    assert not {each.name for each in CASES} & set(faults.HEALTHY)
