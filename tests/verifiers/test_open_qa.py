"""Answers of open-domain questions: EM, F1, GenAcc."""

from __future__ import annotations

from typing import Any

import pytest
from model_servers import Server, server

from rlvr_cli.core.types import Reason
from rlvr_cli.verifiers import open_qa
from rlvr_cli.verifiers.em import Em
from rlvr_cli.verifiers.extract import Extraction
from rlvr_cli.verifiers.gen_acc import GenAcc

__all__ = ["server"]  # a fixture, which pytest finds by its name


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Eiffel-Tower!", "eiffeltower"),  # a hyphen goes without a space
        ("Eiffel Tower", "eiffel tower"),
        ("an apple a day", "apple day"),
        ("The Who", "who"),
        ("Theodore", "theodore"),
        ("U.S.A.", "usa"),
        ("1,000", "1000"),
        ("  ", ""),
        ("a", ""),
    ],
)
def test_normal_forms(text: str, normal: str) -> None:
    assert open_qa.normalise(text) == normal


def test_composed_and_decomposed_letters_are_the_same() -> None:
    assert open_qa.exact("Beyonce\u0301", "Beyonc\u00e9") and not open_qa.exact("Beyonce", "Beyonc\u00e9")


@pytest.mark.parametrize(
    ("prediction", "gold", "is_span", "f1"),
    [
        ("It is the Eiffel Tower.", "Eiffel Tower", True, 2 / 3),
        ("The Eiffel-Tower!", "Eiffel Tower", False, 0.0),
        ("Eiffel", "Eiffel Tower", False, 2 / 3),
        ("towering Eiffel", "Eiffel Tower", False, 0.5),
        ("New York City", "york", True, 0.5),
        ("Yorkshire", "york", False, 0.0),
        ("anything", "the", False, 0.0),
        ("a b b", "b", True, 2 / 3),
        ("b b", "b b", True, 1.0),
    ],
)
def test_spans_and_words_in_common(prediction: str, gold: str, is_span: bool, f1: float) -> None:
    assert open_qa.span(prediction, gold) is is_span
    assert open_qa.f1(prediction, gold) == pytest.approx(f1)


@pytest.mark.parametrize(
    ("keys", "response", "answer", "score", "reason"),
    [
        ({}, "so <answer> The Beatles! </answer>", "beatles", 1.0, Reason.correct),
        ({}, "<answer>Beatles</answer> no: <answer>Stones</answer>", "beatles", 0.0, Reason.wrong),
        ({}, "the Beatles", "beatles", 0.0, Reason.no_answer),
        ({"extraction": None}, "The Beatles", "beatles", 1.0, Reason.correct),
        ({"f1": True}, "<answer>John Lennon</answer>", "Lennon", 2 / 3, Reason.wrong),
        ({"f1": True}, "<answer>the Lennon</answer>", "Lennon", 1.0, Reason.correct),
    ],
)
def test_exact_match(keys: dict[str, Any], response: str, answer: str, score: float, reason: Reason) -> None:
    verdict = Em(**keys).verify(response, answer, {})
    assert (verdict.score, verdict.reason) == (pytest.approx(score), reason)


@pytest.mark.parametrize("verifier", [Em(), Em(extraction=None), Em(extraction=Extraction.boxed), GenAcc()])
@pytest.mark.parametrize("gold", ["Eiffel Tower", "1969", "J. R. R. Tolkien", "x"])
def test_golds_score_and_changed_golds_do_not(verifier: Any, gold: str) -> None:
    assert verifier.check_gold(gold, {}) is None
    right, wrong = verifier.gold_responses(gold, {}), verifier.mutate(gold, {})
    assert right and all(verifier.verify(each, gold, {}).score == 1.0 for each in right)
    assert len(wrong) > 1 and all(verifier.verify(each, gold, {}).score == 0.0 for each in wrong)


def test_a_gold_of_nothing_but_articles_is_refused() -> None:
    for verifier in (Em(), GenAcc()):
        assert "nothing is left of it" in str(verifier.check_gold("The !", {}))


@pytest.mark.parametrize(
    ("keys", "response", "score", "reason"),
    [
        ({}, "I believe it was the Eiffel Tower, in Paris.", 1.0, Reason.correct),
        ({}, "Paris", 0.0, Reason.wrong),
        ({}, "<think>Eiffel Tower</think> Paris", 0.0, Reason.wrong),
        ({}, "<think>Eiffel Tower", 0.0, Reason.no_answer),
        ({}, " ", 0.0, Reason.no_answer),
        ({"extraction": Extraction.answer_tags}, "Eiffel Tower <answer>Paris</answer>", 0.0, Reason.wrong),
        ({"extraction": Extraction.answer_tags}, "Eiffel Tower", 0.0, Reason.no_answer),
    ],
)
def test_gen_acc_without_a_judge(keys: dict[str, Any], response: str, score: float, reason: Reason) -> None:
    verdict = GenAcc(**keys).verify(response, "Eiffel Tower", {})
    assert (verdict.score, verdict.reason) == (score, reason)


def test_gen_acc_asks_its_judge_only_where_there_is_no_span(server: Server) -> None:
    verifier = GenAcc(judge_url=server.url, judge_model="j", timeout_s=5)
    assert verifier.inline("the Eiffel Tower", "Eiffel Tower", {}).score == 1.0  # type: ignore[union-attr]
    assert verifier.inline("The Eiffel-Tower!", "Eiffel Tower", {}) is None and not server.bodies
    for said, score, reason in (
        ("Yes.", 1.0, Reason.correct),
        ("no", 0.0, Reason.wrong),
        ("perhaps", 0.0, Reason.malformed),
    ):
        server.answers = [(200, said, {})]
        verdict = verifier.verify("The Eiffel-Tower!", "Eiffel Tower", {"prompt": "What is it?"})
        assert (verdict.score, verdict.reason) == (score, reason)
    asked = server.bodies[-1]
    assert asked["max_tokens"] == 10 and asked["temperature"] == 0.0
    assert (
        "What is it?" in asked["messages"][0]["content"]
        and "Eiffel-Tower!" in asked["messages"][0]["content"]
    )


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"judge_url": "http://h/v1"}, "belong together"),
        ({"judge_key_env": "KEY"}, "judge_key_env is set and judge_url is not"),
        ({"judge_url": "h", "judge_model": "m"}, "must begin with http"),
    ],
)
def test_bad_settings_are_refused(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        GenAcc(**keys)
