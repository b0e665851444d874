"""`rlvr why` on staged runs: the right sentence for each sick one, none for the healthy ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from places import ROOT
from staged_runs import HEALTHY, SICK, Like, Staged, stage

from rlvr_cli.commands.main import main
from rlvr_cli.diagnosis import RULES


def why(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    capsys.readouterr()
    assert main(["why", *map(str, words)]) == 0
    return capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("name", SICK)
def test_a_sick_run_gets_the_right_sentence_first(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rule, staged = SICK[name]
    run = stage(tmp_path, name, staged)
    [told] = json.loads(why(capsys, run, "--json"))
    assert told["findings"][0]["rule"] == rule
    text = why(capsys, run)
    assert f"1. {RULES[rule].title}" in text and told["findings"][0]["message"] in text
    samples = told["findings"][0]["samples"]
    assert len(samples) == 3 and all(sample["prompt"] in text for sample in samples)


@pytest.mark.slow
@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_gets_none(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = why(capsys, stage(tmp_path, name, HEALTHY[name]))
    assert "nothing is wrong" in text and "change:" not in text


def test_there_are_twelve_of_each_and_more() -> None:
    assert len(SICK) >= 12 and len(HEALTHY) >= 12


@pytest.fixture(scope="module")
def unread(tmp_path_factory: pytest.TempPathFactory) -> Path:
    staged = Staged(shape=lambda step: Like(right=0.0, unread=0.98), steps=9, prompts=4)
    return stage(tmp_path_factory.mktemp("runs"), "unread", staged)


def test_the_finding_names_the_extraction_quotes_a_response_and_says_what_to_change(
    unread: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    text = why(capsys, unread)
    assert f"{unread}: finished, 9 steps" in text
    assert "verifiers.units.extraction=answer_tags finds no answer in" in text
    assert "change: verifiers.units.extraction, data.sums.prompt" in text
    assert "carry the one, so \\boxed{" in text and "no_answer, read nothing, wanted '" in text
    assert "see: docs/troubleshooting.md#no-answer-is-found" in text


def test_an_installed_package_has_the_page_of_symptoms_too(
    unread: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "troubleshooting.md").touch()
    monkeypatch.setattr("rlvr_cli.commands.why.DOCS", tmp_path)
    monkeypatch.chdir("/")
    assert f"see: {str(tmp_path).lstrip('/')}/troubleshooting.md#no-answer-is-found" in why(capsys, unread)


def test_several_runs_and_json(unread: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    other = stage(tmp_path, "short", HEALTHY["very_short"])
    text = why(capsys, unread, other)
    assert f"{other}: finished, 2 steps" in text and "2 steps are too few for most rules" in text
    found = json.loads(why(capsys, unread, other, "--json"))
    assert [each["run"] for each in found] == [str(unread), str(other)]
    assert found[0]["findings"][0]["change"] == ["verifiers.units.extraction", "data.sums.prompt"]
    assert found[1]["early"] and found[1]["findings"] == [] and found[1]["reward"] is None


def test_a_run_that_failed_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = stage(tmp_path, "failed", HEALTHY["very_short"])
    (run / "final").rmdir()
    row = {"step": 2, "time": 1.0, "kind": "error", "message": "NonFinite: step 3: the loss is nan"}
    with open(run / "events.jsonl", "a") as file:
        file.write(json.dumps(row) + "\n")
    text = why(capsys, run)
    assert "it failed: NonFinite: step 3: the loss is nan" in text and "#nan-or-infinity" in text
    assert json.loads(why(capsys, run, "--json"))[0]["failure"] == row["message"]


def test_what_is_no_run_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "metrics.jsonl").write_text("")
    for name, said in (
        ("nowhere", "does not exist; why takes run directories"),
        ("empty", "is no run directory"),
        ("bare", "has no recipe.yaml"),
    ):
        assert main(["why", str(tmp_path / name)]) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert said in line


def test_a_run_directory_can_be_asked_from_python(unread: Path) -> None:
    from rlvr_cli import open_run

    [finding, *_] = open_run(unread).findings
    assert finding["rule"] == "unreadable" and finding["change"][0] == "verifiers.units.extraction"


def test_broken_records_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = stage(tmp_path, "broken", HEALTHY["very_short"])
    next((run / "rollouts").iterdir()).write_text('{"verdicts": 3}\n')
    rows = (run / "metrics.jsonl").read_text().splitlines()
    dead: Any = json.loads(rows[-1]) | {"reward/unscored_fraction": 1.0, "reward/crash_fraction": 1.0}
    (run / "metrics.jsonl").write_text(json.dumps(dead) + "\n")
    assert main(["why", str(run)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "records cannot be read" in line
