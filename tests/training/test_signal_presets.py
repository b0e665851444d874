"""Presets whose signal is a teacher or the policy's own pairs: each resumes exactly and is the same on two
ranks with ZeRO-3. (tests/training/test_preferences.py has those that train on pairs of a file.)"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from run_helpers import run_entries
from signal_entries import CASES

from rlvr_cli.engine.tiny import make_tiny
from rlvr_cli.schema import TinyModel

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_path: Path) -> dict[int, dict[str, Any]]:
    """Number of ranks -> case -> what its run has recorded. A teacher is another model of these tokens."""
    teacher = tmp_path_factory.mktemp("teacher") / "wider"
    make_tiny(teacher, TinyModel(hidden_size=96, layers=2, heads=2, kv_heads=1, max_positions=160), seed=7)
    return {
        ranks: run_entries(
            "signal_entries.py", ranks, tiny_path, tmp_path_factory.mktemp(f"ranks{ranks}"), str(teacher)
        )
        for ranks in (1, 2)
    }


@pytest.mark.parametrize("preset", CASES)
def test_each_goes_on_exactly(preset: str, runs: dict[int, dict[str, Any]]) -> None:
    """Metrics and weights, a following teacher's included, of two steps and of one and one more."""
    whole, cut = runs[1][preset], runs[1][f"{preset} cut"]
    assert len(whole["rows"]) == 2 and any(row["actor/grad_norm"] > 1e-6 for row in whole["rows"])
    assert cut == whole
    assert len(whole["weights"]) == (2 if preset in ("sdft", "sdpo") else 1)


@pytest.mark.parametrize("preset", CASES)
def test_two_ranks_with_zero_3_do_what_one_does(preset: str, runs: dict[int, dict[str, Any]]) -> None:
    for ours, theirs in zip(runs[1][preset]["rows"], runs[2][preset]["rows"], strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            assert theirs[name] == pytest.approx(value, rel=2e-3, abs=2e-5), name
