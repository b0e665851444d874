"""Staged sick runs get the right sentence; the controller acts, and goes on as if it had not stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from places import SUPPORT
from run_helpers import comparable, run_script, steps_of

from rlvr_cli import compose
from rlvr_cli.core.errors import UserError

ENTRIES = SUPPORT / "diagnosis_entries.py"
SAID = {
    "rash": ("kl_drift", "times the entropy at the start), while the mean reward went from"),
    "cut": ("truncation", "were cut off at rollout.max_tokens (3)"),
    "impossible": ("cut_off", "are cut off at rollout.max_tokens (12)"),
    "hacked": ("reward_hacking", "of the samples 'seven' accepts, 'once' rejects"),
    "slow": ("slow_phase", "the phase 'rollout' takes"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("staged")
    names = [*SAID, "controlled", "halved", "resumed"]
    done = run_script(ENTRIES, str(folder), *names, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def events(run: Path, kind: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    return [row for row in rows if row["kind"] == kind]


@pytest.mark.slow
@pytest.mark.parametrize("name", SAID)
def test_a_staged_sick_run_gets_the_right_sentence(runs: Path, name: str) -> None:
    rule, text = SAID[name]
    [found] = [e for e in events(runs / name, "diagnosis") if e["rule"] == rule and e["begins"]]
    assert text in found["message"] and found["values"]


@pytest.mark.slow
def test_the_controller_lowers_the_learning_rate_and_writes_it_down(runs: Path) -> None:
    first = events(runs / "controlled", "action")[0]
    rates = {row["step"]: row["actor/lr"] for row in steps_of(runs / "controlled")}
    assert "learning rate times 0.5" in first["message"] and first["action"] == "lower_lr"
    assert rates[first["step"]] == 0.05 and rates[first["step"] + 1] == 0.025


@pytest.mark.slow
def test_a_controlled_run_that_goes_on_is_the_one_that_was_never_stopped(runs: Path) -> None:
    """`halved` ends in the middle of `controlled`, after its first action; `resumed` continues it."""
    whole, resumed = steps_of(runs / "controlled"), steps_of(runs / "halved")
    assert [comparable(row) for row in resumed] == [comparable(row) for row in whole]
    for kind in ("diagnosis", "action"):
        told = [[(e["step"], e["message"]) for e in events(runs / n, kind)] for n in ("controlled", "halved")]
        assert told[0] == told[1]


def refused(tmp_path: Path, *overrides: str) -> str:
    (tmp_path / "recipe.yaml").write_text(
        "defaults: [{algorithm: grpo}, {model: tiny}, {data@data.train: addition}, "
        "{verifier@verifiers.math: math}, _self_]\nname: r\n"
    )
    with pytest.raises(UserError) as caught:
        compose.load(str(tmp_path / "recipe.yaml"), list(overrides), "train")
    return str(caught.value)


ON = "controller.enabled=true"


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides, text",
    [
        ([ON], "controller.actions.entropy_explosion is rollback, but checkpoint.every is null"),
        ([ON, "diagnosis.enabled=false"], "controller.enabled needs diagnosis.enabled"),
        (
            [ON, "checkpoint.every=5", "controller.actions.kl_drift=raise_clip"],
            "controller.actions.kl_drift is raise_clip, but batch.updates_per_step is 1",
        ),
        (
            [ON, "checkpoint.every=5", "controller.actions.kl_drift=reset_reference", "algorithm/kl=none"],
            "controller.actions.kl_drift is reset_reference, but no KL to a reference is measured",
        ),
        (["diagnosis.second_verifier=strict"], "diagnosis.second_verifier: 'strict' is not in verifiers"),
        (["diagnosis.second_verifier=math"], "which data.train is trained on"),
        (["diagnosis.window=1"], "diagnosis.window is 1; it must be at least 2"),
        (["controller.lr_factor=1"], "controller.lr_factor is 1.0; it must be between 0 and 1"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(tmp_path: Path, overrides: list[str], text: str) -> None:
    said = refused(tmp_path, *overrides)
    assert text in said and "\n" not in said
