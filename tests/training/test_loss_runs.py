"""Presets of losses, advantages and aggregations beyond PPO's: on two ranks, and through a resume."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from run_helpers import run_entries

pytestmark = pytest.mark.slow

PARTS = ("dppo_tv", "opsm", "clip_cov", "kl_cov", "pass_at_k", "ar", "lopti", "scalerl", "gdpo")
"""Each part that is new once."""
OTHERS = ("dppo_kl", "sapo", "gmpo", "intellect2", "magistral", "topr", "luspo", "vespo")
PRESETS = [*PARTS, *(pytest.param(name, marks=pytest.mark.long) for name in OTHERS)]


@pytest.fixture(scope="module")
def runs(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """Preset -> what there is of its runs; those of PARTS are made together, and so are the others."""

    @cache
    def made(presets: tuple[str, ...]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for ranks in (1, 2):
            out = tmp_path_factory.mktemp(f"ranks{ranks}")
            found |= run_entries("loss_entries.py", ranks, tiny_path, out, ",".join(presets))
        return found

    return lambda preset: made(PARTS if preset in PARTS else OTHERS)


@pytest.mark.parametrize("preset", PRESETS)
def test_two_ranks_make_the_run_of_one(preset: str, runs: Callable[[str], dict[str, Any]]) -> None:
    one, two = (runs(preset)[f"{preset} whole ranks={ranks}"]["rows"] for ranks in (1, 2))
    assert len(one) == 2 and any(row["actor/grad_norm"] > 1e-4 for row in one)
    assert ("actor/chosen" in one[0]) == preset.endswith("_cov") == (one[0].get("actor/chosen", 0) > 0)
    for got, wanted in zip(two, one, strict=True):
        for name, value in wanted.items():
            assert got[name] == pytest.approx(value, abs=1e-4, rel=1e-3), name


@pytest.mark.parametrize("preset", PRESETS)
def test_a_run_in_two_parts_is_the_whole_run(preset: str, runs: Callable[[str], dict[str, Any]]) -> None:
    """Bit for bit, on two ranks."""
    whole, resumed = (runs(preset)[f"{preset} {name} ranks=2"] for name in ("whole", "resumed"))
    assert len(whole["rows"]) == 2 and len(whole["traces"]) > 1
    assert resumed == whole
