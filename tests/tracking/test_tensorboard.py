"""TensorBoard's own reader finds in the event files what metrics.jsonl holds."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rlvr_cli.core.errors import UserError
from rlvr_cli.launch import prerequisites
from rlvr_cli.schema import Tracker as Settings
from rlvr_cli.schema import WandbMode
from rlvr_cli.tracking import Tracker, read_metrics

KEPT = Settings(wandb=WandbMode.disabled, tensorboard=True)


def tracker(out: Path, settings: Settings = KEPT, start: int = 0) -> Tracker:
    return Tracker(
        settings,
        out,
        terminal=io.StringIO(),
        total_steps=9,
        start_step=start,
        run_name="t",
        recipe={},
        kind="rl",
    )


def scalars(out: Path) -> dict[str, list[tuple[int, float]]]:
    reader = EventAccumulator(str(out / "tensorboard"), size_guidance={"scalars": 0})
    reader.Reload()
    return {tag: [(e.step, e.value) for e in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


def test_every_number_under_its_name_and_step(tmp_path: Path) -> None:
    with tracker(tmp_path) as run:
        for step in (1, 2, 3):
            run.step(step, {"reward/mean": step / 4, "actor/lr": 1e-6})
        run.step(4, {"reward/mean": math.nan})
        run.evaluation(4, "gsm8k", {"avg@1": 0.5})
    found = scalars(tmp_path)
    assert found["reward/mean"][:3] == [(1, 0.25), (2, 0.5), (3, 0.75)]
    assert found["reward/mean"][3][0] == 4 and math.isnan(found["reward/mean"][3][1])
    assert found["eval/gsm8k/avg@1"] == [(4, 0.5)]
    assert set(found) == {"reward/mean", "actor/lr", "eval/gsm8k/avg@1"}
    times = {row["step"]: row["time"] for row in read_metrics(tmp_path)}
    reader = EventAccumulator(str(tmp_path / "tensorboard"))
    reader.Reload()
    assert reader.Scalars("actor/lr")[0].wall_time == pytest.approx(times[1], abs=1e-3)


def test_what_a_killed_run_has_recorded_is_there_and_a_resume_leaves_neither_doubles_nor_gaps(
    tmp_path: Path,
) -> None:
    killed = tracker(tmp_path)
    for step in range(1, 6):
        killed.step(step, {"reward/mean": float(step)})
    assert [step for step, _ in scalars(tmp_path)["reward/mean"]] == [1, 2, 3, 4, 5]  # without a close
    with tracker(tmp_path) as run:
        run.resume_at(3)
        for step in (4, 5, 6):
            run.step(step, {"reward/mean": 10.0 * step})
    assert scalars(tmp_path)["reward/mean"] == [(1, 1), (2, 2), (3, 3), (4, 40), (5, 50), (6, 60)]
    with tracker(tmp_path) as run:  # nothing follows: what was taken back is gone all the same
        run.resume_at(2)
    assert scalars(tmp_path)["reward/mean"] == [(1, 1), (2, 2)]


def test_switched_on_in_the_middle_it_has_the_beginning_too(tmp_path: Path) -> None:
    with tracker(tmp_path, Settings(wandb=WandbMode.disabled)) as run:
        run.step(1, {"reward/mean": 1.0})
    assert not (tmp_path / "tensorboard").exists()
    with tracker(tmp_path, start=1) as run:
        run.resume_at(1)
        run.step(2, {"reward/mean": 2.0})
    assert scalars(tmp_path)["reward/mean"] == [(1, 1), (2, 2)]


def test_a_failure_is_an_event_and_the_run_goes_on(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("in the way")
    with tracker(tmp_path) as run:
        run.step(1, {"reward/mean": 1.0})
        run.step(2, {"reward/mean": 2.0})
    assert len(read_metrics(tmp_path)) == 2
    events = (tmp_path / "events.jsonl").read_text()
    assert events.count("TensorBoard stopped") == 1


def test_without_the_package_it_is_refused_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    prerequisites.check_tracker(KEPT)
    monkeypatch.setattr(prerequisites.importlib.util, "find_spec", lambda name: None)
    prerequisites.check_tracker(Settings())
    with pytest.raises(UserError, match="tensorboard is not installed: pip install tensorboard"):
        prerequisites.check_tracker(KEPT)
