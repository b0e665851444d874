"""Sampling ahead in a recipe: what does not go together is refused in a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlvr_cli import compose
from rlvr_cli.compose.ahead import check_ahead
from rlvr_cli.core.errors import UserError
from rlvr_cli.schema import EvalRecipe, Overlap, Recipe, Rollout
from rlvr_cli.schema.derived import derive

BODY = """\
defaults:
  - algorithm: {algorithm}
  - model: tiny
  - data@data.train: addition
  - verifier@verifiers.math: math
  - _self_
name: base
"""


def refused(folder: Path, *overrides: str, algorithm: str = "dapo") -> str:
    path = folder / "mine.yaml"
    path.write_text(BODY.format(algorithm=algorithm))
    with pytest.raises(UserError) as caught:
        compose.load(str(path), list(overrides))
    assert "\n" not in str(caught.value)
    return str(caught.value)


BESIDE = ("rollout.max_staleness=1", "rollout.overlap=beside")


@pytest.mark.parametrize(
    ("said", "overrides"),
    [
        ("rollout.max_staleness is -1", ["rollout.max_staleness=-1"]),
        ("rollout.overlap is set, but rollout.max_staleness=0", ["rollout.overlap=beside"]),
        ("rollout.too_old is set, but", ["rollout.too_old=drop"]),
        ("rollout.max_concurrent is set, but", ["rollout.max_concurrent=64"]),
        ("set rollout.overlap=beside", ["rollout.max_staleness=1", "rollout.on_update=finish"]),
        ("on_update=keep is for samples that run", ["rollout.max_staleness=1", "rollout.on_update=keep"]),
        ("set at least rollout.max_concurrent=32", ["rollout.max_staleness=1", "rollout.max_concurrent=31"]),
        ("set rollout.sleep=false", BESIDE),
        ("needs rollout.seeded=true", [*BESIDE, "rollout.sleep=false", "rollout.seeded=false"]),
        ("needs rollout=vllm", [*BESIDE, "rollout.sleep=false", "rollout.engine=hf"]),
        (
            "does not go with rollout.tensor_parallel",
            ["rollout.max_staleness=1", "rollout.tensor_parallel=2"],
        ),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, said: str, overrides: list[str]) -> None:
    assert said in refused(tmp_path, *overrides)


def test_states_are_not_measured_beside_the_trainer(tmp_path: Path) -> None:
    said = refused(tmp_path, *BESIDE, "rollout.sleep=false", algorithm="spo")
    assert "algorithm.advantage=segment samples on" in said and "rollout.overlap=between" in said


def test_an_evaluation_samples_nothing_ahead() -> None:
    with pytest.raises(ValueError, match=r"rollout\.max_staleness does nothing here"):
        check_ahead(EvalRecipe(rollout=Rollout(max_staleness=1)))


def test_the_defaults_sample_what_they_train_on(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(BODY.format(algorithm="dapo"))
    plain = compose.load(str(path), [])
    ahead = compose.load(str(path), [*BESIDE, "rollout.sleep=false"])
    assert isinstance(plain, Recipe) and plain.rollout.max_staleness == 0
    assert isinstance(ahead, Recipe) and ahead.rollout.overlap is Overlap.beside
    assert "sampled ahead" not in derive(plain)
    said = derive(ahead)["sampled ahead"]
    assert said == "up to 1 step, beside updates: at most 64 prompts in flight"
