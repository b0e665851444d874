"""Problems by difficulty in a run: the same on any number of ranks, put back, told, and resumed exactly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from run_helpers import RECIPE, comparable, rlvr, steps_of
from small_parts import problem, recipe, small_parts
from thread_ranks import on_ranks

from rlvr_cli.core.errors import UserError
from rlvr_cli.data.difficulty import Pace
from rlvr_cli.data.profiles import Profile, key_of, write_profile
from rlvr_cli.data.sampler import Sampler
from rlvr_cli.schema import Difficulty, DifficultyWeight, Source
from rlvr_cli.training.difficulty import doubts, observe, pace_metrics, paced
from rlvr_cli.training.dynamic_sampling import sample_groups
from rlvr_cli.training.parts import Parts

ADAPT = Difficulty(adapt=True, weight=DifficultyWeight.signal)


class Events(list[tuple[str, str]]):
    def event(self, kind: str, message: str, **fields: Any) -> None:
        self.append((kind, message))


def parts_with_a_pace() -> Parts:
    items = [problem(n) for n in range(20)]
    pace = Pace("train", ADAPT, items, {}, seed=0, group_size=2)
    sampler = Sampler({"train": items}, {"train": 1.0}, seed=0, paces={"train": pace})
    return small_parts(recipe(), sampler=sampler)


def four_steps(_: int) -> tuple[Any, list[int], dict[str, float]]:
    """State, places of the groups and metrics of a run whose every group has one right sample of two."""
    parts, places = parts_with_a_pace(), []
    for step in range(4):
        groups = sample_groups(parts, step).sampled
        observe(parts.sampler, groups)
        places += [int(group.problem.id) for group in groups]
    return parts.sampler.state(), places, pace_metrics(parts.sampler)


def test_ranks_learn_the_same_of_the_problems_and_draw_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = four_steps(0)
    assert len(alone[0]["paces"]["train"]) > 8
    assert on_ranks(monkeypatch, 2, four_steps) == [alone, alone]


def test_what_is_measured_of_a_source_is_a_metric() -> None:
    _, _, found = four_steps(0)
    assert found["data/train/medium_fraction"] == 1.0 and found["data/train/pass_rate"] == 0.5
    assert found["data/train/epochs"] >= 16 / 20 and found["data/train/effective_problems"] == pytest.approx(
        20
    )
    assert pace_metrics(small_parts(recipe()).sampler) == {}


def profile(tmp_path: Path, rates: dict[int, float], **head: Any) -> str:
    rows = [
        {"source": "train", "key": key_of(problem(n)), "correct": 8 * r, "judged": 8}
        for n, r in rates.items()
    ]
    content = [row | {"correct": int(row["correct"])} for row in rows]
    write_profile(tmp_path / "p.jsonl", Profile({"profile": 1, **head}, content))
    return str(tmp_path / "p.jsonl")


def test_a_band_leaves_out_what_the_profile_says(tmp_path: Path) -> None:
    file = profile(tmp_path, {0: 0.0, 1: 0.5, 2: 1.0}, model="another")
    made = recipe(data={"train": Source(path="here", difficulty=Difficulty(file=file, band=[0.1, 0.9]))})
    made = replace(made, model=replace(made.model, path="mine"))
    events = Events()
    kept, paces = paced(made, {"train": [problem(n) for n in range(4)]}, events)  # type: ignore[arg-type]
    assert [p.id for p in kept["train"]] == ["1", "3"] and list(paces) == ["train"]
    assert events[0] == (
        "warning",
        f"data.train.difficulty: {file} is of the model another, and this run starts from mine",
    )
    assert events[1][0] == "data" and "1 not in" in events[1][1]


def test_what_may_not_fit_a_profile_is_said() -> None:
    made = replace(recipe(), model=replace(recipe().model, path="mine"))
    sampling = {"temperature": 1.0, "top_p": 1.0, "max_tokens": made.rollout.max_tokens}
    head = {"model": "mine", "weights": "other", "sampling": sampling | {"max_tokens": 512}}
    assert list(doubts(Profile(head, []), made)) == [
        "is of other weights than mine has",
        f"was sampled with max_tokens 512 (here {made.rollout.max_tokens})",
    ]


def test_a_profile_that_is_not_there(tmp_path: Path) -> None:
    chosen = Difficulty(file=str(tmp_path / "no.jsonl"), band=[0.1, 0.9])
    with pytest.raises(UserError, match=r"there is no file .*no\.jsonl"):
        paced(recipe(data={"train": Source(path="here", difficulty=chosen)}), {}, Events())  # type: ignore[arg-type]


@pytest.mark.long
def test_a_run_that_adapts_goes_on_exactly(tmp_path: Path, own_environment: None) -> None:
    (tmp_path / "my.yaml").write_text(RECIPE)
    given = [
        "train",
        str(tmp_path / "my.yaml"),
        "preflight.enabled=false",
        "trainer.lr=0.01",
        "data.train.limit=9",
    ]
    given += ["data.train.difficulty={adapt: true, weight: signal, floor: 0.2}", "trainer.ranks=1"]
    for out, steps in (("whole", 6), ("cut", 3), ("cut", 6)):
        done = rlvr(*given, f"out={tmp_path / out}", f"trainer.steps={steps}")
        assert done.returncode == 0, done.stderr
    whole, cut = ([comparable(row) for row in steps_of(tmp_path / out)] for out in ("whole", "cut"))
    assert cut == whole and len(whole) == 6
    assert all(1 < row["data/train/effective_problems"] < 9 for row in whole)
    assert len({row["data/train/pass_rate"] for row in whole}) > 1
    assert whole[-1]["data/train/epochs"] > 36 / 9  # some had their turn and were not taken
