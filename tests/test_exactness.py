"""The same run on any number of ranks, any ZeRO stage and any micro-batch size gives the same numbers."""

from pathlib import Path

import pytest
from run_helpers import RECIPE, comparable, rlvr, steps_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "exact.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def baseline(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, float]]:
    out = tmp_path_factory.mktemp("baseline") / "run"
    done = rlvr("train", str(recipe), f"out={out}")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = steps_of(out)
    assert len(rows) == 3 and all(row["actor/grad_norm"] > 1e-3 for row in rows)
    assert rows[2]["actor/ref_kl"] > 0
    return rows


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize("change", ["ranks=1", "ranks=2", "half"])
def test_metrics_do_not_depend_on_ranks_stage_or_micro_batches(stage, change, recipe, baseline, tmp_path):
    if (stage, change) == (0, "ranks=1"):
        pytest.skip("is the baseline")
    ours = ["batch.tokens_per_microbatch=200"] if change == "half" else [f"trainer.{change}"]
    done = rlvr("train", str(recipe), f"out={tmp_path / 'run'}", f"trainer.zero_stage={stage}", *ours)
    assert done.returncode == 0, done.stdout + done.stderr
    for got, wanted in zip(steps_of(tmp_path / "run"), baseline, strict=True):
        for name, value in comparable(wanted).items():
            assert got[name] == pytest.approx(value, abs=1e-4, rel=1e-4), name
