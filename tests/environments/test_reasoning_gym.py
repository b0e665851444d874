"""Puzzles of reasoning-gym in several turns."""

from __future__ import annotations

from typing import Any

import pytest
from played import played, task

from rlvr_cli.core.errors import UserError
from rlvr_cli.environments import find
from rlvr_cli.environments.environment import Environment, Step, Turn
from rlvr_cli.gym import TASKS

ENTRY = {"task": "chain_sum", "options": {}, "answer": "12", "metadata": {}}


@pytest.fixture(scope="module")
def environment() -> Environment:
    made: Environment = find("reasoning_gym")()
    made.warm()
    return made


def steps(made: Environment, entry: dict[str, Any], *texts: str) -> list[Step]:
    said = iter(texts)
    asked = task("q", [str(entry["answer"])], row={"entry": entry, "completion": "<answer>12</answer>"})
    return list(played(made, asked, lambda seen: next(said)))


@pytest.mark.slow
def test_a_wrong_answer_may_be_followed_by_another(environment: Environment) -> None:
    found = steps(environment, ENTRY, "<answer>13</answer>", "12", "<answer>12</answer>")
    assert [step.messages[0]["content"] for step in found[:2]] == [
        "That is not right. Try again.",
        "There is no answer to be found: no <answer>...</answer>. That is not right. Try again.",
    ]
    assert [(step.reward, step.done) for step in found] == [(None, False), (None, False), (1.0, True)]


@pytest.mark.slow
def test_partial_credit_is_told_and_may_be_earned() -> None:
    made = find("reasoning_gym")(strict=False, max_turns=2)
    made.warm()
    wrong = {"task": "spell_backward", "options": {}, "answer": "olleh", "metadata": {"word": "hello"}}
    first, last = steps(made, wrong, "<answer>ollex</answer>", "<answer>ollex</answer>")
    assert first.messages[0]["content"].startswith("That is not right. Try again. (score 0.")
    assert first.reward is None and 0 < (last.reward or 0) < 1
    silent = find("reasoning_gym")(tell_score=False, max_turns=2)
    first, last = steps(silent, wrong, "<answer>ollex</answer>", "<answer>ollex</answer>")
    assert (first.messages[0]["content"], last.reward) == ("That is not right. Try again.", 0.0)


@pytest.mark.slow
def test_a_later_answer_may_earn_less_and_the_script_earns_all() -> None:
    made = find("reasoning_gym")(discount=0.9)
    assert steps(made, ENTRY, "<answer>1</answer>", "<answer>12</answer>")[-1].reward == pytest.approx(0.9)
    asked = task("q", ["12"], row={"entry": ENTRY, "completion": "<answer>12</answer>"})
    made.reset(asked)
    [text] = made.script(asked)
    assert made.step(Turn(text=text, number=1, last=False, finished=True)).reward == 1.0


def test_rows_of_other_sources_are_told_of() -> None:
    assert "chain_sum" in TASKS
    with pytest.raises(UserError, match="row q: its row has no `entry`"):
        find("reasoning_gym")().reset(task("q", ["12"]))
    with pytest.raises(ValueError, match="discount is 2"):
        find("reasoning_gym")(discount=2.0)
