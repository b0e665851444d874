"""The recipe in each of its stages: what changes, what is refused, what is printed, what may still change."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from run_helpers import rlvr
from staged_recipes import RECIPE, load

from rlvr_cli import compose
from rlvr_cli.checkpoints import manifest
from rlvr_cli.core.errors import UserError
from rlvr_cli.launch import run_directory
from rlvr_cli.schema import derived
from rlvr_cli.schema.stages import describe, stage_at, stages_of


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "staged.yaml").write_text(RECIPE)
    return str(tmp_path / "staged.yaml")


def refused(path: str, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        compose.load(path, list(overrides))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_boundaries_are_exact(path: str) -> None:
    recipe = load(path)
    assert [stage_at(recipe, step) for step in range(8)] == [0, 0, 1, 1, 1, 2, 2, 2]
    assert stage_at(load("tiny_dapo"), 10**6) == 0


def test_a_stage_changes_the_one_before_it(path: str) -> None:
    recipe = load(path)
    start, mixed, long = stages_of(recipe)
    assert start == recipe
    assert [{n: s.weight for n, s in r.data.items()} for r in (start, mixed, long)] == [
        {"sum": 1.0, "product": 0.0},
        {"sum": 1.0, "product": 1.0},
        {"sum": 0.0, "product": 1.0},
    ]
    assert [r.rollout.max_tokens for r in (start, mixed, long)] == [8, 12, 16]
    assert [r.batch.group_size for r in (start, mixed, long)] == [4, 4, 3]
    assert [r.rollout.temperature for r in (start, mixed, long)] == [1.0, 1.0, 0.9]
    assert [r.trainer.lr for r in (start, mixed, long)] == [1e-3, 1e-3, 5e-4]
    assert [r.algorithm.shaping.name for r in (start, mixed, long)] == [
        "identity",
        "identity",
        "stop_properly",
    ]
    assert long.batch.prompts_per_step == 6 and mixed.algorithm.loss is start.algorithm.loss
    other = stages_of(load(path, "stages.mixed.kl_coef=0.2", "stages.mixed.prompts_per_step=3"))
    assert [r.algorithm.kl.coef for r in other] == [0.05, 0.2, 0.2]
    assert [r.batch.prompts_per_step for r in other] == [6, 3, 3]


def test_lengths_a_shaping_leaves_open_follow_the_stage(path: str) -> None:
    found = stages_of(load(path, "algorithm/shaping=cosine_length", "~stages.long.shaping"))
    for stage in found:
        stage.algorithm.shaping.resolve(stage.rollout.max_tokens)
    assert [stage.algorithm.shaping.max_length for stage in found] == [8, 12, 16]


def test_a_stage_may_do_without_the_kl(path: str) -> None:
    found = stages_of(load(path, "stages.long.kl_coef=0"))
    assert [stage.algorithm.kl.needs_reference for stage in found] == [True, True, False]
    assert "renews a reference policy that nothing uses" in refused(path, "algorithm.kl.coef=0")


@pytest.mark.slow
def test_the_schedule_is_printed(path: str) -> None:
    lines = derived.derive(load(path))
    assert (
        lines["stage mixed"]
        == "steps 3 to 5: weights product 1; max_tokens 12; reference and optimizer reset"
    )
    assert lines["stage long"].startswith("steps 6 to 7: weights sum 0; group_size 3; max_tokens 16; temper")
    assert lines["stage long"].endswith("lr 0.0005; shaping stop_properly")
    assert lines["resets"] == "reference every 4 steps"
    assert lines["tokens per step"] == "at most 288 generated, 672 trained"  # 6 x 4 x 12 in the second stage
    short = derived.derive(load(path, "trainer.steps=4", "stages.mixed.prompts_per_step=3"))
    assert short["stage mixed"].startswith("steps 3 to 4: ")
    assert short["stage long"].startswith("never (it begins after step 5, trainer.steps is 4)")
    assert short["prompts trained on"].startswith("18,")  # 2 x 6 + 2 x 3
    done = rlvr("train", path, "--dry-run")
    assert done.returncode == 0 and "# stage mixed: steps 3 to 5: weights product 1" in done.stdout


def test_describe_names_all_that_changes(path: str) -> None:
    recipe = load(path, "stages.long.kl_coef=0.1", "stages.long.prompts_per_step=5")
    text = describe(recipe.stages["long"])
    for word in ("sum 0", "prompts_per_step 5", "group_size 3", "max_tokens 16", "kl_coef 0.1", "lr 0.0005"):
        assert word in text
    assert describe(load(path, "+stages.late={after: 9}").stages["late"]) == "nothing changes"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("stages.long.after=2", "stages.long: after is 2; it must be at least 3"),
        ("stages.mixed.after=0", "stages.mixed: after is 0; it must be at least 1"),
        (
            "+stages.mixed.weights.prodct=1",
            "stages.mixed: weights: 'prodct' is not in data; did you mean 'product'?",
        ),
        ("stages.mixed.weights.product=-1", "stages.mixed: weights.product is -1.0; it must not be negative"),
        ("stages.long.weights.product=0", "stages.long: weights leaves no source"),
        ("stages.long.group_size=1", "stages.long: batch.group_size is 1; it must be at least 2"),
        ("stages.long.max_tokens=0", "stages.long: rollout.max_tokens is 0"),
        ("stages.long.temperature=0", "stages.long: rollout.temperature is 0"),
        (
            "stages.long.max_tokns=3",
            "unknown key 'stages.long.max_tokns'; did you mean 'stages.long.max_tokens'?",
        ),
        ("stages.long.shaping.name=stop", "stages.long.shaping.name: there is no 'stop'"),
        ("stages.long.shaping.coef=2", "command line: stages.long.shaping.coef is 2"),
        ("stages.long={lr: 1}", "stages.long"),
        ("+stages.late={lr: 1}", "required keys are not set: stages.late.after"),
        ("algorithm/kl=none", "reference=reset renews a reference policy that nothing uses"),
        (
            "algorithm.reference.patience=2",
            "nothing is evaluated on the way; it needs eval.every and a bench",
        ),
    ],
)
def test_nonsense_is_refused(path: str, override: str, says: str) -> None:
    if override == "stages.long={lr: 1}":  # merged: the stage keeps its other keys
        assert load(path, override).stages["long"].after == 5
        return
    assert says in refused(path, override)


@pytest.mark.slow
def test_resets_need_a_reference_and_benches_that_exist(path: str) -> None:
    fixed = ("algorithm/reference=fixed", "algorithm/kl=none")
    assert "stages.mixed.reset_reference renews a reference policy that nothing uses" in refused(path, *fixed)
    load(path, *fixed, "stages.mixed.reset_reference=false")
    watched = ("algorithm.reference.patience=2", "eval.every=2", "+bench@eval.benches.addition=addition")
    assert "algorithm.reference.bench: 'additon' is not in eval.benches; did you mean" in refused(
        path, *watched, "algorithm.reference.bench=additon"
    )
    line = derived.derive(load(path, *watched))["resets"]
    assert line == "reference every 4 steps, after 2 evaluations of addition without improvement"


@pytest.mark.slow
def test_the_positions_of_every_stage_are_checked(path: str, tmp_path: Path) -> None:
    """Before anything is trained: 16 + 49 tokens are one more than the model has."""
    done = rlvr("train", path, f"out={tmp_path / 'run'}", "stages.long.max_tokens=49")
    assert done.returncode == 2, done.stderr
    assert "65 tokens, more than the 64 positions" in done.stderr
    assert not (tmp_path / "run").exists()


def checkpoint(out: Path, step: int, stage: int) -> None:
    folder = out / "checkpoints" / f"step_{step}"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text(json.dumps({"step": step, "loop": {"stage": stage}}))
    files = {"state.json": manifest.fingerprint(folder / "state.json")}
    manifest.write(folder, step=step, ranks=1, zero_stage=0, files=files)


@pytest.mark.slow
def test_only_stages_to_come_may_change(path: str, tmp_path: Path) -> None:
    """`long` comes after step 5: a run that ended there has not begun it, one that goes on has."""
    out = tmp_path / "run"
    checkpoint(out, 5, stage=1)
    compose.save(load(path), out / "recipe.yaml")
    later = load(path, "stages.long.max_tokens=20", "+stages.late={after: 9}")
    assert run_directory.prepare(later, out).startswith("continuing")
    compose.save(load(path), out / "recipe.yaml")
    for change, says in (
        ("stages.mixed.max_tokens=13", r"stages\.mixed\.max_tokens \(12 -> 13\)"),
        ("stages.long.after=4", r"stages\.long\.after \(absent -> 4\)"),  # too late for that
    ):
        with pytest.raises(UserError, match=says):
            run_directory.prepare(load(path, change), out)
    checkpoint(out, 6, stage=2)
    with pytest.raises(UserError, match=r"stages\.long\.max_tokens \(16 -> 20\)"):
        run_directory.prepare(later, out)


def test_a_stage_begun_at_the_checkpoint_may_not_change(path: str, tmp_path: Path) -> None:
    out, recipe = tmp_path / "run", load(path)
    checkpoint(out, 5, stage=2)
    compose.save(recipe, out / "recipe.yaml")
    stages = dict(recipe.stages)
    long = stages.pop("long")
    with pytest.raises(UserError, match=r"stages\.long\.max_tokens \(16 -> 20\)"):
        run_directory.prepare(replace(recipe, stages=stages | {"long": replace(long, max_tokens=20)}), out)
    with pytest.raises(UserError, match=r"stages\.long\.after \(5 -> absent\)"):
        run_directory.prepare(replace(recipe, stages=stages), out)
