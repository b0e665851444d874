"""Whole runs: killed, ended by a budget and by Ctrl-C; the tiny engine; the report; an evaluation."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_pages import shown as on_page
from run_helpers import rlvr
from scripted_model import HERE, scripted, served, shown
from vllm_server import served as served_by_vllm

from rlvr_cli import compose
from rlvr_cli.commands.main import main
from rlvr_cli.core.result_files import differences, read_result
from rlvr_cli.data.experiences import read_library
from rlvr_cli.engine.tiny import make_tiny
from rlvr_cli.evaluation.evaluate import evaluate
from rlvr_cli.schema import ExperienceRecipe, TinyModel

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_environment")]
SMALL = (
    "batch.problems=6",
    "batch.prompts_per_step=6",
    "data.train.options={size: 64}",
    "tracker.console=plain",
)


@pytest.fixture
def server() -> Iterator[Any]:
    with served() as made:
        yield made


def words(server: Any, out: Path, *more: str) -> list[str]:
    return ["experience", str(HERE / "recipe.yaml"), f"server.url={server.url}", f"out={out}", *SMALL, *more]


def calls_of(server: Any) -> list[str]:
    return [json.dumps(body, sort_keys=True) for body in server.asked]


def begun(server: Any, calls: int, given: list[str]) -> subprocess.Popen[str]:
    """The command, once it has asked so often."""
    process = subprocess.Popen(
        [sys.executable, "-m", "rlvr_cli", *given], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    end = time.monotonic() + 120
    while len(server.asked) < calls:
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.01)
    return process


def test_killed_stopped_and_out_of_budget_it_goes_on(server: Any, tmp_path: Path) -> None:
    def slowly(body: dict[str, Any]) -> str:
        time.sleep(0.02)
        return str(scripted.said(body))

    server.says = slowly
    given = words(server, tmp_path / "run", "server.connections=2", "algorithm.steps=1")
    killed = begun(server, 8, given)
    killed.kill()
    killed.communicate()
    before = len(server.asked)
    stopped = begun(server, before + 6, given)
    stopped.send_signal(signal.SIGINT)
    out, _ = stopped.communicate(timeout=60)
    assert stopped.returncode == 75, out
    assert "stopped; " in out and "start the same command again to go on" in out
    kept = (tmp_path / "run" / "calls.jsonl").read_text().count('"text"')
    assert f"{kept} calls" in out and len(server.asked) - kept <= 2  # of the kill, what was under way
    short = rlvr(*given, f"algorithm.call_budget={kept + 3}")
    assert short.returncode == 75, short.stderr
    assert f"algorithm.call_budget={kept + 3} is used up" in short.stdout
    assert "raise it and start the same command again: no call is repeated" in short.stdout
    asked = len(server.asked)
    assert asked == before + (kept - before) + 3 or asked - kept - 3 <= 2
    last = rlvr(*given)
    assert last.returncode == 0, last.stderr
    assert len(calls_of(server)) - len({*calls_of(server)}) <= 2
    assert [each.text for each in read_library(tmp_path / "run").experiences.values()] == [scripted.LESSON]


def test_the_history_is_in_the_report_and_the_library_helps_an_evaluation(
    server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    recipe = compose.load(str(HERE / "recipe.yaml"), words(server, run)[2:], "experience")
    assert isinstance(recipe, ExperienceRecipe)
    run.mkdir()
    compose.save(recipe, run / "recipe.yaml")
    ended, said = shown(recipe)
    assert ended and "experience" in said and "rlvr eval --experiences" in said
    # Once more: nothing is asked and nothing recorded twice.
    asked, rows = len(server.asked), (run / "metrics.jsonl").read_bytes()
    assert shown(recipe)[0] and len(server.asked) == asked
    assert (run / "metrics.jsonl").read_bytes() == rows
    assert main(["report", str(run)]) == 0
    out = capsys.readouterr().out
    assert "experience, finished" in out and "step 1: " in out and f"G0  {scripted.LESSON}" in out
    assert "of 6 problems compared" in out and "(from train:" in out
    page = json.dumps(on_page(run / "report.html"))
    assert "Experiences" in page and scripted.LESSON in page and "compared" in page
    found = {}
    for name, library in (("without", []), ("with", ["experiences", str(run)])):
        given = compose.load_eval(
            None,
            [
                "server.api=chat",
                "benches.addition.source.chat=auto",
                "benches.addition.source.options.size=40",
            ],
            benches=["addition"],
            model="scripted",
            k=4,
            experiences=library[1] if library else None,
            settings={"server": {"url": server.url}},
        )
        given.out = str(tmp_path / name)
        evaluate(given, io.StringIO())
        found[name] = read_result(tmp_path / name / "addition.json")
    scores = {name: each["summary"]["avg@4"] for name, each in found.items()}
    assert scores["without"] < 0.35 and scores["with"] > 0.8
    read = read_library(run)
    assert found["with"]["experiences"] == {"sha256": read.sha256, "experiences": [scripted.LESSON]}
    assert "experiences" not in found["without"]
    assert differences(*found.values()) == [f"experiences (none, sha256 {read.sha256[:8]})"]


def test_all_stages_on_an_engine_of_this_process(tmp_path: Path) -> None:
    """A random model: verdicts by chance keep groups, and its edits cannot be read."""
    given = [
        f"out={tmp_path / 'run'}",
        "data.train.options={size: 64}",
        "batch.prompts_per_step=2",
        "batch.problems=2",
        "editor.max_tokens=8",
        "rollout.max_tokens=8",
        "algorithm.steps=1",
    ]
    recipe = compose.load("tiny_experience", given, "experience")
    assert isinstance(recipe, ExperienceRecipe)
    ended, said = shown(recipe)
    [entry] = read_library(tmp_path / "run").history
    assert ended and entry["rollouts"] == 8 and entry["kept"] and entry["operations"] == []
    assert entry["given_up"] == {"critique": len(entry["kept"])}
    rows = [json.loads(line) for line in (tmp_path / "run" / "calls.jsonl").read_text().splitlines()]
    names = [row["call"] for row in rows if "text" in row]
    assert sum("/critique/" in name for name in names) == 3 * len(entry["kept"])
    assert all(row["prompt_tokens"] > 0 for row in rows if "text" in row)
    again, said = shown(recipe)
    assert again and f"{len(names)} calls" in said
    assert (tmp_path / "run" / "calls.jsonl").read_text().count("\n") == len(rows)


@pytest.mark.long
def test_all_stages_on_vllms_own_server(tmp_path: Path) -> None:
    """A random model behind HTTP; the same command again pays for nothing."""
    model = tmp_path / "model"
    make_tiny(model, TinyModel(hidden_size=64, layers=2, heads=2, kv_heads=1, max_positions=4096), seed=0)
    with served_by_vllm(model, tmp_path / "server.log", length=4096) as (url, _):
        given = [f"out={tmp_path / 'run'}", f"model.path={model}", f"server.url={url}"]
        given += ["data.train.options={size: 64}", "batch.prompts_per_step=2", "batch.problems=2"]
        given += ["editor.max_tokens=8", "rollout.max_tokens=8", "algorithm.steps=1"]
        # On CPUs vLLM 0.32 ends where it cuts the prompt of a request with a seed: several do not fit a step.
        given += ["server.connections=1"]
        done = rlvr("experience", "tiny_experience", *given)
        assert done.returncode == 0, done.stdout + done.stderr
        [entry] = read_library(tmp_path / "run").history
        assert entry["rollouts"] == 8 and entry["operations"] == []
        assert not entry["kept"] or entry["given_up"] == {"critique": len(entry["kept"])}
        calls = (tmp_path / "run" / "calls.jsonl").read_bytes()
        rows = [json.loads(line) for line in calls.splitlines()]
        assert sum("/rollout/" in row["call"] for row in rows if "text" in row) == 8
        again = rlvr("experience", "tiny_experience", *given)
        assert again.returncode == 0 and (tmp_path / "run" / "calls.jsonl").read_bytes() == calls


def test_prompts_are_copied_to_be_changed(tmp_path: Path) -> None:
    assert main(["experience", "--copy-prompts", str(tmp_path / "mine")]) == 0
    assert len(list((tmp_path / "mine").glob("*.txt"))) == 8
    assert main(["experience", "--copy-prompts", str(tmp_path / "mine")]) == 2
    (tmp_path / "file").write_text("")
    assert main(["experience", "--copy-prompts", str(tmp_path / "file")]) == 2
