"""The package from Python: load_recipe, train, evaluate, verify, open_run, and the page on them."""

from __future__ import annotations

import ast
import io
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
from doc_tables import section
from places import ROOT, SUPPORT
from run_helpers import SFT_RECIPE, comparable, steps_of
from warm import warm

import rlvr_cli
from rlvr_cli import Run, RunFailed, UserError, api, compose, evaluate, load_recipe, open_run, train, verify
from rlvr_cli.checkpoints import manifest
from rlvr_cli.commands.main import main
from rlvr_cli.core.rank_process import rank_environment
from rlvr_cli.core.types import Completion, Group, Problem, Reason, Verdict
from rlvr_cli.launch import apart, rank
from rlvr_cli.schema import EvalRecipe, Recipe, SFTRecipe, WandbMode
from rlvr_cli.schema import Tracker as Settings
from rlvr_cli.tracking import RolloutRecords, Tracker
from rlvr_cli.tracking.tables import Results

PAGE = (ROOT / "docs" / "python.md").read_text()
MEASURE = """
defaults: [bench@benches.addition: addition, _self_]
model: {path: builtin:tiny}
benches: {addition: {k: 2}}
"""
NASTY = [
    '"',
    "\\",
    'a\\"b',
    "a\\\\",
    "1",
    "1e-6",
    "null",
    "True",
    "nan",
    "a,b",
    "[x]",
    "{y}",
    " ",
    "",
    "ä\nb",
    "k=v",
]


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The line in which the command refuses these words."""
    assert main(list(words)) == 2
    return capsys.readouterr().err.removeprefix("rlvr: error: ").rstrip("\n")


# Names


@pytest.mark.slow
def test_importing_the_package_loads_nothing_heavy() -> None:
    """Not even when the functions are looked up; a name that is not there is no attribute."""
    code = (
        "import sys, rlvr_cli; bare = len(sys.modules)\n"
        "assert not any(name.startswith('rlvr_cli.') for name in sys.modules)\n"
        "[getattr(rlvr_cli, name) for name in rlvr_cli.__all__]\n"
        "heavy = ('torch', 'hydra', 'pandas', 'matplotlib', 'transformers', 'datasets', 'wandb', 'rich')\n"
        "print([name for name in heavy if name in sys.modules], hasattr(rlvr_cli, 'nothing'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] False\n"


def test_every_name_is_listed_and_there() -> None:
    for name in rlvr_cli.__all__:
        assert name in dir(rlvr_cli) and getattr(rlvr_cli, name) is not None
    assert rlvr_cli.train is api.train and issubclass(rlvr_cli.RunFailed, RuntimeError)
    with pytest.raises(AttributeError, match="module 'rlvr_cli' has no attribute 'trian'"):
        rlvr_cli.trian  # noqa: B018


# Recipes


def test_a_recipe_is_typed_and_overrides_are_texts_or_a_mapping() -> None:
    recipe = load_recipe("smoke", ["algorithm=rloo", "trainer.lr=1e-5", "~eval.benches.addition"])
    assert isinstance(recipe, Recipe)
    assert (recipe.algorithm.name, recipe.trainer.lr, recipe.eval.benches) == ("rloo", 1e-5, {})
    mapping = {"algorithm": "rloo", "trainer.lr": 1e-5, "~eval.benches.addition": None}
    assert load_recipe("smoke", mapping) == recipe
    assert api.override_texts({"~a": 3}) == ["~a"] and api.override_texts("a=1") == ["a=1"]
    assert isinstance(load_recipe(verb="sft"), SFTRecipe)


def test_a_recipe_of_benches_is_an_evaluation(tmp_path: Path) -> None:
    """Also one that only inherits them, and one that is told to be by `verb`."""
    (tmp_path / "measure.yaml").write_text(MEASURE)
    (tmp_path / "heir.yaml").write_text("defaults: [measure, _self_]\nseed: 7\n")
    for file, verb in (("measure", None), ("heir", None), ("heir", "eval")):
        recipe = load_recipe(tmp_path / f"{file}.yaml", "benches.addition.k=3", verb)
        assert isinstance(recipe, EvalRecipe)
        assert (recipe.benches["addition"].k, recipe.seed) == (3, 7 if file == "heir" else 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "overrides", "verb"),
    [
        ("smoke", ["trainer.stepz=1"], "train"),
        ("smok", [], "train"),
        ("smoke", [], "dapo"),
        ("smoke", ["trainer.steps=many"], "train"),
        ("smoke", ["trainer.lr=1,2"], "train"),
    ],
)
def test_mistakes_are_said_as_by_the_command(
    path: str, overrides: list[str], verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError) as caught:
        load_recipe(path, overrides, verb)
    assert " ".join(str(caught.value).split()) == said(capsys, verb, path, *overrides)


class Colour(Enum):
    red = "red"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "x=null"),
        (True, "x=true"),
        (3, "x=3"),
        (1e-6, "x=1e-06"),
        (np.float32(0.5), "x=0.5"),
        (np.int64(4), "x=4"),
        (float("inf"), "x=inf"),
        ("qwen2.5_1.5b", "x=qwen2.5_1.5b"),
        ("1e-6", 'x="1e-6"'),
        ("two words", 'x="two words"'),
        (Path("runs/a"), "x=runs/a"),
        (Path("/models/step=1"), 'x="/models/step=1"'),
        (Colour.red, "x=red"),
        ([1, "a", None], "x=[1,a,null]"),
        ({"a": 1, "b": [True]}, "x={a:1,b:[true]}"),
    ],
)
def test_values_in_the_grammar_of_overrides(value: Any, text: str) -> None:
    assert api.override_texts({"x": value}) == [text]


def test_any_text_arrives_as_it_is() -> None:
    recipe = load_recipe("smoke", {"rollout.stop": NASTY})
    assert isinstance(recipe, Recipe) and recipe.rollout.stop == NASTY


def test_what_is_no_value_is_refused() -> None:
    with pytest.raises(UserError, match=r"^trainer.steps: object is no value of a recipe$"):
        load_recipe("smoke", {"trainer.steps": object()})


# What is refused before anything is started


def test_a_recipe_that_was_changed_is_checked_again() -> None:
    recipe = load_recipe("smoke")
    assert isinstance(recipe, Recipe)
    recipe.rollout.temperature = -1.0
    with pytest.raises(UserError, match=r"rollout.temperature is -1.0; it must be above 0"):
        train(recipe)
    recipe.trainer.steps = "ten"  # type: ignore[assignment]
    with pytest.raises(UserError, match=r"^recipe: Value 'ten' .* could not be converted to Integer"):
        train(recipe)


@pytest.mark.slow
def test_a_typed_recipe_with_overrides_is_the_recipe_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    launched: list[Any] = []
    monkeypatch.setattr(apart, "launch_apart", lambda recipe: launched.append(recipe) or Path("there"))
    run = train(load_recipe("smoke", {"trainer.steps": 3}), {"trainer.lr": 0.5})
    assert run == Run(Path("there"))
    assert launched == [load_recipe("smoke", {"trainer.steps": 3, "trainer.lr": 0.5})]


def test_recipes_in_the_wrong_place() -> None:
    with pytest.raises(UserError, match=r"call evaluate\(recipe=...\)"):
        train(EvalRecipe())  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"this is a training recipe; evaluate its run"):
        evaluate(recipe=load_recipe("smoke"))  # type: ignore[arg-type]


def test_mistakes_in_an_evaluation_are_said_as_by_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError) as caught:
        evaluate("builtin:tiny", ["addition", "gsm9k"])
    assert str(caught.value) == said(capsys, "eval", "--model", "builtin:tiny", "--bench", "addition,gsm9k")
    with pytest.raises(UserError, match="--from takes the samples that are there; -k has no place beside it"):
        evaluate(rescore="runs/x", k=4)


# Verifying


def test_verdicts_of_one_and_of_many() -> None:
    one = verify("so it is \\boxed{1/2}", "0.5")
    assert (one.score, one.reason, one.extracted) == (1.0, Reason.correct, "1/2")
    responses = ["\\boxed{4}", "\\boxed{5}", "four"]
    reasons = [Reason.correct, Reason.wrong, Reason.no_answer]
    assert [v.reason for v in verify(responses, 4)] == reasons
    assert [v.reason for v in verify(iter(responses), ["4", 5, "4"])] == [
        Reason.correct,
        Reason.correct,
        Reason.no_answer,
    ]
    assert verify([], []) == []


def test_settings_of_the_verifier_and_columns_of_the_row() -> None:
    text = "Answer: 7"
    assert verify(text, "7").reason is Reason.no_answer
    assert verify(text, "7", extraction="answer_line").score == 1.0
    # The score falls from 1 to 0 over 4 words: 2 words are 2 short of 4, and 1 short of 3.
    aims = {"target": "words", "maximum": None, "ramp": 4}
    rows = [{"words": 4}, {"words": 3}]
    assert [v.score for v in verify(["one two"] * 2, "-", "length", extra=rows, **aims)] == [0.5, 0.75]
    assert verify("one two", "-", "length", extra=rows[0], **aims).score == 0.5


def test_what_cannot_be_verified() -> None:
    for said_, call in {
        "there is no verifier 'mth'; did you mean 'math'?": lambda: verify("4", "4", "mth"),
        "command line: unknown key 'verifiers.math.extractio'; did you mean 'verifiers.math.extraction'?": (
            lambda: verify("4", "4", extractio="boxed")
        ),
        "answers: 3 for 2 responses; give one for each, or one for all": lambda: verify(["4"] * 2, ["4"] * 3),
        "extra: 1 for 2 responses; give one for each, or one for all": (
            lambda: verify(["4"] * 2, "4", extra=[{}])
        ),
        "responses[1] is int, not text": lambda: verify(["4", 4], "4"),  # type: ignore[list-item]
        "answers[0]: 'answers' is empty; fill it or remove the row": lambda: verify("4", ""),
    }.items():
        with pytest.raises(UserError, match=f"^{re.escape(said_)}$"):
            call()


# Runs


def group(index: int) -> Group:
    """`1+1=`, answered right and wrong."""
    problem = Problem(id="p", prompt="1+1=", tokens=[1], answer="2", source="sums", verifiers=["exact"])
    texts, scores = ["2", "3"], [1.0, 0.0]
    return Group(
        problem=problem,
        index=index,
        completions=[
            Completion(tokens=np.zeros(1, np.int32), logprobs=np.zeros(1, np.float32), text=t, finished=True)
            for t in texts
        ],
        verdicts=[{"exact": Verdict(score=s, reason=Reason.correct if s else Reason.wrong)} for s in scores],
        scores=scores,
        correct=scores,
        first_scores=scores,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of 20 steps that was killed while it wrote; the reward of step n is n/20."""
    out = tmp_path / "run"
    tracker = Tracker(
        Settings(wandb=WandbMode.disabled),
        out,
        terminal=io.StringIO(),
        total_steps=30,
        run_name="r",
        recipe={},
        kind="rl",
    )
    records = RolloutRecords(out / "rollouts", 0)
    tracker.evaluation(0, "sums", {"avg@4": 0.25, "ci95_low": 0.125})
    for step in range(1, 21):
        loss = {3: {"actor/loss": math.nan}, 20: {}}.get(step, {"actor/loss": 0.5})
        tracker.step(step, {"reward/mean": step / 20, "timing_s/step": 2.0} | loss)
    records.write(20, [group(0), group(1)], [[1.0, 0.0]] * 2, None, [True, False], [19, 19])
    tracker.evaluation(20, "sums", {"avg@4": 0.75, "ci95_low": 0.5})
    tracker.event("checkpoint", "saved step 20")
    with open(out / "metrics.jsonl", "a") as file:
        file.write('{"step": 21, "rew')
    return out


def test_metrics_of_a_run_are_a_table_by_step(folder: Path) -> None:
    table = open_run(folder).metrics
    assert table.index.name == "step" and table.index.tolist() == list(range(1, 21))
    assert set(table) == {"time", "reward/mean", "actor/loss", "timing_s/step"}
    assert table["reward/mean"].tolist() == [step / 20 for step in range(1, 21)]
    assert table["actor/loss"].isna().tolist() == [step in (3, 20) for step in range(1, 21)]
    assert set(table.dtypes.astype(str)) == {"float64"}


def test_evaluations_and_events_of_a_run_are_tables(folder: Path) -> None:
    run = open_run(folder)
    assert run.evaluations.drop(columns="time").to_dict("list") == {
        "step": [0, 20],
        "bench": ["sums", "sums"],
        "avg@4": [0.25, 0.75],
        "ci95_low": [0.125, 0.5],
    }
    assert run.events.drop(columns="time").to_dict("records") == [
        {"step": 20, "kind": "checkpoint", "message": "saved step 20"}
    ]


def test_evaluations_without_a_bench_keep_their_names(tmp_path: Path) -> None:
    row = {
        "step": 5,
        "event": "eval",
        "bench": None,
        "time": 1.0,
        "eval/loss": 2.0,
        "eval/token_accuracy": 0.5,
    }
    (tmp_path / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    [found] = open_run(tmp_path).evaluations.to_dict("records")
    assert found == {"step": 5, "bench": None, "time": 1.0, "loss": 2.0, "token_accuracy": 0.5}


def test_rollouts_of_a_run_are_a_table_by_sample(folder: Path) -> None:
    run = open_run(folder)
    table = run.rollouts(20)
    assert table["response"].tolist() == ["2", "3", "2", "3"]
    assert table["reward"].tolist() == [1.0, 0.0, 1.0, 0.0]
    assert table["kept"].tolist() == [True, True, False, False]
    assert table["verdicts"].str["exact"].str["reason"].tolist() == ["correct", "wrong"] * 2
    assert len(run.rollouts()) == 4
    with pytest.raises(UserError, match=r"run: no rollouts of step 3 are recorded; there are 20 to 20$"):
        run.rollouts(3)


def test_a_run_in_one_row(folder: Path) -> None:
    """First and last tenth of 20 steps: (1 + 2) / 2 and (19 + 20) / 2 twentieths."""
    assert open_run(folder).summary == {
        "name": "run",
        "kind": "rl",
        "state": "stopped",
        "steps": 20,
        "seconds": 40.0,
        "first/reward/mean": pytest.approx(0.075),
        "reward/mean": pytest.approx(0.975),
        "first/eval/sums/avg@4": 0.25,
        "eval/sums/avg@4": 0.75,
    }


def test_what_a_run_has_is_read_anew(folder: Path) -> None:
    run, recipe = open_run(str(folder)), load_recipe("smoke", {"out": folder})
    compose.save(recipe, folder / "recipe.yaml")
    assert isinstance(run.recipe, Recipe) and run.recipe == recipe
    assert (run.path, run.state, run.final) == (folder, "stopped", None)
    (folder / "final").mkdir()
    assert (run.state, run.final) == ("finished", folder / "final")
    (folder / "metrics.jsonl").write_text('{"step": 1, "time": 1.0, "reward/mean": 0.5}\n')
    assert run.metrics["reward/mean"].tolist() == [0.5]


def test_a_run_that_has_only_begun_has_empty_tables(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("algorithm: {name: grpo}\n")
    run = open_run(tmp_path)
    assert len(run.metrics) == len(run.evaluations) == len(run.events) == len(run.rollouts()) == 0
    assert list(run.evaluations) == ["step", "bench", "time"]
    assert list(run.events) == ["step", "time", "kind", "message"]
    assert run.summary["steps"] == 0 and run.results.files == {}


def test_what_is_no_run_is_said_in_a_line(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UserError, match=rf"^{tmp_path}/rum is no directory; runs beside it: none$"):
        open_run(tmp_path / "rum")
    (folder / "recipe.yaml").write_text("algorithm: {name: grpo}\n")
    with pytest.raises(UserError, match=rf"^{tmp_path}/rum is no directory; did you mean '{folder}'\?$"):
        open_run(tmp_path / "rum")
    with pytest.raises(UserError, match=r"it has neither recipe.yaml nor metrics.jsonl$"):
        open_run(tmp_path)
    (folder / "metrics.jsonl").write_text("{\n")
    with pytest.raises(UserError, match=r"metrics.jsonl cannot be read: .*; mend or remove it$"):
        open_run(folder).metrics  # noqa: B018


def result(bench: str, score: float) -> dict[str, Any]:
    """A result file of one problem with two samples."""
    problem = {
        "index": 0,
        "id": "a",
        "answer": "2",
        "prompt": "1+1=",
        "correct": [score == 1, False],
        "scores": [score, 0.0],
        "extracted": ["2", None],
        "reasons": ["correct", "no_answer"],
        "details": ["", ""],
        "lengths": [3, 4],
        "truncated": [False, True],
        "responses": ["two", "dunno"],
    }
    parts = {"protocol": {}, "source": {}, "verifier": {}}
    return {"bench": bench, "summary": {"avg@2": score / 2}, "problems": [problem]} | parts


def test_results_as_numbers_and_tables(folder: Path) -> None:
    (folder / "eval").mkdir()
    for bench, score in (("sums", 1.0), ("more", 0.5)):
        (folder / "eval" / f"{bench}.json").write_text(json.dumps(result(bench, score)))
    (folder / "eval" / "results_lm_eval.json").write_text("{}")
    found = open_run(folder).results
    assert found == Results(folder / "eval", {b: result(b, s) for b, s in (("more", 0.5), ("sums", 1.0))})
    assert found.summary == {"more": {"avg@2": 0.25}, "sums": {"avg@2": 0.5}}
    assert found.problems[["bench", "id"]].to_dict("list") == {"bench": ["more", "sums"], "id": ["a", "a"]}
    assert found.samples["extracted"].isna().tolist() == [False, True, False, True]
    assert found.samples.drop(columns="extracted").to_dict("records")[3] == {
        "bench": "sums",
        "id": "a",
        "prompt": "1+1=",
        "answer": "2",
        "sample": 1,
        "response": "dunno",
        "correct": False,
        "score": 0.0,
        "reason": "no_answer",
        "detail": "",
        "tokens": 4,
        "truncated": True,
    }


# Launching


def test_the_cause_of_a_failure_is_the_newest_of_this_start(tmp_path: Path) -> None:
    report = rank.Report(0, 1, "ValueError: old", "a.py:1 in f", 50.0)
    rank.write_report(tmp_path, report)
    assert apart.cause_of(tmp_path, -9, 100.0) == (
        f"the launcher of {tmp_path} ended with code -9; logs: {tmp_path}/logs"
    )
    rank.write_report(tmp_path, rank.Report(0, 1, "ValueError: new", "a.py:2 in f", 150.0))
    assert apart.cause_of(tmp_path, 1, 100.0) == (
        f"ValueError: new (a.py:2 in f, rank 0); log: {tmp_path}/logs/rank0.log"
    )
    rows = [{"time": t, "rank": 1, "cause": f"killed {t}", "where": "rollout"} for t in (60.0, 110.0, 160.0)]
    (tmp_path / "restarts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert apart.cause_of(tmp_path, 1, 100.0) == (
        f"killed 160.0 (rollout, rank 1); log: {tmp_path}/logs/rank1.log"
    )


def test_ranks_that_somebody_else_has_started_are_for_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in rank_environment(1, 2, 29500).items():
        monkeypatch.setenv(name, value)
    for call in (lambda: train("smoke"), lambda: evaluate("builtin:tiny", "addition")):
        with pytest.raises(UserError, match=r"^train and evaluate start ranks themselves; under torchrun or"):
            call()


@pytest.fixture(autouse=True, scope="module")
def launchers() -> Iterator[None]:
    """Launchers are forked from a process that has the libraries; that of SCRIPT is not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(apart, "subprocess", SimpleNamespace(Popen=forked, DEVNULL=subprocess.DEVNULL))
        yield


def forked(words: list[str], *, env: dict[str, str], **_: Any) -> Any:
    """The process of `apart._wait`."""
    assert words[1:4] == ["-P", "-m", "rlvr_cli.launch.apart"]
    if not warm.suits():
        return subprocess.Popen(words, env=env, stdin=subprocess.DEVNULL, start_new_session=True)
    return warm.start("apart", words[4:], **env)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of the smallest recipe, which has left no trace in this process."""
    before = dict(os.environ)
    run = train("smoke", {"out": tmp_path_factory.mktemp("python") / "smoke"})
    assert dict(os.environ) == before
    return run


@pytest.mark.slow
def test_training_gives_the_run(trained: Run) -> None:
    assert trained.state == "finished" and trained.final == trained.path / "final"
    assert len(trained.metrics) == 2 and trained.rollouts(2)["step"].tolist() == [2] * 4
    rows = trained.metrics.to_dict("index")  # what a step does not have is NaN there
    assert [comparable(row) for row in steps_of(trained.path)] == [
        {"step": step} | {name: value for name, value in comparable(row).items() if value == value}
        for step, row in rows.items()
    ]


@pytest.mark.slow
def test_a_run_that_is_trained_again_continues(trained: Run) -> None:
    again = train(trained, {"trainer.steps": 3})
    assert again.path == trained.path and trained.metrics.index.tolist() == [1, 2, 3]
    assert "continuing after step 2" in trained.events["message"].tolist()
    with pytest.raises(UserError, match=r"holds a run with another recipe: trainer.lr \(0.0001 -> 0.5\)"):
        train(trained, {"trainer.lr": 0.5})


@pytest.mark.slow
def test_evaluation_gives_what_its_files_hold_and_leaves_no_trace_here(trained: Run) -> None:
    before = dict(os.environ)
    small = {"rollout": "hf", "benches.addition.source.options.size": 4, "benches.addition.max_tokens": 8}
    results = evaluate(trained, "addition", k=3, overrides=small)
    file = trained.path / "eval" / "addition.json"
    assert (results.path, results.files) == (file.parent, {"addition": json.loads(file.read_text())})
    assert results.summary["addition"]["problems"] == 4.0 and "avg@3" in results.summary["addition"]
    assert len(results.samples) == 12
    anew = evaluate(rescore=trained, verifier="always")
    assert anew.path == trained.path / "eval" / "rescored" and anew.summary["addition"]["avg@3"] == 1.0
    assert anew.samples["response"].tolist() == results.samples["response"].tolist()
    assert dict(os.environ) == before


@pytest.mark.slow
def test_a_mistake_found_by_a_rank_is_a_user_error(tmp_path: Path) -> None:
    """Also in a thread, which cannot take signals."""
    changes = {"out": tmp_path / "run", "data.train.path": "/nope.jsonl"}
    with ThreadPoolExecutor() as threads:
        error = threads.submit(train, "smoke", changes).exception()
    assert isinstance(error, UserError)
    assert str(error).startswith("data.train.path: there is no file /nope.jsonl")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_that_fails_is_an_error_with_its_cause(tmp_path: Path) -> None:
    """A verifier that always says yes leaves nothing to train on, and the run gives up."""
    hopeless = ["algorithm/filter=zero_signal", "verifier@verifiers.math=always", "trainer.steps=9"]
    with pytest.raises(RunFailed) as caught:
        train("smoke", [*hopeless, f"out={tmp_path / 'run'}"])
    assert str(caught.value).startswith("NoSignal: 3 steps in a row had no group with a signal")
    assert str(caught.value).endswith(f"rank 0); log: {tmp_path}/run/logs/rank0.log")


SCRIPT = """
import signal, subprocess, sys
from types import SimpleNamespace
from rlvr_cli import open_run, train
from rlvr_cli.launch import apart
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's jobs in the background have not
if sys.argv[3:]:
    from warm import Warm
    warm = Warm(sys.argv[3])
    forked = lambda words, *, env, **_: warm.start("apart", words[4:], **env)
    apart.subprocess = SimpleNamespace(Popen=forked, DEVNULL=subprocess.DEVNULL)
try:
    train(sys.argv[1])
except KeyboardInterrupt:
    print("caught", open_run(sys.argv[2]).state, "torch" in sys.modules)
"""


def stop(tmp_path: Path, signals: list[int], *address: str) -> tuple[int, str, Path]:
    """Exit code and output of SCRIPT, which is sent these signals in the middle of training.

    `address`: of the process that its launcher is forked from; without, the launcher starts from nothing.
    """
    recipe, out = tmp_path / "long.yaml", tmp_path / "run"
    recipe.write_text(SFT_RECIPE + f"out: {out}\n")
    words = [sys.executable, "-c", SCRIPT, str(recipe), str(out), *address]
    variables = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(SUPPORT)])}
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=variables
    )
    deadline = time.monotonic() + 200
    while not ((out / "metrics.jsonl").exists() and len(steps_of(out)) >= 3):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    for number in signals:
        os.kill(process.pid, number)
        time.sleep(0.01)
    output, _ = process.communicate(timeout=120)
    return process.returncode, output, out


@pytest.mark.slow
def test_an_interrupted_run_is_saved_and_raises(tmp_path: Path) -> None:
    code, output, out = stop(tmp_path, [signal.SIGINT])
    assert code == 0 and output.endswith("caught stopped False\n"), output
    [step] = manifest.steps(out / "checkpoints")
    assert f"stopped after step {step};" in output


@pytest.mark.slow
def test_a_second_interrupt_ends_the_run_and_not_the_caller(tmp_path: Path) -> None:
    code, output, _ = stop(tmp_path, [signal.SIGINT, signal.SIGINT], warm.address())
    assert code == 0 and output.endswith("caught stopped False\n"), output
    assert "stopped after step" not in output


@pytest.mark.slow
def test_a_sigterm_takes_its_course_once_the_run_is_saved(tmp_path: Path) -> None:
    code, output, out = stop(tmp_path, [signal.SIGTERM], warm.address())
    assert code == -signal.SIGTERM and "caught" not in output
    [step] = manifest.steps(out / "checkpoints")
    assert f"stopped after step {step};" in output


@pytest.mark.slow
def test_nothing_of_a_run_outlives_the_caller(tmp_path: Path) -> None:
    """They hold its output open, so that it has no end while one is left."""
    code, _, out = stop(tmp_path, [signal.SIGKILL])
    assert code == -signal.SIGKILL
    left = [each.info["cmdline"] for each in psutil.process_iter(["cmdline"])]
    assert not [words for words in left if words and str(out) in " ".join(words)]


# The page


def execute(text: str, names: dict[str, Any]) -> int:
    """Run a page's blocks; what stands behind `# ->` is what the statement gives. Returns how many did."""
    checked = 0
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        for statement in ast.parse(block).body:
            code = ast.unparse(statement)
            _, _, value = block.splitlines()[(statement.end_lineno or 0) - 1].partition("# -> ")
            if value:
                assert repr(eval(code, names)) == value, code
                checked += 1
            else:
                exec(code, names)
    return checked


@pytest.mark.parametrize(("part", "values"), [("Recipes", 4), ("Verifying", 4)])
def test_the_cheap_parts_of_the_page_run(part: str, values: int) -> None:
    names: dict[str, Any] = {}
    execute(PAGE.partition("| function |")[0], names)
    assert execute(section(PAGE, part), names) == values


@pytest.mark.slow
def test_the_page_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    assert execute(PAGE, names) == 11
    assert names["run"].metrics.index.tolist() == [1, 2, 3, 4, 5]


def test_the_page_lists_what_there_is() -> None:
    """Every property of a run and of results, and every argument of the functions."""
    for kind, heading in ((Run, "Runs"), (Results, "Evaluation")):
        public = [name for name in dir(kind) if not name.startswith("_")]
        fields = list(kind.__dataclass_fields__)
        for name in {*public, *fields}:
            assert re.search(rf"`{name}[`(]", section(PAGE, heading)), name
    for function in (load_recipe, train, evaluate, verify, open_run):
        for name in function.__annotations__.keys() - {"return", "path_or_name", "recipe", "options"}:
            assert re.search(rf"\b{name}\b", PAGE), (function.__name__, name)
