"""`rlvr eval` of a run's benches and of earlier results: judged by the code of then, wherever it is now."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from own_code import OPTION, VERIFIER

from rlvr_cli import compose
from rlvr_cli.compose import find_plugins
from rlvr_cli.core import plugins, recorded_code
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.result_files import differences, read_result
from rlvr_cli.evaluation.bench import Evaluation
from rlvr_cli.evaluation.outputs import write_result
from rlvr_cli.evaluation.scores import summarise
from rlvr_cli.launch import run_directory
from rlvr_cli.schema import EvalRecipe, Recipe

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_plugins_afterwards")]

RECIPE = """\
defaults:
  - algorithm: grpo
  - model: tiny
  - data@data.train: addition
  - verifier@verifiers.math: math
  - override algorithm/advantage: median
  - _self_
name: mine
plugins: [my_algo.py, loud.py]
eval:
  benches:
    loud: {source: {path: "synthetic:addition", split: eval}, verifier: {name: shout}}
    mine: {source: {path: "synthetic:addition", split: eval}, verifier: {name: python, path: reward.py}}
"""
REWARD = "import utils\n\ndef compute_score(solution_str, ground_truth):\n    return utils.ONE\n"
ROW = {
    **{"index": 0, "id": "p0", "answer": "1", "prompt": "", "extra": {}, "correct": [True], "scores": [1.0]},
    **{"extracted": ["1"], "reasons": ["correct"], "details": [""], "responses": ["1!"], "lengths": [9]},
    **{"truncated": [False]},
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    made = tmp_path / "source"
    made.mkdir()
    for name, text in (("my_algo", OPTION), ("loud", VERIFIER), ("reward", REWARD), ("utils", "ONE = 1.0\n")):
        (made / f"{name}.py").write_text(text)
    (made / "mine.yaml").write_text(RECIPE)
    return made


@pytest.fixture
def run(source: Path, tmp_path: Path) -> Path:
    """As it is after a run with one evaluation."""
    out = tmp_path / "run"
    recipe = compose.load(str(source / "mine.yaml"), [f"out={out}"])
    out.mkdir()
    run_directory.prepare(recipe, out)
    (out / "final").mkdir()
    judged(out / "recipe.yaml", out / "eval")
    find_plugins.load([], "", find_plugins.Places())
    return out


def judged(recipe: Path, folder: Path) -> None:
    """Result files of its benches, as ranks write them."""
    read = compose.read(recipe)
    assert isinstance(read, Recipe | EvalRecipe)
    for name, bench in (read.eval.benches if isinstance(read, Recipe) else read.benches).items():
        write_result(folder, name, bench, Evaluation(summary=summarise([ROW]), rows=[ROW]), model="m")


def file_of(verifier: Any) -> Path:
    """Where its class is from."""
    return Path(str(sys.modules[type(verifier).__module__].__file__))


def edit(source: Path) -> None:
    (source / "loud.py").write_text(VERIFIER.replace("marks: int = 1", "marks: int = 7"))
    (source / "utils.py").write_text("ONE = 0.0\n")


def test_benches_of_a_run_bring_its_plugins_and_files(
    source: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for model in (run, run / "final"):
        made = compose.load_eval(None, [], benches=["loud", "mine"], model=str(model)).benches
        assert file_of(made["loud"].verifier) == run / "code" / "plugins" / "loud.py"
        assert made["mine"].verifier.path == str(run / "code" / "eval.benches.mine.verifier" / "reward.py")
    chosen = compose.load_eval(None, [], benches=["addition"], model=str(run), verifier="shout")
    assert chosen.benches["addition"].verifier.name == "shout"
    assert capsys.readouterr().err == ""
    edit(source)
    (source / "reward.py").write_text("")
    made = compose.load_eval(None, [], benches=["loud", "mine"], model=str(run)).benches
    assert file_of(made["loud"].verifier) == run / "code" / "plugins" / "loud.py"
    assert Path(made["mine"].verifier.path).read_text() == REWARD
    said = capsys.readouterr().err
    for name, copy in (("loud.py", "plugins"), ("reward.py", "eval.benches.mine.verifier")):
        told = f"{source / name} has changed since the run was started; its copy of then is used: "
        assert f"{told}{run}/code/{copy}/{name}" in said
    named = [f"plugins=[{source / 'loud.py'}]", f"benches.mine.verifier.path={source / 'reward.py'}"]
    made = compose.load_eval(None, named, benches=["loud", "mine"], model=str(run)).benches
    assert file_of(made["loud"].verifier) == source / "loud.py"
    assert made["mine"].verifier.path == str(source / "reward.py")


def test_a_bench_of_the_package_needs_nothing_of_the_run(run: Path) -> None:
    (run / "code" / "plugins" / "loud.py").write_text("import nowhere_to_be_found\n")
    assert compose.load_eval(None, [], benches=["gsm8k"], model=str(run)).plugins == []


def test_results_say_whose_code_has_judged(source: Path, run: Path) -> None:
    stored = {name: read_result(run / "eval" / f"{name}.json") for name in ("loud", "mine")}
    rows = {name: [(row["key"], row["path"]) for row in result["code"]] for name, result in stored.items()}
    assert rows["loud"] == [("plugins.loud", str(source / "loud.py"))]
    assert rows["mine"] == [
        ("verifier.path", str(source / "reward.py")),
        ("verifier.path/utils.py", str(source / "utils.py")),
    ]
    assert set(stored["mine"]["verifier"]) == {
        *(
            "name",
            "weight",
            "gate",
            "path",
            "module",
            "function",
            "convention",
            "kwargs",
            "key",
            "correct_at",
        ),
        *("arrays", "prefill", "concurrency", "timeout_s"),
    }
    other = json.loads(json.dumps(stored["mine"]))
    other["verifier"]["path"] = "/somewhere/else/reward.py"
    assert differences(stored["mine"], other) == []
    other["code"][1]["sha256"] = "0" * 64
    was = stored["mine"]["code"][1]["sha256"][:8]
    assert differences(stored["mine"], other) == [f"code.verifier.path/utils.py (sha256 {was}, 00000000)"]


def test_results_are_judged_anew_by_the_code_of_then(
    source: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where the run lies elsewhere by now, and the files have been edited or are gone."""
    edit(source)
    moved = run.rename(tmp_path / "elsewhere")
    for given in (moved, moved / "eval", moved / "eval" / "mine.json"):
        made = compose.load_eval(None, [], rescore=str(given)).benches
        path = Path(made["mine"].verifier.path)
        assert path.parent == moved / "code" / "eval.benches.mine.verifier"
        assert path.with_name("utils.py").read_text() == "ONE = 1.0\n"
        kept = moved / "code" / "plugins" / "loud.py"
        assert "loud" not in made or file_of(made["loud"].verifier) == kept
    assert [each.module for each in plugins.active()] == []  # the last one needs none
    for file in source.iterdir():
        file.unlink()
    made = compose.load_eval(None, [], rescore=str(moved)).benches
    assert file_of(made["loud"].verifier) == moved / "code" / "plugins" / "loud.py"
    assert capsys.readouterr().err == ""
    recorded_code.keep(moved, "5")  # resume=changed
    made = compose.load_eval(None, [], rescore=str(moved)).benches
    assert file_of(made["loud"].verifier) == moved / "code.5" / "plugins" / "loud.py"


def test_without_a_copy_it_is_said_what_judges(
    source: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "eval").rename(tmp_path / "sent")
    found = compose.load_eval(None, [], rescore=str(tmp_path / "sent")).benches
    assert found["mine"].verifier.path == str(source / "reward.py") and capsys.readouterr().err == ""
    edit(source)
    found = compose.load_eval(None, [], rescore=str(tmp_path / "sent")).benches
    assert file_of(found["loud"].verifier) == source / "loud.py"
    said = capsys.readouterr().err
    assert said.startswith("rlvr: no copy is left of the loud.py that judged ") and said.count("\n") == 2
    assert "no copy is left of the utils.py that judged" in said
    (source / "reward.py").unlink()
    with pytest.raises(
        UserError, match=r"benches\.mine\.verifier\.path: there is no file .*/source/reward\.py"
    ):
        compose.load_eval(None, [], rescore=str(tmp_path / "sent" / "mine.json"))
    (source / "loud.py").unlink()
    with pytest.raises(UserError, match=r"plugins: there is no .*/source/loud\.py"):
        compose.load_eval(None, [], rescore=str(tmp_path / "sent" / "loud.json"))
    made = compose.load_eval(None, [], rescore=str(tmp_path / "sent"), verifier="match").benches
    assert {bench.verifier.name for bench in made.values()} == {"match"}


def test_an_evaluation_keeps_the_code_of_the_one_before(source: Path, tmp_path: Path) -> None:
    """Both write into one folder, and so do later ones that have no code of the user's."""
    out = tmp_path / "results"
    out.mkdir()
    for name, text in (("first", VERIFIER), ("second", VERIFIER.replace("marks: int = 1", "marks: int = 7"))):
        (source / "loud.py").write_text(text)
        bench = {"source": {"path": "synthetic:addition"}, "verifier": {"name": "shout"}}
        given = [f"plugins=[{source / 'loud.py'}]", f"out={out}"]
        recipe = compose.load_eval(None, given, model="m", own={name: bench})
        run_directory.prepare(recipe, out)
        judged(out / "recipe.yaml", out)
    plain = compose.load_eval(None, [f"out={out}"], model="m", benches=["addition"])
    run_directory.prepare(plain, out)
    assert len(list(out.glob("code*"))) == 2
    for name, mark in (("first", "= 1"), ("second", "= 7")):
        made = compose.load_eval(None, [], rescore=str(out), benches=[name])
        assert mark in file_of(made.benches[name].verifier).read_text()
    with pytest.raises(UserError) as caught:
        compose.load_eval(None, [], rescore=str(out))
    assert "--from: first and second were judged by different files of plugins.loud (sha256 " in str(
        caught.value
    )
    named = compose.load_eval(None, [f"plugins=[{source / 'loud.py'}]"], rescore=str(out))
    assert {file_of(bench.verifier) for bench in named.benches.values()} == {source / "loud.py"}


def test_a_copy_is_that_with_the_imports_of_then(source: Path, tmp_path: Path) -> None:
    """Two evaluations by one file, between which another one that it imports was edited."""
    out = tmp_path / "results"
    out.mkdir()
    bench = {
        "source": {"path": "synthetic:addition"},
        "verifier": {"name": "python", "path": str(source / "reward.py")},
    }
    for name, text in (("first", "ONE = 1.0\n"), ("second", "ONE = 2.0\n"), ("third", "ONE = 3.0\n")):
        (source / "utils.py").write_text(text)
        recipe = compose.load_eval(None, [f"out={out}"], model="m", own={name: bench})
        run_directory.prepare(recipe, out)
        judged(out / "recipe.yaml", out)
    made = compose.load_eval(None, [], rescore=str(out)).benches
    kept = {name: Path(bench.verifier.path).with_name("utils.py").read_text() for name, bench in made.items()}
    assert kept == {"first": "ONE = 1.0\n", "second": "ONE = 2.0\n", "third": "ONE = 3.0\n"}
