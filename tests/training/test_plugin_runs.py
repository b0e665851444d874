"""Somebody's own advantage, preset and verifier train, go on, and are refused when broken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from run_helpers import RECIPE, rlvr, steps_of

ADVANTAGE = '''
"""The group's median as baseline: an outlier moves it less than a mean."""

from typing import ClassVar

from rlvr_cli.algorithms import option
from rlvr_cli.algorithms.advantage import broadcast, outcomes


@option("advantage")
class Median:
    name: str = "median"
    scale: float = 1.0
    needs_group: ClassVar[bool] = True
    needs_critic: ClassVar[bool] = False

    def __call__(self, inputs):
        r_PG = outcomes(inputs)
        return broadcast(self.scale * (r_PG - r_PG.nanmedian(1, keepdim=True).values), inputs)
'''
VERIFIER = '''
from dataclasses import dataclass
from typing import Any

from rlvr_cli.core.types import Reason, Verdict


@dataclass(kw_only=True)
class Digits:
    """Half of the response's characters, at least, are digits."""

    name: str = "digits"
    weight: float = 1.0

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        share = sum(c.isdigit() for c in response) / max(1, len(response))
        return Verdict(score=share, reason=Reason.correct if share >= 0.5 else Reason.wrong)
'''
PRESET = "defaults: [grpo, override advantage: median]\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inside = tmp_path / "plugins"
    (inside / "algorithm").mkdir(parents=True)
    (inside / "median.py").write_text(ADVANTAGE)
    (inside / "digits.py").write_text(VERIFIER)
    (inside / "algorithm" / "grpo_median.yaml").write_text(PRESET)
    text = RECIPE.replace("algorithm: grpo", "algorithm: grpo_median").replace("name: exact", "name: own")
    text = text.replace("verifiers.chance: random", "verifiers.digits: digits")
    (tmp_path / "own.yaml").write_text(text.replace("verifiers: [chance]", "verifiers: [digits]"))
    return tmp_path


@pytest.mark.slow
def test_they_train_go_on_and_are_refused_when_broken(folder: Path) -> None:
    out, recipe = folder / "run", str(folder / "own.yaml")
    first = rlvr("train", recipe, f"out={out}", "trainer.steps=2", "checkpoint.every=1")
    assert first.returncode == 0, first.stderr
    assert (
        "rlvr: plugins: plugins/digits.py (verifier digits); plugins/median.py (advantage median)"
        in first.stderr
    )
    rows = steps_of(out)
    assert [row["step"] for row in rows] == [1, 2] and 0 < rows[0]["reward/mean"] < 1
    assert rows[0]["reward/timeout_fraction"] == rows[0]["reward/crash_fraction"] == 0
    keys = {row["key"] for row in json.loads((out / "code" / "code.json").read_text())}
    assert keys == {"plugins.digits", "plugins.median"}
    assert "read by nothing" not in first.stdout

    (folder / "plugins" / "median.py").write_text(
        ADVANTAGE.replace("scale: float = 1.0", "scale: float = 2.0")
    )
    changed = rlvr("train", recipe, f"out={out}", "trainer.steps=3", "checkpoint.every=1")
    assert changed.returncode == 2 and changed.stderr.count("\n") <= 2
    assert "plugins.median (sha256 " in changed.stderr and "add resume=changed" in changed.stderr

    (folder / "plugins" / "median.py").write_text("import nowhere_to_be_found\n")
    broken = rlvr("train", recipe, f"out={folder / 'other'}")
    assert broken.returncode == 2 and not (folder / "other").exists()
    [line] = broken.stderr.splitlines()
    assert line.startswith("rlvr: error: plugins: ") and "median.py line 1: ModuleNotFoundError" in line

    (folder / "plugins").rename(folder / "away")
    gone = rlvr("train", str(out), "trainer.steps=3")
    assert gone.returncode == 0, gone.stderr
    assert "median.py is gone; the run's copy of it is used" in gone.stderr
    assert [row["step"] for row in steps_of(out)] == [1, 2, 3]
