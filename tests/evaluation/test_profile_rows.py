"""The majority label of a problem out of its verdicts."""

from __future__ import annotations

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.evaluation.profile_rows import majority
from rlvr_cli.verifiers.math import Math


def vote(gold: str, *answers: str | None) -> tuple[str | None, int, bool]:
    """By `math`, as `rlvr profile` asks it."""
    responses = [f"so \\boxed{{{answer}}}" if answer is not None else "so" for answer in answers]
    found = majority([Math().verify(response, gold, {}) for response in responses])
    return found["label"], found["votes"], found["label_right"]


def test_the_majority_of_equal_values() -> None:
    assert vote("5", "12", "12", "7", "12.0") == ("12", 3, False)  # systems/08's worked number
    assert vote("12", "12", "12", "7", "12.0") == ("12", 3, True)
    assert vote("5", "1/2", "3", "0.5", "\\frac{1}{2}", "3") == ("1/2", 3, False)


def test_right_answers_are_one_however_they_are_written() -> None:
    """What only math-verify sees as equal votes together where it is right."""
    assert vote("2\\sqrt{2}", "3", "\\sqrt{8}", "2\\sqrt{2}", "3", "\\sqrt{8}") == ("\\sqrt{8}", 3, True)


def test_a_tie_goes_to_the_answer_given_first() -> None:
    assert vote("5", "3", "5", "5", "3") == ("3", 2, False)
    assert vote("5", "5", "3") == ("5", 1, True)


def test_what_has_no_answer_has_no_vote() -> None:
    assert vote("5", None, None, "4") == ("4", 1, False)
    assert vote("5", None, "5 or 6", None) == (None, 0, False)
    late = Verdict(score=0, reason=Reason.timeout, extracted="9")
    assert majority([late, late, Verdict(score=0, reason=Reason.wrong, extracted="4")])["label"] == "4"


def test_answers_of_other_verifiers_vote_by_their_text() -> None:
    long = "x" * 5000
    said = [Verdict(score=0, reason=Reason.wrong, extracted=text) for text in (long, "a or b", long)]
    assert majority(said) == {"label": long, "votes": 2, "label_right": False}
