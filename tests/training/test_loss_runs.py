"""Presets of losses, advantages and aggregations beyond PPO's: on two ranks, and through a resume."""

from pathlib import Path
from typing import Any

import pytest
from run_helpers import run_entries

pytestmark = pytest.mark.slow

PRESETS = [
    *("dppo_tv", "dppo_kl", "sapo", "gmpo", "opsm", "clip_cov", "kl_cov", "pass_at_k", "ar", "intellect2"),
    *("magistral", "scalerl", "topr", "luspo", "vespo"),
]


@pytest.fixture(scope="module")
def runs(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for ranks in (1, 2):
        out = tmp_path_factory.mktemp(f"ranks{ranks}")
        found |= run_entries("loss_entries.py", ranks, tiny_path, out, ",".join(PRESETS))
    return found


@pytest.mark.parametrize("preset", PRESETS)
def test_two_ranks_make_the_run_of_one(preset: str, runs: dict[str, Any]) -> None:
    one, two = (runs[f"{preset} whole ranks={ranks}"]["rows"] for ranks in (1, 2))
    assert len(one) == 2 and any(row["actor/grad_norm"] > 1e-4 for row in one)
    for got, wanted in zip(two, one, strict=True):
        for name, value in wanted.items():
            assert got[name] == pytest.approx(value, abs=1e-4, rel=1e-3), name


@pytest.mark.parametrize("preset", PRESETS)
def test_a_run_in_two_parts_is_the_whole_run_bit_for_bit(preset: str, runs: dict[str, Any]) -> None:
    whole, resumed = (runs[f"{preset} {name} ranks=2"] for name in ("whole", "resumed"))
    assert len(whole["rows"]) == 2 and len(whole["traces"]) > 1
    assert resumed == whole
