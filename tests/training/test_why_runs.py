"""Real sick runs end with the reason, and `rlvr why` tells it from their files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from places import SUPPORT
from run_helpers import run_script

from rlvr_cli.commands.main import main

pytestmark = pytest.mark.slow

FOUND = {
    "unread": ("unreadable", "verifiers.sums.extraction=answer_tags finds no answer in 100%"),
    "rash": ("signal_lost", "the KL to the reference went from"),
    "dead": ("no_verdicts", "100.0% of the samples in step 1 have no verdict"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("why")
    done = run_script(SUPPORT / "why_entries.py", str(folder), timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def events(run: Path, kind: str) -> list[str]:
    rows = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    return [row["message"] for row in rows if row["kind"] == kind]


@pytest.mark.long
@pytest.mark.parametrize("name", FOUND)
def test_why_names_the_cause_of_a_real_run(name: str, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rule, said = FOUND[name]
    assert main(["why", str(runs / name), "--json"]) == 0
    [told] = json.loads(capsys.readouterr().out)
    first = told["findings"][0]
    assert first["rule"] == rule and said in first["message"] and len(first["samples"]) == 3
    last = events(runs / name, "why")
    assert any(line.startswith(f"{first['title']} (") for line in last)
    assert last[-1] == f"rlvr why {runs / name} tells more"


def test_a_dead_judge_is_named_in_its_own_words(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["why", str(runs / "dead")]) == 0
    text = capsys.readouterr().out
    assert "the commonest cause: crash:" in text and "onnection refused" in text


def test_the_first_look_has_warned_before_the_first_step(runs: Path) -> None:
    """Data, verifier and model are new, and the runs are short: said, not refused."""
    [said] = [line for line in events(runs / "unread", "warning") if line.startswith("preflight: ")]
    assert "verifiers.sums.extraction=answer_tags finds no answer in 100%" in said
    assert said.endswith("; the run goes on, as it is short")
    report = json.loads((runs / "unread" / "preflight.json").read_text())
    assert report["passed"] is False and report["prompts"] == 128
    assert json.loads((runs / "rash" / "preflight.json").read_text())["passed"] is True
