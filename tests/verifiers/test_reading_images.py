"""Counts, text read off images, charts, questions about images: worked numbers, harnesses beside them."""

from __future__ import annotations

from time import process_time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr_cli.core.types import Reason
from rlvr_cli.verifiers.boxes.reader import Form
from rlvr_cli.verifiers.choice import Choice, Place
from rlvr_cli.verifiers.counting import Counting
from rlvr_cli.verifiers.edit_distance import distance
from rlvr_cli.verifiers.ocr import Measure, Ocr
from rlvr_cli.verifiers.relaxed_accuracy import RelaxedAccuracy
from rlvr_cli.verifiers.vqa import Vqa, accuracy


def table(a: str, b: str) -> int:
    """Levenshtein's distance by its table."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


@settings(max_examples=80, deadline=None)
@given(st.text("abc", max_size=12), st.text("abcd", max_size=12))
def test_edit_distance_is_that_of_the_table(a: str, b: str) -> None:
    assert distance(a, b) == distance(b, a) == table(a, b)


def test_worked_anls() -> None:
    ours, harness = Ocr(), Ocr(harness=True)
    for gold, answer, edits, wanted in (
        ("7 march 2018", "7 march 2018", 0, 1.0),
        ("7 march 2018", "7 march 2019", 1, 0.9167),
        ("university of california", "univ of california", 6, 0.75),
        ("$5,000", "5000", 2, 0.6667),
        ("yes", "no", 3, 0.0),
        ("abc", "ac", 1, 0.6667),
        ("itc limited", "itc", 8, 0.0),
        ("itc", "ITC", 3, 1.0),
    ):
        assert distance(gold, answer) == edits
        assert round(ours.score(answer, gold), 4) == round(harness.score(answer, gold), 4) == wanted
    assert (ours.score("ac", "ab"), harness.score("ac", "ab")) == (0.0, 0.5)  # exactly half is wrong
    padded = "dog" + 7 * " "
    assert (ours.score(padded, "cat"), round(harness.score(padded, "cat"), 4)) == (0.0, 0.7)
    assert Ocr(measure=Measure.similarity).score("itc", "itc limited") == pytest.approx(3 / 11)
    assert (Ocr(measure=Measure.exact).score("A b", "a  B"), Ocr(case=True).score("A", "a")) == (1.0, 0.0)
    started = process_time()
    assert ours.verify(f"<answer>{'ab' * 2000}</answer>", "ba" * 2000, {}).score > 0.99
    assert ours.verify(f"<answer>{'ab' * 3000}</answer>", "ba", {}).reason is Reason.refused
    assert process_time() - started < 2


def test_worked_relaxed_accuracy() -> None:
    ours, years = RelaxedAccuracy(), RelaxedAccuracy(exact_years=True)
    published = RelaxedAccuracy(published=True)
    right = [("105", "100"), ("95", "100"), ("0", "0"), ("12%", "0.12"), ("0.12", "12%"), ("2019", "2009")]
    right += [("1920", "2020"), ("Yes", "yes")]
    wrong = [
        ("105.1", "100"),
        ("94.9", "100"),
        ("0.001", "0"),
        ("12%", "12"),
        ("-5", "5"),
        ("nan", "5"),
        ("inf", "5"),
    ]
    for answer, gold in right:
        assert ours.agrees(answer, gold) and published.agrees(answer, gold), (answer, gold)
        assert years.agrees(answer, gold) == (answer not in ("2019", "1920"))
    for answer, gold in wrong:
        assert not (ours.agrees(answer, gold) or published.agrees(answer, gold)), (answer, gold)
    for answer, gold in (("0.0", "0"), ("1,000", "1000"), ("yes.", "yes"), ("$5", "5")):  # on purpose
        assert ours.agrees(answer, gold) and not published.agrees(answer, gold), (answer, gold)


def test_vqa_accuracy() -> None:
    for agree, wanted in enumerate((0, 0.3, 0.6, 0.9, 1, 1)):
        people = ["x"] * agree + [f"o{n}" for n in range(10 - agree)]
        assert accuracy("X.", people) == pytest.approx(wanted)
    row = {"answers": [{"answer": "Two dogs"}, {"answer": "the 2 dogs!"}, {"answer": "cat"}]}
    assert Vqa().verify("<answer>2 dogs</answer>", "", row).score == pytest.approx(4 / 9)
    assert Vqa().verify("<answer>2 dogs</answer>", "", {}).reason is Reason.crash
    assert "no column 'answers'" in str(Vqa().check_gold("", {"answers": "two"}))
    with pytest.raises(ValueError, match=r"correct_from is 7; it must be above 0 and at most 1"):
        Vqa(correct_from=7)


@pytest.mark.parametrize(
    ("answer", "gold", "score", "reason"),
    [
        ("3", "3", 1, Reason.correct),
        ("There are three (3) cats.", "3", 1, Reason.correct),
        ("Twelve", "12", 1, Reason.correct),
        ("1,200", "1200", 1, Reason.correct),
        ("3.0", "three", 1, Reason.correct),
        ("12", "2", 0, Reason.wrong),  # a substring is no count
        ("-3", "3", 0, Reason.wrong),
        ("3 or 4", "3", 0, Reason.refused),
        ("3.5", "3", 0, Reason.malformed),
        ("many", "3", 0, Reason.no_answer),
        ("someone", "1", 0, Reason.no_answer),
    ],
)
def test_counting(answer: str, gold: str, score: float, reason: Reason) -> None:
    found = Counting().verify(f"<answer>{answer}</answer>", gold, {})
    assert (found.score, found.reason) == (score, reason), found


def test_counting_by_points() -> None:
    counts = Counting(points=Form.molmo)
    two = '<answer><points x1="1" y1="2" x2="3" y2="4" alt="a">a</points></answer>'
    assert (counts.verify(two, "2", {}).score, counts.verify(two, "3", {}).score) == (1, 0)


@pytest.mark.parametrize(
    ("answer", "gold", "row", "reason"),
    [
        ("(b)", "B", {}, Reason.correct),
        ("B", "(b)", {}, Reason.correct),
        ("B.", "B", {}, Reason.correct),
        ("B) Paris", "B", {"options": ["Rome", "Paris"]}, Reason.correct),
        ("paris", "B", {"options": ["Rome", "Paris"]}, Reason.correct),
        ("Paris", "Paris", {"options": ["Rome", "Paris"]}, Reason.correct),
        ("B) Rome", "B", {"options": ["Rome", "Paris"]}, Reason.refused),
        ("A or B", "B", {}, Reason.no_answer),
        ("A dog is there, so B", "B", {}, Reason.no_answer),
        ("A", "B", {}, Reason.wrong),
    ],
)
def test_a_letter_is_the_whole_answer(answer: str, gold: str, row: dict[str, Any], reason: Reason) -> None:
    found = Choice(extraction=Place.answer_tags).verify(
        f"<think>C</think><answer>{answer}</answer>", gold, row
    )
    assert found.reason is reason, found


def test_self_tests_hold() -> None:
    people = {"answers": ["two dogs"] * 9 + ["cat"]}
    for verifier, gold in (
        (Ocr(), "7 march 2018"),
        (Ocr(measure=Measure.exact), "Straße"),
        (RelaxedAccuracy(), "1,000"),
        (RelaxedAccuracy(), "Yes"),
        (Counting(), "7"),
        (Vqa(), ""),
        (Choice(extraction=Place.answer_tags), "C"),
    ):
        right, wrong = verifier.gold_responses(gold, people), verifier.mutate(gold, people)
        assert right and all(verifier.verify(text, gold, people).score == 1 for text in right), verifier
        assert wrong and not any(verifier.verify(text, gold, people).score for text in wrong), verifier
