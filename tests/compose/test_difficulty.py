"""`data.<name>.difficulty`: what is accepted does something, and `rlvr profile` is made from an RL recipe."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlvr_cli import compose
from rlvr_cli.compose.profile import load_profile
from rlvr_cli.core.errors import UserError
from rlvr_cli.schema import Difficulty, DifficultyWeight, Precision, ProfileRecipe, Recipe

KEY = "data.train.difficulty"


@pytest.mark.slow
def test_difficulty_is_read_from_a_recipe_and_its_dump(tmp_path: Path) -> None:
    recipe = compose.load("tiny_dapo", [f"{KEY}={{file: p.jsonl, band: [0.1, 0.9], weight: signal}}"])
    assert isinstance(recipe, Recipe)
    chosen = Difficulty(file="p.jsonl", band=[0.1, 0.9], weight=DifficultyWeight.signal)
    assert recipe.data["train"].difficulty == chosen
    compose.save(recipe, tmp_path / "recipe.yaml")
    assert compose.read(tmp_path / "recipe.yaml") == recipe
    single = compose.load("tiny_dapo", [f"{KEY}.adapt=true", f"{KEY}.weight=variance"])
    assert isinstance(single, Recipe) and single.data["train"].difficulty is not None
    assert single.data["train"].difficulty.adapt
    plain = compose.load("tiny_dapo", [])
    assert isinstance(plain, Recipe) and plain.data["train"].difficulty is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{band: [0.1, 0.9]}", "has no pass rates: set data.train.difficulty.file"),
        ("{file: p.jsonl}", "chooses nothing"),
        ("{adapt: true}", "chooses nothing"),
        ("{file: p, band: [0.9, 0.1]}", r"band is \[0.9, 0.1\]"),
        ("{file: p, band: [0.1]}", "it must be two pass rates"),
        ("{file: p, band: [0.1, 0.9], power: 2}", "power has no use with weight=uniform"),
        ("{file: p, band: [0.1, 0.9], floor: 0.2}", "floor has no use with a band alone"),
        ("{file: p, band: [0.1, 0.9], memory: 0.2}", "memory has no use without data.train.difficulty.adapt"),
        ("{file: p, weight: hard, floor: 0}", "floor is 0; it must be from 0.01 to 1, so that none vanishes"),
        ("{adapt: true, weight: hard, unprofiled: drop}", "unprofiled has no use without"),
        ("{adapt: true, weight: easy}", "weight"),
        ("{file: p, bend: [0.1, 0.9]}", "unknown key 'data.train.difficulty.bend'; did you mean"),
    ],
)
def test_what_would_do_nothing_or_harm_is_refused_in_one_line(given: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        compose.load("tiny_dapo", [f"{KEY}={given}"])
    assert str(caught.value).startswith("command line: ") and "\n" not in str(caught.value)


@pytest.mark.slow
def test_only_problems_of_reinforcement_learning_have_a_difficulty() -> None:
    chosen = "{adapt: true, weight: variance}"
    for recipe, verb, key in (
        ("tiny_sft", "sft", "data.train"),
        ("tiny_sft", "sft", "eval.source"),
        ("tiny_dapo", "dapo", "eval.benches.addition.source"),
    ):
        with pytest.raises(UserError, match=f"{key}.difficulty chooses problems to train on"):
            compose.load(recipe, [f"{key}.difficulty={chosen}"], verb)


@pytest.mark.slow
def test_a_profile_samples_as_its_recipe_would(tmp_path: Path) -> None:
    given = ["rollout.temperature=0.7", "rollout.stop=[x]", "data.train.limit=50", "server.connections=4"]
    made = load_profile("tiny_dapo", given, k=4, limit=9, server="http://localhost:1/v1")
    assert (made.k, made.file, made.out) == (4, "tiny_dapo.profile.jsonl", "tiny_dapo.profile.jsonl.parts")
    assert made.rollout.temperature == 0.7 and made.rollout.stop == ["x"] and not made.rollout.sleep
    assert made.data["train"].limit == 9 and made.precision is Precision.fp32 and made.group_size == 8
    assert made.server.url == "http://localhost:1/v1" and made.server.connections == 4 and made.ranks is None
    compose.save(made, tmp_path / "recipe.yaml")
    assert compose.read(tmp_path / "recipe.yaml") == made and isinstance(made, ProfileRecipe)
    problems = tmp_path / "problems.jsonl"
    problems.write_text('{"prompt": "1+1=", "answer": "2"}\n')
    of_a_file = load_profile(
        "tiny_dapo", [f"data.train.path={problems}", f"{KEY}={{adapt: true, weight: hard}}"]
    )
    assert of_a_file.file == str(tmp_path / "problems.profile.jsonl")
    assert of_a_file.data["train"].difficulty is None and of_a_file.data["train"].limit is None
    for options, said in (
        ({"path_or_name": "tiny_sft", "overrides": []}, "is a recipe of sft; take one of an RL algorithm"),
        ({"path_or_name": "tiny_dapo", "overrides": [], "file": "p.csv"}, "is a .jsonl or .parquet file"),
        ({"path_or_name": "tiny_dapo", "overrides": [], "limit": 0}, "--limit is 0"),
        (
            {"path_or_name": "tiny_dapo", "overrides": ["server.conections=4"]},
            "unknown key 'server.conections'",
        ),
    ):
        with pytest.raises(UserError, match=said):
            load_profile(**options)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["data.train.labels={file: ''}"], r"data.train.labels.file is empty"),
        (["data.train.labels={keep: wrong}"], "data.train.labels.file"),
        (["data.train.labels={file: l, keep: right}"], "keep"),
        (
            ["data.train.labels={file: l}", "verifier@verifiers.math=random"],
            r"data.train.labels are gold answers, and verifiers.math \(random\) reads none",
        ),
        (["eval.benches.addition.source.labels={file: l}"], "are gold answers for reinforcement learning"),
    ],
)
def test_labels_that_nobody_reads_are_refused_in_one_line(given: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        compose.load("tiny_dapo", given)
    assert "\n" not in str(caught.value)
