"""`rlvr report --control`: what groups reach above a control, as a table and over the run."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from report_pages import blocks, report, shown
from report_runs import PROBLEMS, make

from rlvr_cli.core.two_levels import difference_of
from rlvr_cli.tracking.report.effects import MOST, courses
from rlvr_cli.tracking.report.gather import read_runs
from rlvr_cli.tracking.report.groups import group
from rlvr_cli.tracking.report.measures import measures

STEPS = (0, 3, 6)
LOW, HIGH = 1e-6, 3e-6


def right_of(lr: float, seed: int, step: int) -> list[float]:
    """Shares of four samples: those of the higher rate rise with the steps, but for what its seed loses."""
    gain = step // 3 if lr == HIGH else 0
    return [min(4, n % 3 + gain - (n % 5 == seed)) / 4 if n % 3 else 0.0 for n in range(PROBLEMS)]


def run(folder: Path, lr: float, seed: int) -> Path:
    """With results at three steps, and how many responses say python."""
    out = make(folder, f"{lr:g}_{seed}", lr, seed, right_of(lr, seed, STEPS[-1]))
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    evaluated = []
    for step in STEPS:
        other = make(folder / "other", f"{lr:g}_{seed}_{step}", lr, seed, right_of(lr, seed, step))
        result = json.loads((other / "eval" / "sums.json").read_text()) | {"step": step}
        (out / "eval" / f"step_{step}").mkdir()
        (out / "eval" / f"step_{step}" / "sums.json").write_text(json.dumps(result))
        means = {"eval/sums/avg@4": float(np.mean(right_of(lr, seed, step)))}
        means["eval/sums/tracked/code"] = 0.5 + 0.1 * (lr == HIGH) * step + 0.01 * seed
        evaluated.append({"step": step, "event": "eval", "bench": "sums"} | means)
    rows = [row for row in rows if "event" not in row]
    whole = sorted([*rows, *evaluated], key=lambda row: row["step"])
    (out / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in whole))
    return out


@pytest.fixture
def four(tmp_path: Path) -> list[Path]:
    return [run(tmp_path, lr, seed) for lr in (LOW, HIGH) for seed in range(2)]


def test_the_course_of_a_bench_is_paired_by_problem(four: list[Path]) -> None:
    runs = read_runs(four)
    groups = group(runs, ["trainer.lr"])
    found = courses(runs, groups, measures(runs, groups), 0)
    [course] = found["eval/sums/avg@4"]
    assert (course.group, course.steps) == (1, list(STEPS))
    for step, each in zip(course.steps, course.found, strict=True):
        low, high = (np.array([right_of(lr, seed, step) for seed in range(2)]) for lr in (LOW, HIGH))
        wanted = difference_of(low, high)
        assert (each.difference, each.low, each.high) == pytest.approx(
            (high.mean() - low.mean(), wanted.low, wanted.high)
        )
    assert course.found[0].difference == 0 and course.found[2].low > 0
    [code] = found["eval/sums/tracked/code"]
    assert [each.difference for each in code.found] == pytest.approx([0, 0.3, 0.6])
    assert code.found[1].low < 0.3 < code.found[1].high  # over two seeds each, whose deviation is 0.007
    [reversed_] = courses(runs, groups, measures(runs, groups), 1)["eval/sums/avg@4"]
    assert reversed_.found[2].difference == -course.found[2].difference and reversed_.group == 0


def test_runs_of_one_seed_have_a_course_and_its_interval_is_over_problems(four: list[Path]) -> None:
    runs = read_runs([four[0], four[2]])
    groups = group(runs, ["trainer.lr"])
    found = courses(runs, groups, measures(runs, groups), 0)
    [bench], [reward] = found["eval/sums/avg@4"], found["reward/mean"]
    assert not bench.found[2].seeds and bench.found[2].low > 0
    assert len(reward.steps) == 6 and all(math.isnan(each.low) for each in reward.found)


def test_of_a_long_run_some_steps_are_taken(tmp_path: Path) -> None:
    right = [0.5] * PROBLEMS
    paths = [make(tmp_path, f"{n}", lr, 0, right, steps=200) for n, lr in enumerate((LOW, HIGH))]
    runs = read_runs(paths)
    groups = group(runs, ["trainer.lr"])
    [course] = courses(runs, groups, measures(runs, groups), 0)["reward/mean"]
    assert len(course.steps) == MOST and course.steps[0] == 1 and course.steps[-1] == 200


def test_results_made_otherwise_are_no_point_of_the_course(four: list[Path]) -> None:
    file = four[3] / "eval" / "step_3" / "sums.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"protocol": {"k": 8}}))
    runs = read_runs(four)
    groups = group(runs, ["trainer.lr"])
    [course] = courses(runs, groups, measures(runs, groups), 0)["eval/sums/avg@4"]
    assert course.steps == [0, 6]


def test_the_page_has_the_effects(four: list[Path], tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    words = ("--group-by", "trainer.lr", "--rollouts", 0, "-o", page)
    assert report(*four, *words) == 0
    assert blocks(page)["data"]["effects"] is None
    assert report(*four, *words, "--control", "1e-6") == 0
    effects = blocks(page)["data"]["effects"]
    assert effects["control"] == 0 and set(effects["courses"]) == {
        "eval/sums/avg@4",
        "reward/mean",
        "eval/sums/tracked/code",
    }
    [row] = effects["measures"][0]["rows"]
    assert row[0] == 1 and float(row[1]) == pytest.approx(
        100 * effects["courses"]["eval/sums/avg@4"][0]["values"][2], abs=0.05
    )
    text = shown(page)["shown"]["groups"]
    assert "Effect over the control lr=1e-6" in text and f"lr=3e-6{row[1]}{row[2]}{row[3]}" in text
    assert "sums/avg@4, minus control" in text and "sums/tracked/code, minus control" in text
