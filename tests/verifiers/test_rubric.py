"""A judge with a rubric: what is read of rows and of the judge, and what it adds up to."""

from __future__ import annotations

from typing import Any

import pytest
from model_servers import Server, server

from rlvr_cli.core.types import Reason
from rlvr_cli.verifiers.answer import Unreachable
from rlvr_cli.verifiers.rubric import Ask, Criterion, Rubric, added_key, answers, criteria, share
from rlvr_cli.verifiers.rubric_growth import grown, marks_of, prompt_for, proposed

__all__ = ["server"]  # a fixture, which pytest finds by its name

ROW = {
    "prompt": "Name a bird.",
    "rubric": [
        {"criterion": "names a bird", "weight": 3},
        {"criterion": "is one word", "weight": 1},
        {"criterion": "is rude", "weight": -2},
    ],
}


def rubric(server: Server, **options: Any) -> Rubric:
    return Rubric(base_url=server.url, model="grader", **{"timeout_s": 5.0, "retries": 0, **options})


def test_the_score_is_the_weighted_share_and_pitfalls_take_off() -> None:
    """Weights 3, 1, -2: what can be earned is 4."""
    wanted = criteria(ROW, "rubric")
    assert [share(wanted, list(did)) for did in ((1, 1, 0), (1, 0, 0), (1, 1, 1), (0, 1, 1), (0, 0, 0))] == [
        1.0,
        0.75,
        0.5,
        0.0,  # 1 - 2 falls below 0
        0.0,
    ]


def test_one_request_asks_about_all_criteria_by_number(server: Server) -> None:
    server.answers = [(200, "It is a bird.\n1: yes\n2. no\n**3**: no", {})]
    verdict = rubric(server).verify("<think>1: no</think>an eagle", "", ROW)
    assert (verdict.score, verdict.reason) == (0.75, Reason.wrong)
    assert (verdict.extracted, verdict.detail) == ("2 of 3 as wanted", "not as wanted: 2")
    [body] = server.bodies
    asked = body["messages"][0]["content"]
    assert "1. names a bird\n2. is one word\n3. is rude" in asked
    assert "<response>\nan eagle\n</response>" in asked and "Name a bird." in asked and "<think>" not in asked


def test_each_asks_about_one_at_a_time(server: Server) -> None:
    server.says = lambda prompt: (200, f"1: {'no' if 'is rude' in prompt else 'yes'}", {})
    verdict = rubric(server, ask=Ask.each).verify("eagle", "", ROW)
    assert (verdict.score, verdict.reason) == (1.0, Reason.correct)
    assert len(server.bodies) == 3 and all("\n2. " not in b["messages"][0]["content"] for b in server.bodies)


def test_the_last_word_on_a_criterion_counts_and_all_must_be_there() -> None:
    assert answers("1: yes\n2: no\n1: no", 2) == [False, False]
    assert answers("1: yes", 2) is None and answers("yes and no", 1) is None
    assert answers("- 1: Yes, it does", 1) == [True]


def test_a_judge_that_leaves_out_criteria_is_malformed(server: Server) -> None:
    server.answers = [(200, "1: yes", {})]
    verdict = rubric(server).verify("eagle", "", ROW)
    assert (verdict.score, verdict.reason) == (0.0, Reason.malformed)


def test_nothing_is_asked_about_an_answer_that_is_not_there(server: Server) -> None:
    for response in ("", "<think>an eagle"):
        assert rubric(server).verify(response, "", ROW).reason is Reason.no_answer
    assert not server.bodies


def test_a_judge_that_is_down_is_waited_for_and_a_refusal_is_the_responses_if_a_short_one_is_not(
    server: Server,
) -> None:
    with pytest.raises(Unreachable, match="the judge at"):
        Rubric(base_url="http://127.0.0.1:9/v1", model="m", retries=0).verify("eagle", "", ROW)
    server.says = lambda prompt: (
        (400, "too long", {}) if "eagle" in prompt else (200, "1: yes\n2: yes\n3: no", {})
    )
    assert rubric(server).verify("eagle " * 50, "", ROW).reason is Reason.refused
    server.says = lambda prompt: (400, "no such setting", {})
    assert rubric(server).verify("eagle", "", ROW).reason is Reason.crash


def test_rubrics_of_other_data_sets_are_read() -> None:
    rows = [{"description": "a", "points": 5, "tags": []}, "b"]
    assert criteria({"r": rows}, "r") == [Criterion("a", 5.0), Criterion("b", 1.0)]


@pytest.mark.parametrize(
    "row, message",
    [
        ({}, "no column 'rubric' with a rubric"),
        ({"rubric": []}, "is empty or no list"),
        ({"rubric": "be nice"}, "is empty or no list"),
        ({"rubric": [{"weight": 1}]}, "criterion without text"),
        ({"rubric": [{"criterion": "a", "weight": 0}]}, "has the weight 0"),
        ({"rubric": [{"criterion": "a", "weight": "high"}]}, "has the weight 'high'"),
        ({"rubric": [{"criterion": "a", "weight": -1}]}, "no weight above 0"),
    ],
)
def test_a_row_without_a_usable_rubric_is_told_before_anything_is_judged(
    row: dict[str, Any], message: str
) -> None:
    said = Rubric(base_url="http://x", model="m").check_gold("", row)
    assert said is not None and message in said


def test_what_a_judge_proposes_is_read_line_by_line() -> None:
    """Bullets, bold and signs; not what is known, too heavy, without weight, too long; at most so many."""
    known = [Criterion("names a bird", 3.0)]
    said = "The first is better.\n- 3: Names its **source**.\n**-2**: is rude\n> 5: Names a  bird.\n"
    said += f"0: weighs nothing\n11: too much\n4: {'x' * 301}\n- -1: shouts\n3: names its source"
    source, rude, shouts = ("Names its **source**.", 3.0), ("is rude", -2.0), ("shouts", -1.0)
    found = proposed(said, known, 5)
    assert found == [
        Criterion(*source),
        Criterion(*rude),
        Criterion(*shouts),
        Criterion("names its source", 3),
    ]
    assert proposed(said, known, 2) == [Criterion(*source), Criterion(*rude)]
    assert proposed("Nothing is missing.\nnone", known, 5) == [] == proposed("**None.**", known, 5)
    assert proposed("3: names a bird", known, 5) == []
    for useless in ("", "I like A: it is none of the usual", "0: nothing", "A: 3", "criterion 3: x"):
        assert proposed(useless, known, 5) is None, useless


def test_criteria_on_which_all_agree_are_retired_and_few_stay() -> None:
    """Two own; of three added ones the first is fulfilled by all, the second by half, the third by a
    quarter."""
    a, b, c, new = (Criterion(text, 1.0) for text in "abcn")
    marks = ["00100", "01110", "10111", "11100"]
    assert grown(2, [a, b, c], [], marks, 5) == [b, c]
    assert grown(2, [a, c, b], [new], ["00100", "01101", "10111", "11100"], 2) == [new, b]
    assert grown(2, [a, b, c], [new], ["00", "01"], 5) == [new, a, b, c], "of an earlier rubric: no evidence"
    assert grown(2, [], [new], marks, 5) == [new] and grown(2, [a], [], ["001"] * 4, 5) == []


def test_added_criteria_count_and_are_told(server: Server) -> None:
    row = ROW | {added_key("rubric"): [["sings", 4.0]]}
    server.answers = [(200, "1: yes\n2: yes\n3: no\n4: no", {})]
    verdict = rubric(server, evolve_every=1).verify("eagle", "", row)
    assert (verdict.score, verdict.detail) == (0.5, "not as wanted: 4")
    assert (verdict.more["criteria"], marks_of(verdict.more)) == (4.0, "1100")
    assert "fulfilled" not in rubric(server).verify("eagle", "", row).more
    asked = prompt_for(rubric(server), row, "<think>x</think>eagle", "{criteria}")
    assert "3: names a bird\n1: is one word\n-2: is rude\n4: sings" in asked and "at most 5" in asked
    assert "<response_A>\neagle\n</response_A>\n<response_B>\n{criteria}\n" in asked


def test_impossible_options() -> None:
    for settings, message in (
        ({"evolve_every": 0}, "evolve_every is 0"),
        ({"evolve_template": "{better} {worse}"}, "evolve_template lacks {criteria}"),
        ({"template": "{response}"}, "lacks {criteria}"),
        ({"base_url": "x"}, "base_url is"),
    ):
        with pytest.raises(ValueError, match=message):
            Rubric(**{"base_url": "http://x", "model": "m", **settings})
