"""Presets that build on presets: spellings, values inherited and left behind; what newcomers type."""

from __future__ import annotations

from pathlib import Path

import pytest
from own_code import load, refused

from rlvr_cli import algorithms

RECIPE = """\
defaults:
  - algorithm: mine
  - model: tiny
  - data@data.train: addition
  - verifier@verifiers.math: math
  - _self_
name: built
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "algorithm").mkdir()
    (tmp_path / "built.yaml").write_text(RECIPE)
    return tmp_path


def preset(folder: Path, text: str, name: str = "mine") -> None:
    (folder / "algorithm" / f"{name}.yaml").write_text(text)


@pytest.mark.parametrize(
    "spelling",
    [
        "[grpo, override advantage: leave_one_out, _self_]",
        "[{grpo}, {override advantage: leave_one_out}]",
        "[/algorithm/grpo, override /algorithm/advantage: leave_one_out]",
        "[algorithm: grpo, advantage: leave_one_out]",
        "[grpo.yaml, override algorithm/advantage: leave_one_out, _self_]",
    ],
)
def test_the_spellings(folder: Path, spelling: str) -> None:
    preset(folder, f"defaults: {spelling}\n")
    made = load(folder / "built.yaml").algorithm
    assert (made.name, made.advantage) == ("mine", algorithms.options("advantage")["leave_one_out"]())
    assert (made.kl.coef, made.kl.clamp_value, made.kl.estimator.value) == (1e-3, 10.0, "k3")
    assert made.aggregation.name == "seq_mean_token_mean"


def test_values_of_options_left_behind_stay_behind(folder: Path) -> None:
    """As recipes inherit: a clip range is DAPO's loss's, and means something else in another one."""
    preset(folder, "defaults: [dapo, override loss: clipped_weight]\nname: own\nshaping: {factor: 2.0}\n")
    made = load(folder / "built.yaml").algorithm
    assert made.name == "own"
    assert made.loss == algorithms.options("loss")["clipped_weight"]()
    assert (made.shaping.factor, made.shaping.wrong) == (2.0, -1.0)
    back = load(folder / "built.yaml", "algorithm/loss=clipped").algorithm.loss
    assert (back.clip_ratio_high, back.dual_clip) == (0.28, 10.0)


@pytest.mark.slow
def test_three_generations_and_recipes_that_swap(folder: Path) -> None:
    preset(folder, "defaults: [grpo, override advantage: leave_one_out]\nkl: {coef: 0.01}\n", "first")
    preset(folder, "defaults: [first, override kl: reward]\n")
    made = load(folder / "built.yaml").algorithm
    assert (made.name, made.advantage.name, made.kl.name) == ("mine", "leave_one_out", "reward")
    assert made.kl == algorithms.options("kl")["reward"]()
    (folder / "built.yaml").write_text(
        RECIPE.replace("  - _self_", "  - override algorithm/kl: loss\n  - _self_")
    )
    assert load(folder / "built.yaml").algorithm.kl.coef == 0.01
    assert load(folder / "built.yaml", "algorithm=first").algorithm.kl.coef == 0.01
    assert load(folder / "built.yaml", "algorithm=dapo").algorithm.name == "dapo"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("defaults: [gpro]", "mine.yaml: defaults: there is no algorithm 'gpro'; did you mean 'g"),
        ("defaults: [mine]", "mine.yaml: defaults: it builds on itself, by 'mine'"),
        ("defaults: [grpo, dapo]", "mine.yaml: defaults: it builds on grpo and dapo; name one of them"),
        (
            "defaults: [grpo, override advntage: x]",
            "algorithms have no part 'advntage'; did you mean 'advantage'?",
        ),
        ("defaults: [grpo, override advantage: medain]", "there is no algorithm/advantage 'medain'"),
        ("defaults: [grpo, [x]]", "mine.yaml: defaults: '['x']' is no entry of the list"),
        ("defaults: [grpo]\nadvantage: {epz: 1}", "unknown key 'algorithm.advantage.epz'; did you mean"),
    ],
)
def test_mistakes_in_a_preset(folder: Path, text: str, says: str) -> None:
    preset(folder, text + "\n")
    assert says in refused(folder / "built.yaml")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("name: built", "name: built\nmodel: my_model", "goes into model.path: `model: {path: my_model}`"),
        ("- model: tiny", "- model: my_model", "goes into model.path: `model: {path: my_model}`"),
        (
            "name: built",
            "name: built\ntrainer:",
            "built.yaml: trainer is empty; are the lines below it indented?",
        ),
        (
            "name: built",
            "name: built\nbatch:",
            "built.yaml: batch is empty; are the lines below it indented?",
        ),
    ],
)
def test_what_newcomers_type(folder: Path, old: str, new: str, says: str) -> None:
    preset(folder, "defaults: [grpo]\n")
    (folder / "built.yaml").write_text(RECIPE.replace(old, new))
    assert says in refused(folder / "built.yaml")


@pytest.mark.parametrize("given", ["/models/mine", "Qwen/Qwen2.5-7B", "my_model"])
def test_a_model_on_the_command_line(folder: Path, given: str) -> None:
    preset(folder, "defaults: [grpo]\n")
    said = refused(folder / "built.yaml", f"model={given}")
    assert said.startswith(f"command line: there is no model '{given}'") and f"model.path={given}" in said


@pytest.mark.slow
def test_the_only_verifier_is_taken(folder: Path) -> None:
    preset(folder, "defaults: [grpo]\n")
    plain = "data: {train: {path: problems.jsonl, columns: {prompt: q}}}\n"
    own = RECIPE.replace("  - data@data.train: addition\n", "")
    (folder / "built.yaml").write_text(own + plain)
    assert load(folder / "built.yaml").data["train"].verifiers == ["math"]
    assert "name at least one of: math, short" in refused(
        folder / "built.yaml", "+verifier@verifiers.short=length"
    )
    (folder / "built.yaml").write_text(own.replace("  - verifier@verifiers.math: math\n", "") + plain)
    assert "data.train.verifiers is empty, and no verifier is defined; add e.g. `- verifier@" in refused(
        folder / "built.yaml"
    )
    (folder / "built.yaml").write_text(own + plain.replace("prompt: q", "verifiers: source"))
    assert load(folder / "built.yaml").data["train"].verifiers == []
