"""Task sets of the package verifiers: both forms, in interpreters of their own, over an engine that is told
what to say.

The package itself is not installed with rlvr: its entry points are copied in tests/support/task_sets/fake.
Where RLVR_VERIFIERS names interpreters that have it (`first_sums=/a/python:later_sums=/b/python`) the same
tests run with those.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_tokenizers import chat_tokenizer, encode, stop_ids
from scripted_engine import SAMPLING, ScriptedEngine, problem, request

from rlvr_cli import schema
from rlvr_cli.core.episode import Ended, Episode
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Reason
from rlvr_cli.data.sources import rows
from rlvr_cli.environments.gateway.score import Score
from rlvr_cli.environments.tool_calls import Syntax
from rlvr_cli.environments.verifiers_environment import VerifiersEnvironment
from rlvr_cli.environments.workers import Workers
from rlvr_cli.episodes.driver import Episodes
from rlvr_cli.rollout.engine import Request

SETS = Path(__file__).parents[1] / "support" / "task_sets"
FORMS = ("first_sums", "later_sums")
REAL = dict(each.split("=") for each in os.environ.get("RLVR_VERIFIERS", "").split(":") if each)
LATE_S, GRACE_S = 3.0, 0.5
pytestmark = pytest.mark.slow


def interpreter(folder: Path, form: str) -> str:
    """A `python` that finds the task set, and the package."""
    script = folder / f"python-{form}"
    found, path = REAL.get(form), str(SETS)
    if found is None:
        found, path = sys.executable, f"{SETS}:{SETS / 'fake'}"
    bin_ = Path(found).parent
    script.write_text(f'#!/bin/sh\nPATH={bin_}:$PATH PYTHONPATH={path} exec {found} "$@"\n')
    script.chmod(0o755)
    return str(script)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workers, dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("pythons")
    environments: dict[str, Any] = {
        form: VerifiersEnvironment(package=form, python=interpreter(folder, form), syntax=Syntax.hermes)
        for form in FORMS
    }
    common: dict[str, Any] = {"package": "first-sums", "python": interpreter(folder, "first_sums")}
    environments["judged"] = VerifiersEnvironment(**common, syntax=Syntax.hermes, score=Score.verifier)
    environments["faulty"] = VerifiersEnvironment(
        **common,
        syntax=Syntax.hermes,
        args={"tasks": 1, "faults": ["hangs", "blocks", "exits"]},
        step_s=LATE_S,
        grace_s=GRACE_S,
    )
    workers = Workers(environments, folder)
    yield workers, environments
    workers.end()


def played(made: tuple[Workers, dict[str, Any]], name: str, said: dict[int, str]) -> list[Episode]:
    """Tasks by their number -> what the policy says to each."""
    workers, environments = made
    tokenizer = chat_tokenizer("qwen2.5")

    def say(asked: Request) -> tuple[list[int], bool]:
        sums = re.search(r"<\|im_start\|>user\n(\d)\+\1<", tokenizer.decode(asked.tokens))
        assert sums is not None  # the task set's own prompt
        return [*encode("qwen2.5", said[int(sums[1])]), stop_ids("qwen2.5")[0]], True

    engine = ScriptedEngine(tokenizer, stop_ids("qwen2.5"), say)
    driver = Episodes(
        engine,
        environments,
        workers=workers,
        tools={each: [] for each in environments},
        tokenizer=tokenizer,
        eos=engine.eos,
        most_prompt=600,
    )
    asked = [
        request(key, problem(key, tokens=[1], environment=name, index=index))
        for key, index in enumerate(said)
    ]
    found = dict(driver.generate(asked, SAMPLING))
    return [found[key][0].episode for key in range(len(said))]  # type: ignore[misc]


def soon_right(made: tuple[Workers, dict[str, Any]]) -> bool:
    """Whether a task is played again; loading takes longer than these episodes may."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        [found] = played(made, "faulty", {0: "0"})
        if found.failure is None:
            return found.reward == 1.0
    return False


@pytest.mark.parametrize("form", FORMS)
def test_its_tasks_are_played_and_its_rubric_scores(made: tuple[Workers, dict[str, Any]], form: str) -> None:
    wrong, right, also = played(made, form, {0: "1", 1: "2", 2: "4"})
    assert [each.reward for each in (wrong, right, also)] == [0.0, 1.0, 1.0]
    assert {each.ended for each in (wrong, right, also)} == {Ended.done}
    assert right.measures["right"] == 1.0 and right.violations == 0


def test_a_verifier_may_judge_in_its_place(made: tuple[Workers, dict[str, Any]]) -> None:
    [found] = played(made, "judged", {1: "7"})
    assert (found.reward, found.ended, found.failure) == (None, Ended.done, None)


def test_a_task_that_does_not_exist_is_told(made: tuple[Workers, dict[str, Any]]) -> None:
    [found] = played(made, "first_sums", {3: "7"})
    assert found.failure is not None and found.failure.reason is Reason.crash
    assert "index=3, and first_sums has tasks 0 to 2: take its problems from verifiers:" in str(
        found.failure.detail
    )


@pytest.mark.parametrize(
    ("index", "reason", "detail"),
    [
        (1, Reason.timeout, f"within {LATE_S:g} s"),  # an await that never ends: it alone is cancelled
        (3, Reason.crash, "the process of first-sums has ended"),
    ],
)
def test_what_hangs_or_exits_has_its_own_verdict_and_the_next_is_played(
    made: tuple[Workers, dict[str, Any]], index: int, reason: Reason, detail: str
) -> None:
    [found] = played(made, "faulty", {index: "2"})
    assert found.failure is not None
    assert found.failure.reason is reason
    assert detail in str(found.failure.detail)
    assert soon_right(made)


def test_a_process_that_is_stuck_is_ended_and_started_again(made: tuple[Workers, dict[str, Any]]) -> None:
    """Its loop stands, so that it cannot even be told."""
    [found] = played(made, "faulty", {2: "4"})
    assert found.failure is not None and found.failure.reason is Reason.timeout
    assert soon_right(made)


@pytest.mark.parametrize("form", FORMS)
def test_its_tasks_are_problems(tmp_path: Path, form: str) -> None:
    options = {"python": interpreter(tmp_path, form), "args": {"tasks": 2}}
    found = rows(schema.Source(path=f"verifiers:{form}", options=options), seed=0)
    assert [(row["id"], row["answer"], row["extra"]["index"]) for row in found] == [
        (f"{form}-0", "0", 0),
        (f"{form}-1", "2", 1),
    ]
    assert found[1]["prompt"] == [{"role": "user", "content": "1+1"}]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"package": "first_sums", "python": "no/such/python"}, "there is no interpreter no/such/python"),
        ({"package": "first_sums", "python": sys.executable}, "has no package verifiers"),
        ({"package": "nowhere"}, "has no module nowhere: install the task set there"),
        ({"package": "first_sums", "args": {"wrong": 1}}, "unexpected keyword argument 'wrong'"),
        ({"package": "later_sums", "split": "eval"}, "task sets of this form have no splits"),
        ({"package": "first_sums", "start_s": 0.01}, "has not loaded within 0.01 s; raise start_s"),
    ],
)
def test_what_cannot_be_had_is_one_line_before_the_run(
    tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    form = str(settings["package"]) if settings["package"] in FORMS else "first_sums"
    own = VerifiersEnvironment(**({"python": interpreter(tmp_path, form)} | settings))
    with pytest.raises(UserError) as found:
        own.ready()
    assert said in str(found.value) and "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "package is not set"),
        ({"package": "../x"}, "must be a task set's name"),
        ({"package": "a", "split": "test"}, "split is 'test'"),
        ({"package": "a", "score": Score.file}, "score is file; it must be returned or verifier"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        VerifiersEnvironment(**settings)
