"""Whole runs with off-policy corrections: continued, on two ranks, and where nothing is to be corrected."""

from pathlib import Path
from typing import Any

import pytest
from correction_entries import AGREEING, PRESETS, RESUMED
from run_helpers import run_entries

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    """Of one rank and of two, each from one group of processes."""
    found = {}
    for ranks in (1, 2):
        out = tmp_path_factory.mktemp(f"ranks{ranks}")
        found[ranks] = run_entries("correction_entries.py", ranks, tiny_path, out)
    return found


@pytest.mark.parametrize("name", RESUMED)
def test_a_run_that_was_cut_goes_on_to_the_bit(name: str, runs: dict[int, dict[str, Any]]) -> None:
    whole, cut = runs[1][name]
    assert len(whole) == 3 and all(row["actor/grad_norm"] > 1e-3 for row in whole)
    assert cut == whole
    first, second = runs[1][f"traces {name}"]
    assert len(first) > 1 and second == first


@pytest.mark.parametrize("name", PRESETS)
def test_two_ranks_do_what_one_does(name: str, runs: dict[int, dict[str, Any]]) -> None:
    [both], alone = runs[2][name], runs[1][name][0]
    for got, wanted in zip(both, alone, strict=True):
        assert got.keys() == wanted.keys()
        for metric, value in wanted.items():
            assert got[metric] == pytest.approx(value, abs=1e-4, rel=1e-4), metric


def test_old_samples_are_corrected(runs: dict[int, dict[str, Any]]) -> None:
    for name in ("decoupled", "a3po", "normalised"):
        last = runs[1][name][0][-1]
        assert last["staleness/mean"] == 1 and last["mismatch/k3"] > 1e-6
        assert 0 < last["mismatch/ess"] < 1 and last["mismatch/rho_max"] > 1.001
        assert last["mismatch/kept_fraction"] == 1 and last["mismatch/rho_mean"] == pytest.approx(1, abs=0.1)
    assert runs[1]["mis"][0][-1]["mismatch/kept_fraction"] == 1  # of the present weights: nothing to reject


def test_an_interpolated_proximal_policy_spares_the_forward_pass(runs: dict[int, dict[str, Any]]) -> None:
    """Two updates a step need the old logprobs, unless they are interpolated."""
    assert runs[1]["scored decoupled"] and not runs[1]["scored a3po"]
    assert runs[1]["decoupled"][0] != runs[1]["a3po"][0]


@pytest.mark.parametrize("name", AGREEING)
def test_where_engine_and_trainer_agree_a_correction_changes_no_bit(
    name: str, runs: dict[int, dict[str, Any]]
) -> None:
    assert runs[1][f"agreeing {name}"] == runs[1]["agreeing none"]
