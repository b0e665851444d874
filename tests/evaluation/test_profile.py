"""`rlvr profile` on the tiny model: each problem once, killed and resumed, the same whatever the order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from run_helpers import RECIPE, rlvr

from rlvr_cli.compose.profile import load_profile
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Completion
from rlvr_cli.data.profiles import read_profile
from rlvr_cli.evaluation import profile as profiling
from rlvr_cli.rollout.hf import HFEngine
from rlvr_cli.schema import ProfileRecipe
from rlvr_cli.tracking.records import read_records

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_environment")]


@pytest.fixture
def recipe(tmp_path: Path, tiny_path: Path) -> ProfileRecipe:
    """Twelve problems, of which two are the same, judged by a coin."""
    (tmp_path / "my.yaml").write_text(RECIPE)
    rows = [{"prompt": f"{n % 11}+{n % 11}=", "answer": f"{2 * (n % 11)}"} for n in range(12)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = [f"model.path={tiny_path}", f"data.train.path={tmp_path / 'data.jsonl'}", "data.train.limit=null"]
    return load_profile(str(tmp_path / "my.yaml"), [*given, "rollout.max_tokens=4"], k=4)


def run(recipe: ProfileRecipe, tmp_path: Path) -> str:
    """What one rank shows."""
    with open(tmp_path / "terminal", "w+") as terminal:
        profiling.profile(recipe, terminal)
        terminal.seek(0)
        return terminal.read()


class Killed(Exception):
    pass


def test_each_problem_once_also_after_a_kill(
    recipe: ProfileRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    original = HFEngine.generate

    def generate(self: HFEngine, requests: Any, sampling: Any) -> Iterator[tuple[int, list[Completion]]]:
        for key, samples in original(self, requests, sampling):
            asked.append(len(requests))
            yield key, samples

    def dying(self: HFEngine, requests: Any, sampling: Any) -> Iterator[tuple[int, list[Completion]]]:
        for count, pair in enumerate(generate(self, requests, sampling)):
            if count == 7:
                raise Killed
            yield pair

    recipe = replace(recipe, rollout=replace(recipe.rollout, max_num_seqs=4))  # a problem at a time
    monkeypatch.setattr(HFEngine, "generate", generate)
    shown = run(
        whole := replace(recipe, file=str(tmp_path / "whole.jsonl"), out=str(tmp_path / "w.parts")), tmp_path
    )
    assert len(asked) == 11 and "11 problems x 4 samples" in shown and "pass rate 0 (never)" in shown
    monkeypatch.setattr(HFEngine, "generate", dying)
    with pytest.raises(Killed):
        run(recipe, tmp_path)
    assert not Path(recipe.file).exists()
    [part] = Path(str(recipe.out)).glob("rows.partial.*.jsonl")
    kept = part.read_text().splitlines()[1:]
    with open(part, "a") as file:
        file.write('{"source": "train", "id"')  # and the last line is torn
    asked.clear()
    monkeypatch.setattr(HFEngine, "generate", generate)
    assert f"{len(kept)} of 11 problems are there already" in run(recipe, tmp_path)
    assert asked == [11 - len(kept)] * (11 - len(kept)) and len(kept) > 0
    first, second = read_profile(Path(whole.file)), read_profile(Path(recipe.file))
    assert second.rows == first.rows and len({row["key"] for row in second.rows}) == 11
    assert all(row["judged"] == row["samples"] == 4 for row in second.rows)
    asked.clear()
    run(recipe, tmp_path)  # nothing is missing
    assert asked == []


def test_a_profile_grows_and_another_is_not_written_over(recipe: ProfileRecipe, tmp_path: Path) -> None:
    small = replace(recipe, data={"train": replace(recipe.data["train"], limit=3)})
    run(small, tmp_path)
    before = read_profile(Path(recipe.file)).rows
    assert len(before) == 3
    run(recipe, tmp_path)
    after = read_profile(Path(recipe.file))
    assert after.rows[:3] == before and len(after.rows) == 11
    assert after.head["model"] == recipe.model.path and after.head["sampling"]["max_tokens"] == 4
    with pytest.raises(UserError, match="is a profile of something else: k differ"):
        run(replace(recipe, k=2), tmp_path)
    assert read_profile(Path(recipe.file)).rows == after.rows
    Path(recipe.file).unlink()  # and of a start that was killed neither
    with pytest.raises(UserError, match="holds 11 finished problems that were sampled otherwise"):
        run(replace(recipe, k=2), tmp_path)


def test_the_command_leaves_the_profile_and_nothing_else(tmp_path: Path, tiny_path: Path) -> None:
    (tmp_path / "my.yaml").write_text(RECIPE)
    target = tmp_path / "p.parquet"
    given = [f"model.path={tiny_path}", "rollout.max_tokens=4", "trainer.ranks=2"]
    done = rlvr("profile", str(tmp_path / "my.yaml"), *given, "-k", "2", "--limit", "5", "-o", str(target))
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my.yaml", "p.parquet"]
    assert len(read_profile(target).rows) == 5 and "5 problems x 2 samples" in done.stdout


LABELLED = """
defaults:
  - grpo_small
  - verifier@verifiers.math: math
  - verifier@verifiers.truth: math
  - _self_
data: {train: {verifiers: [math, truth]}}
verifiers: {math: {extraction: last_number}, truth: {extraction: last_number, weight: 0}}
trainer: {steps: 1}
"""


def test_the_labels_that_a_start_model_votes_for_are_what_its_rewards_go_by(
    tmp_path: Path, tiny_path: Path
) -> None:
    """Spurious Rewards' two controls by one override each: `math` is paid by the label, `truth` judges by the
    data's own answers."""
    (tmp_path / "grpo_small.yaml").write_text(RECIPE)
    (tmp_path / "my.yaml").write_text(LABELLED)
    digits = [{"prompt": f"{n}", "answer": f"{n}"} for n in range(10)]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in digits))
    given = [str(tmp_path / "my.yaml"), f"model.path={tiny_path}", f"data.train.path={tmp_path}/data.jsonl"]
    labels = tmp_path / "labels.jsonl"
    done = rlvr("profile", *given, "-k", "8", "-o", str(labels))
    assert done.returncode == 0, done.stderr
    assert "majority labels" in done.stdout
    wrong = [r for r in read_profile(labels).rows if r["label"] is not None and not r["label_right"]]
    assert len(wrong) > 3
    chosen = f"data.train.labels={{file: {labels}, keep: wrong}}"
    done = rlvr("train", *given, chosen, f"out={tmp_path}/run")
    assert done.returncode == 0, done.stderr
    assert f"train: {len(wrong)} of 10 problems by majority label, {len(wrong)} wrong" in done.stdout
    rows = list(read_records(tmp_path / "run"))
    by_id = {row["id"]: row["label"] for row in wrong}
    assert {row["label"] for row in rows} == {by_id[row["problem"]] for row in rows}
    said = [row for row in rows if row["verdicts"]["math"]["extracted"] is not None]
    assert any(row["correct"] for row in said)
    for row in said:
        value = float(row["verdicts"]["math"]["extracted"])
        assert row["correct"] == (value == float(row["label"])), row
        assert (row["verdicts"]["truth"]["reason"] == "correct") == (value == float(row["answer"])), row
