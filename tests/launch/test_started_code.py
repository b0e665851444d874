"""The user's code of a run: recorded, compared when it goes on, and taken from its copies."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest
from own_code import OPTION, SCRIPTED

from rlvr_cli import compose
from rlvr_cli.core import recorded_code
from rlvr_cli.core.errors import UserError
from rlvr_cli.launch import run_directory
from rlvr_cli.schema import Recipe

RECIPE = """\
defaults:
  - algorithm: grpo
  - model: tiny
  - data@data.train: addition
  - verifier@verifiers.own: scripted
  - override algorithm/advantage: median
  - _self_
name: mine
plugins: [my_algo.py, rewards]
data: {train: {verifiers: [own]}}
verifiers: {own: {path: score.txt}}
"""


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_plugins_afterwards")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "mine"
    (made / "rewards").mkdir(parents=True)
    (made / "my_algo.py").write_text(OPTION)
    (made / "rewards" / "__init__.py").write_text("from rewards.scripted import Scripted\n")
    (made / "rewards" / "scripted.py").write_text(SCRIPTED)
    (made / "score.txt").write_text("0.25")
    (made / "mine.yaml").write_text(RECIPE)
    return made


def prepare(source: Path, out: Path, *overrides: str) -> str:
    recipe = compose.load(str(source), [f"out={out}", *overrides])
    out.mkdir(exist_ok=True)
    return run_directory.prepare(recipe, out)


def checkpoint(out: Path) -> None:
    (out / "checkpoints" / "step_5").mkdir(parents=True)


def test_path_hash_and_copy_are_recorded(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    prepare(folder / "mine.yaml", out)
    rows = {row["key"]: row for row in json.loads((out / "code" / "code.json").read_text())}
    assert set(rows) == {"plugins.my_algo", "plugins.rewards", "verifiers.own.path"}
    for key, source in (("plugins.my_algo", "my_algo.py"), ("verifiers.own.path", "score.txt")):
        content = (folder / source).read_bytes()
        assert rows[key]["path"] == str(folder / source)
        assert rows[key]["sha256"] == sha256(content).hexdigest()
        assert (out / "code" / rows[key]["copy"]).read_bytes() == content
    assert (out / "code" / "plugins" / "rewards" / "scripted.py").read_text() == SCRIPTED
    assert recorded_code.digest({"a": b"1", "b": b"2"}) != recorded_code.digest({"a": b"12", "b": b""})


def test_ranks_have_the_code_of_the_start(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    prepare(folder / "mine.yaml", out)
    (folder / "my_algo.py").write_text(OPTION.replace("1.0", "3.0"))
    (folder / "score.txt").write_text("0.75")
    (folder / "rewards" / "scripted.py").unlink()
    read = compose.read(out / "recipe.yaml")
    assert isinstance(read, Recipe)
    assert type(read.algorithm.advantage)().scale == 1.0
    assert read.verifiers["own"].verify("", "", {}).score == 0.25
    assert read.plugins == [str(folder / "my_algo.py"), str(folder / "rewards")]


def test_changed_code_is_refused_unless_it_is_wanted(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    prepare(folder / "mine.yaml", out)
    checkpoint(out)
    assert prepare(folder / "mine.yaml", out) == f"continuing {out}"
    old = sha256(OPTION.encode()).hexdigest()
    new = OPTION.replace("1.0", "3.0")
    (folder / "my_algo.py").write_text(new)
    with pytest.raises(UserError) as caught:
        prepare(folder / "mine.yaml", out)
    told = f"plugins.my_algo (sha256 {old[:8]} -> {sha256(new.encode()).hexdigest()[:8]})"
    assert told in str(caught.value) and "add resume=changed" in str(caught.value)
    assert (out / "code" / "plugins" / "my_algo.py").read_text() == OPTION
    (folder / "score.txt").write_text("0.75")
    with pytest.raises(UserError, match=r"verifiers\.own\.path \(sha256 "):
        prepare(folder / "mine.yaml", out)
    assert told in prepare(folder / "mine.yaml", out, "resume=changed")
    assert (out / "code" / "plugins" / "my_algo.py").read_text() == new
    assert (out / "code.5" / "plugins" / "my_algo.py").read_text() == OPTION
    assert prepare(folder / "mine.yaml", out) == f"continuing {out}"


def test_a_finished_run_says_what_code_has_changed(folder: Path, tmp_path: Path) -> None:
    out, overrides = tmp_path / "run", [f"out={tmp_path / 'run'}", "trainer.steps=5"]
    prepare(folder / "mine.yaml", out, "trainer.steps=5")
    checkpoint(out)
    (out / "final").mkdir()
    said = run_directory.finished(compose.load(str(folder / "mine.yaml"), overrides), out)
    assert said == (
        f"{out} is finished (5 steps), its model is {out}/final; to go on, raise trainer.steps; for a new "
        "run, set name= or out="
    )
    old, new = OPTION, OPTION.replace("return inputs", "return -inputs")
    (folder / "my_algo.py").write_text(new)
    (folder / "score.txt").write_text("0.75")
    said = run_directory.finished(compose.load(str(folder / "mine.yaml"), overrides), out)
    sums = [sha256(text.encode()).hexdigest()[:8] for text in (old, new, "0.25", "0.75")]
    assert (
        said is not None
        and (
            f"run with code that has changed since: plugins.my_algo (sha256 {sums[0]} -> {sums[1]}), "
            f"verifiers.own.path (sha256 {sums[2]} -> {sums[3]}); that code is in {out}/code; to go on, "
        )
        in said
    )


def test_what_a_file_imports_from_its_folder_is_recorded_and_compared(folder: Path, tmp_path: Path) -> None:
    out, text = tmp_path / "run", RECIPE.replace("verifiers.own: scripted", "verifiers.own: python")
    (folder / "mine.yaml").write_text(text.replace("path: score.txt", "path: reward.py"))
    (folder / "reward.py").write_text("from utils import compute_score\n")
    (folder / "utils.py").write_text("def compute_score(solution_str, ground_truth): return 1.0\n")
    prepare(folder / "mine.yaml", out)
    checkpoint(out)
    assert (out / "code" / "verifiers.own" / "utils.py").read_bytes() == (folder / "utils.py").read_bytes()
    assert prepare(folder / "mine.yaml", out) == f"continuing {out}"
    (folder / "utils.py").write_text("def compute_score(solution_str, ground_truth): return 0.0\n")
    with pytest.raises(UserError, match=r"verifiers\.own\.path/utils\.py \(sha256 \w{8} -> \w{8}\)"):
        prepare(folder / "mine.yaml", out)
    assert "return 1.0" in (out / "code" / "verifiers.own" / "utils.py").read_text()


def test_code_that_is_gone_or_has_moved(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    prepare(folder / "mine.yaml", out)
    checkpoint(out)
    moved = folder.rename(tmp_path / "elsewhere")
    assert prepare(moved / "mine.yaml", out) == f"continuing {out}"
    moved.rename(tmp_path / "third")
    assert prepare(out / "recipe.yaml", out) == f"continuing {out}"
    said = capsys.readouterr().err
    for name in ("my_algo.py", "score.txt", "rewards"):
        assert f"rlvr: {moved / name} is gone; the run's copy of it is used: {out}/code/" in said
    read = compose.read(out / "recipe.yaml")
    assert isinstance(read, Recipe) and read.verifiers["own"].verify("", "", {}).score == 0.25
    assert prepare(out / "recipe.yaml", out) == f"continuing {out}"


def test_an_evaluation_records_too(folder: Path, tmp_path: Path) -> None:
    (folder / "bench").mkdir()
    (folder / "bench" / "own.yaml").write_text(
        "source: {path: 'synthetic:addition', split: eval}\nverifier: {name: scripted, path: score.txt}\n"
    )
    (folder / "measure.yaml").write_text(
        "defaults: [{bench@benches.own: own}, _self_]\nplugins: [rewards]\nmodel: {path: m}\n"
    )
    recipe = compose.load_eval(str(folder / "measure.yaml"), [f"out={tmp_path / 'eval'}"])
    (tmp_path / "eval").mkdir()
    run_directory.prepare(recipe, tmp_path / "eval")
    keys = [code.key for code in recorded_code.recorded(tmp_path / "eval")]
    assert keys == ["plugins.rewards", "benches.own.verifier.path"]
    read = compose.read(tmp_path / "eval" / "recipe.yaml")
    assert read.benches["own"].verifier.path.startswith(f"{tmp_path}/eval/code/benches.own.verifier/")  # type: ignore[union-attr]


def test_a_folder_of_code_is_not_a_place_for_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_code, "MOST_BYTES", 10)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "big.pyc").write_bytes(bytes(100))
    (tmp_path / "__init__.py").write_text("x = 1")
    assert recorded_code.contents(tmp_path) == {"__init__.py": b"x = 1"}
    (tmp_path / "rows.bin").write_bytes(bytes(20))
    with pytest.raises(UserError, match="keep data elsewhere"):
        recorded_code.contents(tmp_path)
