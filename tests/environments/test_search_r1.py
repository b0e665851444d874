"""Search-R1's loop: what ends a turn, what it is answered with, and what ends an episode."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from played import played, task

from rlvr_cli.environments import find
from rlvr_cli.environments.environment import Step, Turn
from rlvr_cli.environments.retrieval import Retrieval
from rlvr_cli.environments.search_r1 import INVALID, SearchR1

ROWS = [
    {"id": "1", "contents": '"Ada Lovelace"\nAda was born in London.'},
    {"id": "2", "contents": '"London"\nLondon is on the Thames.'},
]


@pytest.fixture
def made(tmp_path: Path) -> SearchR1:
    (tmp_path / "c.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    environment = SearchR1(retrieval=Retrieval(corpus=str(tmp_path / "c.jsonl")))
    environment.ready()
    environment.warm()
    return environment


def turn(environment: SearchR1, text: str, last: bool = False) -> Step:
    step = environment.step(Turn(text=text, number=1, last=last, finished=True))
    assert isinstance(step, Step)
    return step


def test_what_the_policy_sees_first(made: SearchR1) -> None:
    [message] = made.reset(task("Where was {question} born?", ["x"]))
    assert message["role"] == "user" and message["content"].endswith("Question: Where was {question} born?\n")
    assert "<search> query </search>" in message["content"]
    assert made.stop == ("</search>", "</answer>")


def test_a_search_is_answered_within_the_turn(made: SearchR1) -> None:
    step = turn(made, "<think>who</think> <search> Ada Thames </search>")
    assert step.text == (
        '\n\n<information>Doc 1(Title: "Ada Lovelace") Ada was born in London.\n'
        'Doc 2(Title: "London") London is on the Thames.</information>\n\n'
    )
    assert not step.over and step.reward is None and not step.messages
    assert step.measures == {"searches": 1.0, "documents": 2.0, "documents_cut": 0.0}
    assert turn(made, "<search>Rome</search>").text == "\n\n<information></information>\n\n"


def test_documents_are_cut_at_the_limit(made: SearchR1) -> None:
    made.information_chars = 60
    step = turn(made, "<search>Ada Thames</search>")
    assert step.text == (
        '\n\n<information>Doc 1(Title: "Ada Lovelace") Ada was born in London.</information>\n\n'
    )
    assert step.measures["documents_cut"] == 1.0
    made.topk = 1
    assert turn(made, "<search>Ada Thames</search>").measures["documents"] == 1.0


def test_the_first_action_counts(made: SearchR1) -> None:
    assert turn(made, "<answer>London</answer>").done
    assert turn(made, "<answer>London</answer> <search>Ada</search>").done
    assert "<information>" in turn(made, "<search>Ada</search> <answer>London</answer>").text
    assert turn(made, "<search>a</answer> b</search>").measures["searches"] == 1.0


@pytest.mark.parametrize("text", ["I think London.", "<search>unclosed", "<answer>unclosed", "", "</search>"])
def test_anything_else_is_told(made: SearchR1, text: str) -> None:
    step = turn(made, text)
    assert step.text == INVALID and step.measures == {"malformed": 1.0} and not step.over
    assert step.text.startswith("\nMy previous action is invalid. ") and step.text.endswith("try again.\n")


def test_two_searches_and_one_more_turn_that_gets_no_documents(made: SearchR1) -> None:
    steps = list(played(made, task("Where?", ["London"]), lambda seen: "<search>Ada</search>"))
    assert [step.over for step in steps] == [False, False, True]
    assert steps[-1].text == "" and steps[-1].measures == {"unanswered": 1.0}
    assert (
        list(played(made, task("Where?", ["London"]), lambda seen: "<answer>x</answer>"))[-1].measures == {}
    )


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, "names no documents"),
        ({"prompt": "ask"}, r"prompt lacks \{question\}"),
        ({"topk": 0}, "topk is 0; it must be at least 1"),
        ({"information_chars": 0}, "information_chars is 0"),
    ],
)
def test_bad_settings_are_refused(keys: dict[str, Any], said: str) -> None:
    retrieval = {"retrieval": Retrieval(corpus="c.jsonl")} if keys else {}
    with pytest.raises(ValueError, match=said):
        SearchR1(**retrieval, **keys)


def test_it_is_found_by_its_name() -> None:
    assert find("search_r1") is SearchR1
