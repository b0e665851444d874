"""RaML's learning test: along a trace of partial sums the answer's likelihood follows what is worked out."""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

import pytest
from places import ROOT

sys.path.append(str(ROOT / "benchmarks"))
import partial_sums as sums


def test_traces_and_examples() -> None:
    assert sums.trace((3, 5, 6)) == "3+5=1,1+6=0" and sums.answer_of((3, 5, 6)) == "0"
    assert sums.trace((3, 5, 6), off=2) == "3+5=3,3+6=2", "a wrong step goes on with what it found"
    assert sums.trace((3, 5, 6), (True,) * 3) == ".3+5=1.,1+6=0."
    assert sums.fillers() == [0, 6, 13] and (sums.PARTIAL, sums.LAST) == (4, 10)
    known, held = sums.problems("train"), sums.problems("eval")
    assert len(known) + len(held) == 7**3 and not {*known} & {*held} and len(held) > 20
    made = sums.examples(Random(0))
    for prompt, said in (next(made) for _ in range(200)):
        triple = tuple(map(int, prompt.rstrip("=").split("+")))
        trace, _, answer = said.partition(sums.LEAD)
        assert triple in known and answer == f"{sum(triple) % 7}{sums.CLOSE}"
        assert sums.trace(triple).startswith(trace.replace(sums.FILLER, "")), "right, and cut anywhere"


@pytest.mark.long
def test_an_answer_is_as_likely_as_what_is_worked_out(tmp_path: Path) -> None:
    """On problems that were not trained on. ln 7 = 1.946 where nothing is known of the answer."""
    found = sums.numbers(sums.seen(*sums.learned(tmp_path / "model", 0, 450), Random(0)))
    assert found["before the partial sum"] == pytest.approx(1.946, abs=0.3)
    assert found["after it"] < 0.3 and found["after the sum"] < 0.3, "it drops where a partial sum is said"
    assert found["after a wrong partial sum"] > 4 and found["after its sum"] > 4, "a wrong step makes it rise"
    assert found["δ of a partial sum"] > 0.8
    assert found["δ of a filler before the first step"] < 0.2, "what says nothing changes nothing"
