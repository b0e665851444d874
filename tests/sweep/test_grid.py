"""Lists of values become runs: Hydra's grammar, names of runs, what is refused before anything is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from omegaconf import DictConfig
from run_helpers import SFT_RECIPE

from rlvr_cli.commands.main import main
from rlvr_cli.compose import launchers
from rlvr_cli.compose.sweep import grid
from rlvr_cli.core.errors import UserError
from rlvr_cli.sweep.names import name_of, names_of
from rlvr_cli.sweep.plan import plan
from rlvr_cli.sweep.progress import result
from rlvr_cli.sweep.shares import shares


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("trainer.lr=1e-6,3e-6", [1e-6, 3e-6]),
        ("seed=range(0,3)", [0, 1, 2]),
        ("seed=range(0,10,4)", [0, 4, 8]),
        ("seed=0..2", [0, 1, 2]),
        ("seed=-1..1", [-1, 0, 1]),
        ("seed=choice(3,5)", [3, 5]),
        ("algorithm=grpo,rloo", ["grpo", "rloo"]),
        ("algorithm=glob(gr*,exclude=*x)", ["grpo"]),
        ('data.train.prompt="a,b","c"', ["a,b", "c"]),
        ("rollout.stop=[a,b],[c]", [["a", "b"], ["c"]]),
        ("eval.every=null,5", [None, 5]),
        ("trainer.offload=true,false", [True, False]),
    ],
)
def test_the_grammar_is_hydras(text: str, values: list[object]) -> None:
    found = grid([text, "trainer.steps=3"])
    assert found.fixed == ["trainer.steps=3"] and [axis.values for axis in found.axes] == [values]


def test_all_combinations_the_last_key_fastest() -> None:
    found = grid(["trainer.lr=1e-6,3e-6", "rollout.stop=[a,b]", "seed=0..1"])
    assert found.fixed == ["rollout.stop=[a,b]"]  # one value
    assert [found.overrides(run) for run in found.runs()] == [
        ["trainer.lr=1e-06", "seed=0"],
        ["trainer.lr=1e-06", "seed=1"],
        ["trainer.lr=3e-06", "seed=0"],
        ["trainer.lr=3e-06", "seed=1"],
    ]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["trainer.lr=1e-6"], "a sweep needs a key with several values"),
        (["trainer.lr=interval(0,1)"], "an interval has no list of values"),
        (["seed=2..0"], "0 is below 2"),
        (["seed=1,2,1"], "1 comes twice"),
        (["seed=1,2", "seed=3"], "seed is given twice"),
        (["seed=1,2", "seed=3,4"], "seed is given twice"),
        (["seed=0..1000000"], "the grid has 1,000,001 runs or more"),
        (["seed=range(0,0)"], "the list has no value"),
        (["algorithm=glob(zz*)"], "no entry of algorithm matches"),
        (["data.train.prompt=a b{,c"], "as text it is written"),
    ],
)
def test_what_is_no_grid_is_refused(overrides: list[str], said: str) -> None:
    with pytest.raises(UserError) as error:
        grid(overrides)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_names_say_what_differs_and_fit_into_a_path() -> None:
    assert name_of({"trainer.lr": 1e-06, "seed": 0}, 60) == "lr1e-6_seed0"
    assert name_of({"algorithm": "grpo", "batch.group_size": 16}, 60) == "algorithm-grpo_group_size16"
    assert name_of({"trainer.lr": 0.1, "critic.lr": 0.2}, 60) == "trainer.lr0.1_critic.lr0.2"
    assert name_of({"+verifier@verifiers.format": "format"}, 60) == "format-format"
    assert name_of({"model.path": "/a/b c", "x": None}, 60) == "path-a-b-c_x-null"
    assert names_of([{"p": "a/b"}, {"p": "a-b"}, {"p": "c"}], 60)[2] == "p-c"
    twice = names_of([{"p": "a/b"}, {"p": "a-b"}], 60)
    assert len(set(twice)) == 2 and all(name.startswith("p-a-b-") for name in twice)
    long = name_of({"p": "x" * 99}, 30)
    assert len(long) == 30 and long != name_of({"p": "x" * 98}, 30)


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(SFT_RECIPE)
    return "mine.yaml"


@pytest.mark.slow
def test_every_run_is_composed_with_its_own_name_and_folder(recipe: str) -> None:
    found = plan(recipe, ["trainer.lr=1e-3,2e-3", "seed=0..1", "trainer.steps=2"])
    assert str(found.folder) == "runs/small-sweep" and not Path("runs").exists()
    third = found.runs[2]
    assert (third.recipe.name, third.recipe.out) == ("small_lr2e-3_seed0", "runs/small-sweep/lr2e-3_seed0")
    assert (third.recipe.trainer.lr, third.recipe.seed, third.recipe.trainer.steps) == (2e-3, 0, 2)
    assert third.entry.values == {"trainer.lr": 2e-3, "seed": 0} and third.entry.state == "not begun"
    found.write()
    kept = yaml.safe_load(found.recipe_of(third).read_text())
    assert kept["trainer"]["lr"] == 2e-3 and kept["out"] == third.recipe.out
    again = plan(recipe, ["seed=0..1", "trainer.lr=1e-3,2e-3,4e-3", "trainer.steps=2"])
    assert again.news == ["the grid has 2 runs more than runs/small-sweep/sweep.json knows: they are added"]
    assert again.runs[0].entry.name == "lr1e-3_seed0"  # as before, though the keys stand the other way round
    other = plan(recipe, ["seed=5,6", "out=elsewhere"])
    assert str(other.folder) == "elsewhere" and other.news == []
    fewer = plan(recipe, ["trainer.lr=1e-3", "seed=0,7"])
    assert "4 runs of an earlier grid stay as they are" in fewer.news[1]
    assert [entry.in_grid for entry in fewer.index.runs] == [True, True, False, False, False, False]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("seed=0,1", "a sweep needs a recipe"),
        ("mine.yaml", "a sweep needs a key with several values"),
        ("mine.yaml trainer.lr=1e-3,x", "the run with trainer.lr=x: command line: trainer.lr"),
        ("mine.yaml trainer.lrr=1,2", "the run with trainer.lrr=1:"),
        ("mine.yaml name=a,b", "name: each run has its own name"),
        ("mine.yaml seed=0,1 --jobs 0", "--jobs is 0"),
        ("mine.yaml seed=0,1 --slurm", "there is no sbatch"),
        ("mine.yaml seed=0,1 --sbatch=--x", "--sbatch goes with --slurm"),
        ("mine.yaml seed=0,1 --slurm --launcher basic", "choose one"),
        ("mine.yaml seed=0,1 --launcher submitit_slurm", "pip install hydra-submitit-launcher"),
        ("mine.yaml seed=0,1 --launcher nosuch", "'nosuch' is not installed; available: basic"),
        ("mine.yaml seed=0,1 hydra.launcher.x=1", "goes with --launcher"),
        ("mine.yaml seed=0,1 hydra/launcher=basic", "--launcher NAME"),
        ("mine.yaml seed=0,1 --slurm --dry-run --sbatch=--array=0-3", "--array is set by the sweep"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(
    recipe: str,
    arguments: str,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    before = sorted(Path().rglob("*"))
    assert main(["sweep", *arguments.split()]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert sorted(Path().rglob("*")) == before


def test_multirun_is_answered_with_the_verb(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", recipe, "-m", "trainer.lr=1e-3,1e-2"]) == 2
    assert "several runs are a sweep: rlvr sweep" in capsys.readouterr().err


def test_dry_runs_list_the_runs_and_print_the_script(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", recipe, "seed=0,1", "--dry-run"]) == 0
    assert capsys.readouterr().out == (
        "2 runs in runs/small-sweep\n  seed0  not begun  seed=0\n  seed1  not begun  seed=1\n"
    )
    assert (
        main(
            [
                "sweep",
                recipe,
                "seed=0,1",
                "--slurm",
                "--jobs",
                "1",
                "--sbatch",
                "--time=1:00:00 -p a",
                "--dry-run",
            ]
        )
        == 0
    )
    script = capsys.readouterr().out
    assert "#SBATCH --array=0-1%1\n" in script and "#SBATCH --time=1:00:00 -p a\n" in script
    assert "#SBATCH --signal=B:TERM@180" in script and "/runs/small-sweep/recipes/seed1.yaml" in script
    assert 'rlvr_cli train "${recipes[$SLURM_ARRAY_TASK_ID]}"' in script and not Path("runs").exists()


def test_a_job_array_is_submitted_and_remembered(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stand-in for sbatch takes the script; what it refuses leaves nothing."""
    (tmp_path / "bin").mkdir()
    sbatch = tmp_path / "bin" / "sbatch"
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/bin:/usr/bin")
    sbatch.write_text("#!/bin/sh\necho 'invalid partition' >&2; exit 1\n")
    sbatch.chmod(0o755)
    assert main(["sweep", recipe, "seed=0,1", "--slurm"]) == 2
    assert "invalid partition" in capsys.readouterr().err and not Path("runs/small-sweep").exists()
    sbatch.write_text('#!/bin/sh\ncp "$2" taken; echo "77;cluster"\n')
    assert main(["sweep", recipe, "seed=0,1", "--slurm"]) == 0
    assert "submitted 2 runs as job 77" in capsys.readouterr().err
    assert "--array=0-1\n" in Path("taken").read_text()
    assert json.loads(Path("runs/small-sweep/sweep.json").read_text())["jobs"] == ["77"]


def test_gpus_and_threads_are_shared_out() -> None:
    assert shares(1, [None], 8, 16, {}) == [{}]
    four = shares(4, [None], 8, 16, {})
    assert [each["CUDA_VISIBLE_DEVICES"] for each in four] == ["0,1", "2,3", "4,5", "6,7"]
    assert four[0]["OMP_NUM_THREADS"] == "2"
    two = shares(2, [1, 2], 4, 16, {"CUDA_VISIBLE_DEVICES": "4,5,6,7", "OMP_NUM_THREADS": "3"})
    assert two == [{"CUDA_VISIBLE_DEVICES": "4,5"}, {"CUDA_VISIBLE_DEVICES": "6,7"}]
    assert shares(3, [None], 0, 8, {}) == [{"OMP_NUM_THREADS": "2"}] * 3
    assert shares(2, [2], 0, 8, {}) == [{"OMP_NUM_THREADS": "2"}] * 2
    with pytest.raises(UserError, match=r"--jobs 3 takes 3 GPUs, and there are 2; .*--jobs 2"):
        shares(3, [None], 2, 8, {})
    with pytest.raises(
        UserError, match=r"--jobs 2 with trainer.ranks=3 takes 6 GPUs, and there are 4.*--jobs 1"
    ):
        shares(2, [3, None], 4, 8, {})


def test_hydras_launchers_get_the_recipes(tmp_path: Path) -> None:
    """Hydra's own, which calls the task in this process, one after the other."""
    recipes, seen = [tmp_path / "a b.yaml", tmp_path / "c=d.yaml"], []

    def task(config: DictConfig) -> int:
        seen.append(config.recipe)
        if len(seen) == 2:
            raise OSError("no such node")
        return 0

    assert "basic" in launchers.launchers()
    assert launchers.start("basic", recipes, [], tmp_path / "own", task) == [None, "no such node"]
    assert seen == list(map(str, recipes))
    assert launchers.start("basic", recipes[:1], [], tmp_path / "own", lambda config: 3) == ["exit code 3"]
    with pytest.raises(UserError, match="--launcher basic: "):
        launchers.start("basic", recipes, ["hydra.launcher.nosuch=1"], tmp_path / "own", task)


def test_what_a_run_came_to_is_told_by_both_ends_where_there_are_two(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"step": 1, "reward/mean": 0.25},
        {"step": 1, "event": "eval", "bench": "sums", "eval/sums/avg@4": 0.5},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert result(tmp_path) == "reward 0.25  sums 50.0%"
    rows += [{"step": 2, "reward/mean": 0.5}, rows[1] | {"step": 2, "eval/sums/avg@4": 0.75}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert result(tmp_path) == "reward 0.25 -> 0.5  sums 50.0% -> 75.0%"
    assert result(tmp_path / "nowhere") == ""
