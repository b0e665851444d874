"""Run directories, ranks, signals, and what is said when something fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from rlvr_cli import compose
from rlvr_cli.core import model_paths, rank_process
from rlvr_cli.core.errors import UserError
from rlvr_cli.launch import prerequisites, rank, run_directory, start, supervise
from rlvr_cli.launch.rank_processes import rank_environment
from rlvr_cli.launch.redirect_output import redirect
from rlvr_cli.schema import EvalRecipe, Recipe, derived

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_environment")]
MODULE = "tests.support.launch_entries"


def make(out: Path, *overrides: str) -> Recipe:
    recipe = compose.load("smoke", [f"out={out}", *overrides])
    assert isinstance(recipe, Recipe)
    return recipe


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "PAUSE_S", 0.1)


# --- output ---------------------------------------------------------------------------------


def test_redirect_keeps_noise_of_every_kind_out(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    print("before")
    with redirect(tmp_path / "logs" / "rank0.log") as terminal:
        print("noise")
        os.system("echo child; echo complaint >&2")
        os.write(2, b"descriptor\n")
        print("for the user", file=terminal)
    print("after")
    assert capfd.readouterr() == ("before\nfor the user\nafter\n", "")
    assert sorted((tmp_path / "logs" / "rank0.log").read_text().split()) == [
        "child",
        "complaint",
        "descriptor",
        "noise",
    ]


def test_one_rank_speaks_to_the_user_and_logs_the_rest(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert start.launch(make(out), f"{MODULE}:speak") == 0
    shown, said = capfd.readouterr()
    assert shown == "hello of rank 0 of 1\n"
    assert said == f"rlvr: starting {out}; log: {out}/logs/rank0.log\n"
    log = (out / "logs" / "rank0.log").read_text()
    assert all(noise in log for noise in ("python noise", "python complaint", "child noise", "C noise"))
    assert compose.read(out / "recipe.yaml") == make(out)


def test_two_ranks_read_the_dump_and_share_an_address(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert start.launch(make(out, "trainer.ranks=2", "seed=7"), f"{MODULE}:speak") == 0
    assert capfd.readouterr().out == "hello of rank 0 of 2\n"
    notes = [(out / f"notes{number}").read_text().split() for number in (0, 1)]
    assert notes[0] == notes[1] and notes[0][2] == "7"
    assert "hello of rank 1 of 2" in (out / "logs" / "rank1.log").read_text()


# --- failures -------------------------------------------------------------------------------


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_users_mistake_inside_a_rank_is_one_line(ranks: int, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^data\.train: no such file$"):
        start.launch(make(tmp_path / "run", f"trainer.ranks={ranks}"), f"{MODULE}:wrong")


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_failure_names_cause_and_log(ranks: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    started = time.time()
    assert start.launch(make(out, f"trainer.ranks={ranks}"), f"{MODULE}:broken") == 1
    assert time.time() - started < 50  # the sleeping rank was not waited for
    _, cause, log, restart, *again, end = capfd.readouterr().err.splitlines()
    assert again == [cause, log] and restart == "rlvr: restart 1 of 3 from the beginning"
    assert end == "rlvr: not restarted: the same failure has come twice with no checkpoint in between"
    assert cause.startswith("rlvr: failed: ZeroDivisionError: three lines of message (launch_entries.py:")
    assert cause.endswith("in broken, rank 0)")
    assert log == f"rlvr: log: {out}/logs/rank0.log"
    assert "Traceback" in (out / "logs" / "rank0.log").read_text()


def test_a_killed_rank_is_told_apart(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recipe = make(tmp_path / "run", "trainer.ranks=2", "faults.max_restarts=0")
    assert start.launch(recipe, f"{MODULE}:killed") == 1
    said = capfd.readouterr().err
    assert "rlvr: failed: killed by SIGKILL (out of memory?) (the start, rank " in said
    assert said.endswith("rlvr: not restarted: faults.max_restarts is 0\n")


# --- signals --------------------------------------------------------------------------------


def launcher(out: Path, entry: str, ranks: int) -> subprocess.Popen[bytes]:
    """A launcher in a process of its own, once all ranks have noted their ids."""
    code = (
        "import sys; from rlvr_cli import compose; from rlvr_cli.launch import start;"
        f"r = compose.load('smoke', ['out={out}', 'trainer.ranks={ranks}']);"
        f"sys.exit(start.launch(r, '{MODULE}:{entry}'))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    wait_until(lambda: len(pids(out)) >= ranks * (2 if entry == "stubborn" else 1))
    return process


def pids(out: Path) -> list[int]:
    lines = [line for file in out.glob("notes*") for line in file.read_text().splitlines()]
    return [int(line.split()[1]) for line in lines if line.startswith("pid")]


def wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    end = time.time() + seconds
    while not holds():
        assert time.time() < end, "waited too long"
        time.sleep(0.05)


def gone(number: int) -> bool:
    return not psutil.pid_exists(number) or psutil.Process(number).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_group_reaches_each_rank_once(number: signal.Signals, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = launcher(out, "wait", 2)
    os.killpg(process.pid, number)  # as a terminal does
    assert process.wait(30) == 0
    for file in out.glob("notes*"):
        assert file.read_text().splitlines()[1] == f"signals [{int(number)}]"


def test_a_run_that_was_stopped_ends_with_a_code_of_its_own_once_all_ranks_have(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert start.launch(make(out, "trainer.ranks=2"), f"{MODULE}:stops") == rank.STOPPED
    assert (out / "notes0").read_text() == "saved\n"
    assert not (out / "restarts.jsonl").exists()


def test_a_second_ctrl_c_kills_everything(tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = launcher(out, "stubborn", 2)
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) == 130
    wait_until(lambda: all(gone(number) for number in pids(out)))


def test_ranks_do_not_outlive_a_killed_launcher(tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = launcher(out, "wait", 2)
    process.kill()
    process.wait(30)
    wait_until(lambda: all(gone(number) for number in pids(out)))


# --- the run directory ------------------------------------------------------------------------


def test_the_same_recipe_continues_and_another_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    assert run_directory.prepare(make(out), out) == f"starting {out}"
    (out / "checkpoints" / "step_1").mkdir(parents=True)
    longer = make(out, "trainer.steps=9", "checkpoint.every=3", "tracker.project=other")
    assert run_directory.prepare(longer, out) == f"continuing {out}"
    assert compose.read(out / "recipe.yaml").trainer.steps == 9  # type: ignore[union-attr]
    text = (out / "recipe.yaml").read_text()
    with pytest.raises(UserError) as caught:
        run_directory.prepare(make(out, "trainer.lr=1e-5", "algorithm=rloo"), out)
    assert "trainer.lr (0.0001 -> 1e-05)" in str(caught.value)
    assert "algorithm.name (grpo -> rloo)" in str(caught.value)
    assert "trainer.steps" not in str(caught.value) and "set name= or out=" in str(caught.value)
    assert (out / "recipe.yaml").read_text() == text


def test_a_run_without_checkpoint_is_set_aside(tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "recipe.yaml").write_text("name: old")
    (out / "metrics.jsonl").write_text("{}")
    assert str(out / "attempt_1") in run_directory.prepare(make(out), out)
    assert (out / "attempt_1" / "metrics.jsonl").exists() and not (out / "metrics.jsonl").exists()
    assert "attempt_2" in run_directory.prepare(make(out), out)


def test_a_directory_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match="is not empty and not a run directory"):
        run_directory.prepare(make(tmp_path), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


# --- before anything starts -------------------------------------------------------------------


def test_models_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("model", "runs/done/final"):
        Path(folder).mkdir(parents=True)
        Path(folder, "config.json").touch()
    Path("runs/going").mkdir()
    Path("runs/going/recipe.yaml").touch()
    Path("empty").mkdir()
    assert model_paths.resolve_model("model") == "model"
    assert model_paths.resolve_model("runs/done") == "runs/done/final"
    assert model_paths.resolve_model("builtin:tiny") == "builtin:tiny"
    assert model_paths.resolve_model("Qwen/Qwen2.5-7B") == "Qwen/Qwen2.5-7B"
    for path, says in (
        ("runs/tiny_sft", "runs/tiny_sft does not exist; run `rlvr sft tiny_sft` first"),
        ("runs/going", "has no final/ yet; finish it with `rlvr train runs/going`"),
        ("empty", "has no config.json"),
        ("./nowhere", "./nowhere does not exist; give a Hugging Face folder, a hub id or a run directory"),
        ("./Qwen/Qwen2.5-7B", "does not exist; give a Hugging Face folder, a hub id or a run directory"),
        ("builtin:large", "the built-in models are builtin:tiny and builtin:tiny_moe"),
    ):
        with pytest.raises(UserError, match=says):
            model_paths.resolve_model(path)


def test_vllm_must_be_installed_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    recipe = compose.load("smoke", [])
    assert isinstance(recipe, Recipe)
    prerequisites.check_engine(recipe.rollout)
    other = compose.load("smoke", ["rollout=vllm"])
    assert isinstance(other, Recipe)
    with pytest.raises(
        UserError, match=r"pip install '\.\[gpu\]' in the checkout, or make setup in the checkout for CPUs"
    ):
        prerequisites.check_engine(other.rollout)


def test_ranks_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [
        prerequisites.count_ranks(None, 0),
        prerequisites.count_ranks(3, 0),
        prerequisites.count_ranks(None, 4),
    ] == [
        1,
        3,
        4,
    ]
    with pytest.raises(UserError, match=r"trainer\.ranks=8 but there are 4 GPUs"):
        prerequisites.count_ranks(8, 4)
    monkeypatch.delenv("DS_ACCELERATOR", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    variables = rank_process.library_defaults(2, 0)
    assert variables["DS_ACCELERATOR"] == "cpu" and "OMP_NUM_THREADS" not in variables
    assert "DS_ACCELERATOR" not in rank_process.library_defaults(2, 2)


def test_a_joined_rank_does_not_prepare_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**rank_environment(1, 2, 29500), "RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    out = tmp_path / "run"
    assert start.launch(make(out), f"{MODULE}:speak") == 0
    assert not (out / "recipe.yaml").exists() and (out / "logs" / "rank1.log").exists()
    assert rank.read_report(out, 1) is None


def test_eval_results_go_to_the_run(tmp_path: Path) -> None:
    (tmp_path / "final").mkdir()
    (tmp_path / "final" / "config.json").touch()
    (tmp_path / "recipe.yaml").touch()
    recipe = compose.load_eval(None, ["rollout=hf"], benches=["addition"], model=str(tmp_path))
    resolved, out = start.resolve(recipe)
    assert isinstance(resolved, EvalRecipe) and resolved.model.path == str(tmp_path / "final")
    assert out == tmp_path / "eval" == start.eval_directory(str(tmp_path / "final"))
    assert start.eval_directory("Qwen/Qwen2.5-7B") == Path("runs/eval-Qwen--Qwen2.5-7B")


def test_derived_numbers() -> None:
    numbers = derived.derive(compose.load("dapo_qwen7b", []))
    assert numbers["samples per step"] == "512 prompts x 16 = 8,192"
    assert numbers["sequences per update"] == "512 (16 updates a step)"
    assert numbers["updates"] == "200 steps x 16 = 3,200"
    assert numbers["tokens per step"] == "at most 167,772,160 generated, 184,549,376 trained"
    assert numbers["learning rate"] == "0 to 1e-06 over 10 steps, then constant"
    sft = derived.derive(compose.load("sft_qwen7b", []))
    assert sft["learning rate"] == "0 to 1e-05 over 50 steps, then cosine to 1e-06 at step 730"
