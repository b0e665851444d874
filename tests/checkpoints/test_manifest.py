"""No byte of a checkpoint changes unseen; what may differ when a run goes on."""

from __future__ import annotations

import json
import shutil
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from rlvr_cli import compose
from rlvr_cli.checkpoints import manifest, recipe_changes
from rlvr_cli.checkpoints.writer import sync_tree, write_file
from rlvr_cli.core.errors import UserError
from rlvr_cli.launch import run_directory
from rlvr_cli.launch.directory_lock import lock
from rlvr_cli.schema import Resume

STATE = {"step": 7, "loop": {"stage": 0}}


def made(folder: Path, state: dict = STATE, step: int = 7) -> Path:
    """A checkpoint with text, a torch file, and bytes that look random, written by the code of real ones."""
    import torch

    content = {
        "state.json": json.dumps(state),
        "trainer/mp_rank_00_model_states.pt": {"weight": torch.arange(300.0), "steps": 3},
        "rng_rank0.pt": {"torch": torch.get_rng_state()},
    }
    files = {name: write_file(folder / name, what) for name, what in content.items()}
    manifest.write(folder, step=step, ranks=1, zero_stage=2, files=files)
    sync_tree(folder)
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("run") / "checkpoints" / "step_7")


NAMES = ("state.json", "trainer/mp_rank_00_model_states.pt", "rng_rank0.pt", "manifest.json")


def test_a_whole_checkpoint_says_what_it_is(checkpoint: Path) -> None:
    assert manifest.wrong(checkpoint) is None
    found = manifest.read(checkpoint)
    assert (found["step"], found["ranks"], found["zero_stage"], found["format"]) == (7, 1, 2, 1)
    assert set(found["files"]) == set(NAMES) - {"manifest.json"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tenths", range(10))
def test_a_truncated_file_is_seen(name: str, tenths: int, checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "step_7"))
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) * tenths // 10])
    said = manifest.wrong(folder)
    assert said is not None and name in said


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_a_changed_byte_is_seen(data: st.DataObject, checkpoint: Path) -> None:
    name = data.draw(st.sampled_from(NAMES))
    whole = (checkpoint / name).read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[at] ^= data.draw(st.integers(1, 255))
    try:
        (checkpoint / name).write_bytes(changed)
        said = manifest.wrong(checkpoint)
    finally:
        (checkpoint / name).write_bytes(whole)
    assert said is not None and name in said
    assert manifest.wrong(checkpoint) is None


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_is_seen(name: str, checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "step_7"))
    (folder / name).unlink()
    assert f"{name} is missing" in str(manifest.wrong(folder))


def test_a_manifest_belongs_to_its_folder_and_format(checkpoint: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(checkpoint, tmp_path / "step_8"))
    assert manifest.wrong(moved) == "manifest.json is that of step 7"
    folder = Path(shutil.copytree(checkpoint, tmp_path / "step_7"))
    body = json.loads((folder / "manifest.json").read_text())
    body.pop("sha256")
    (folder / "manifest.json").write_text(manifest._render(body | {"format": 2}))
    assert "has format 2" in str(manifest.wrong(folder))


def test_folders_that_are_no_checkpoints_are_not_found(tmp_path: Path) -> None:
    for name in ("step_3", "step_12", ".step_4.tmp", "step_5.corrupt", "step_x", "latest"):
        (tmp_path / name).mkdir()
    assert manifest.steps(tmp_path) == [12, 3]
    assert manifest.set_aside(tmp_path / "step_12").name == "step_12.corrupt"
    (tmp_path / "step_12").mkdir()
    assert manifest.set_aside(tmp_path / "step_12").name == "step_12.corrupt2"
    assert manifest.steps(tmp_path) == [3]


# --- what may change -------------------------------------------------------------------------------


def recipe(out: Path, *overrides: str):
    return compose.load("smoke", [f"out={out}", *overrides])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    out = tmp_path / "run"
    made(out / "checkpoints" / "step_7")
    compose.save(recipe(out), out / "recipe.yaml")
    return out


@pytest.mark.slow
def test_another_recipe_is_refused_unless_it_is_wanted(run: Path) -> None:
    before = (run / "recipe.yaml").read_bytes()
    with pytest.raises(UserError, match=r"trainer\.lr \(0\.0001 -> 0\.01\).*add resume=changed"):
        run_directory.prepare(recipe(run, "trainer.lr=0.01"), run)
    assert (run / "recipe.yaml").read_bytes() == before
    said = run_directory.prepare(recipe(run, "trainer.lr=0.01", "resume=changed"), run)
    assert "with another recipe: trainer.lr (0.0001 -> 0.01); the old one is in" in said
    assert (run / "recipe.7.yaml").read_bytes() == before
    now = compose.read(run / "recipe.yaml")
    assert now.trainer.lr == 0.01
    assert now.resume.value == "auto"  # or every later start would take any recipe
    assert run_directory.prepare(now, run) == f"continuing {run}"


def test_how_to_resume_is_not_remembered(run: Path) -> None:
    """Or every later start would take any recipe."""
    run_directory.prepare(replace(compose.read(run / "recipe.yaml"), resume=Resume.changed), run)
    assert OmegaConf.load(run / "recipe.yaml").resume == "auto"


@pytest.mark.slow
def test_a_run_is_not_continued_where_that_is_unwanted(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds a run and resume=never"):
        run_directory.prepare(recipe(run, "resume=never"), run)
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(UserError, match=r"holds a run and resume=never"):
        run_directory.prepare(recipe(run, "resume=never"), run)
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    assert run_directory.prepare(recipe(fresh, "resume=never"), fresh) == f"starting {fresh}"


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"step": 7}'])
def test_a_damaged_state_does_not_end_the_look_at_the_recipe(content: bytes, run: Path) -> None:
    """Which checkpoint is good, the ranks find out; here an older one tells which stages have begun."""
    (run / "checkpoints" / "step_7" / "state.json").write_bytes(content)
    assert run_directory.prepare(recipe(run), run) == f"continuing {run}"
    made(run / "checkpoints" / "step_5", {"step": 5, "loop": {"stage": 1}}, step=5)
    assert run_directory._newest(run / "checkpoints") == (5, 1)


@pytest.mark.slow
def test_a_checkpoint_whose_replacement_was_cut_short_is_put_back(run: Path) -> None:
    (run / "checkpoints" / "step_7").rename(run / "checkpoints" / ".step_7.old")
    assert run_directory.prepare(recipe(run), run) == f"continuing {run}"
    assert manifest.wrong(run / "checkpoints" / "step_7") is None


def test_free_keys_and_stages_to_come_are_no_differences() -> None:
    old = {"trainer": {"steps": 5, "lr": 1}, "stages": {"a": {"after": 3}, "b": {"after": 9}}}
    new = {"trainer": {"steps": 9, "lr": 1}, "stages": {"a": {"after": 3}, "c": {"after": 8}}}
    assert recipe_changes.differences(old, new, step=8, begun=1) == []
    assert recipe_changes.differences(old, new, step=9, begun=1) == ["stages.c.after (absent -> 8)"]


def test_what_changes_the_samples_is_a_difference_and_the_engines_memory_is_none() -> None:
    old = {"rollout": {"temperature": 1.0, "max_tokens": 40, "gpu_memory_utilization": 0.5}}
    new = {"rollout": {"temperature": 0.6, "max_tokens": 80, "gpu_memory_utilization": 0.9}}
    assert recipe_changes.differences(old, new, step=8, begun=0) == [
        "rollout.temperature (1.0 -> 0.6)",
        "rollout.max_tokens (40 -> 80)",
    ]


def test_keys_that_an_earlier_version_did_not_have_count_where_they_are_set() -> None:
    """A run may go on under a version that has more keys: at their defaults these change nothing."""
    recipe = compose.load("smoke", ["rollout.temperature=0.5"])
    new = compose.plain(recipe)
    old = deepcopy(new)
    del old["rollout"]["lora"], old["rollout"]["servers"], old["verifiers"]["math"]["weight"], old["critic"]
    assert recipe_changes.differences(old, new, step=1, begun=0)
    assert recipe_changes.completed(old, new, recipe) == new
    del old["rollout"]["temperature"], old["name"]
    completed = recipe_changes.completed(old, new, recipe)
    assert recipe_changes.differences(completed, new, step=1, begun=0) == [
        "name (absent -> smoke)",
        "rollout.temperature (absent -> 0.5)",
    ]


@pytest.mark.parametrize("below", ["file", "file/run"])
def test_a_directory_that_cannot_be_written_is_one_line(below: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    says = r"^out=\S+ cannot be written: .*; set out= to another directory$"
    with pytest.raises(UserError, match=says), lock(tmp_path / below):
        raise AssertionError("not reached")


@pytest.mark.parametrize("value", ["every=0", "keep=0", "must_save_by=0"])
def test_settings_that_cannot_be(value: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"checkpoint.{value.split('=')[0]} is 0"):
        recipe(tmp_path / "run", f"checkpoint.{value}")
