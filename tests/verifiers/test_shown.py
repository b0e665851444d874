"""What a reward model or judge is shown of a response (RLMT), and what a thought earns: nothing."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlvr_cli.core.types import Reason
from rlvr_cli.verifiers.keyword import Keyword
from rlvr_cli.verifiers.shown import NULL, Extract, Shown

RESPONSE = Shown(extract=Extract.response)
STRICT = Shown(extract=Extract.response, strict=True)
THINK = Shown(extract=Extract.after_think)


def test_the_worked_examples() -> None:
    """The tag comes first, then the left is stripped, then the end is cut and the right stripped."""
    text = "<think>a</think> <response> hi </response> junk"
    assert RESPONSE.answer_in(text).text == STRICT.answer_in(text).text == "hi"
    assert STRICT.answer_in("no tags at all").text == NULL == "[NULL]"
    assert RESPONSE.answer_in(" no tags at all ").text == " no tags at all "


def test_of_several_delimiters_the_first_counts() -> None:
    assert RESPONSE.answer_in("<response>a</response><response>b</response>").text == "a"
    assert RESPONSE.answer_in("<response>a <response> b</response>").text == "a <response> b"
    assert THINK.answer_in("<think>x</think>  y</think> z").text == "y</think> z"


def test_a_missing_end_is_null_where_strict_and_the_rest_where_not() -> None:
    assert RESPONSE.answer_in("<think>a</think><response> hi ").text == "hi "
    assert STRICT.answer_in("<think>a</think><response> hi ").text == NULL
    assert RESPONSE.answer_in("</response><response> hi").text == "hi"  # an end before the beginning is none


def test_what_is_shown_is_counted() -> None:
    found = STRICT.answer_in("<think>abc</think><response> hi </response>")
    assert STRICT.extract_metrics(found) == {"null_fraction": 0.0, "thought_chars": 18.0, "answer_chars": 2.0}
    missing = STRICT.answer_in("<think>abc")
    assert STRICT.extract_metrics(missing) == {
        "null_fraction": 1.0,
        "thought_chars": 0.0,
        "answer_chars": 0.0,
    }
    whole = THINK.answer_in("abc")  # shown, and counted as what it is
    assert THINK.extract_metrics(whole) == {"null_fraction": 1.0, "thought_chars": 0.0, "answer_chars": 3.0}
    assert Shown().extract_metrics(Shown().answer_in("<think>a</think>b")) == {}


def test_own_delimiters() -> None:
    own = Shown(extract=Extract.delimiters, delimiter="ANSWER:", end_delimiter="END", strict=True)
    assert own.answer_in("so ANSWER: 4 END of it").text == "4" and own.answer_in("so 4").text == NULL
    open_ended = Shown(extract=Extract.delimiters, delimiter="ANSWER:", strict=True)
    assert open_ended.answer_in("so ANSWER: 4 ").text == "4 "


pieces = st.lists(
    st.sampled_from(["<response>", "</response>", " ", "a", "<think>", "</think>"]), max_size=12
)


@given(pieces.map("".join))
def test_strict_and_lenient_agree_where_both_delimiters_are_there(text: str) -> None:
    lenient, strict = RESPONSE.answer_in(text), STRICT.answer_in(text)
    wanted = re.search(r"<response>\s*(.*?)\s*</response>", text, re.DOTALL)
    assert strict.text == (wanted[1] if wanted else NULL)
    assert lenient.found is strict.found is bool(wanted)
    if wanted:
        assert lenient == strict
    elif "<response>" not in text:
        assert lenient.text == text


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"extract": Extract.delimiters}, "needs delimiter"),
        ({"delimiter": "x"}, "are those of extract=delimiters, and extract is none"),
        ({"extract": Extract.delimiters, "delimiter": "x", "end_delimiter": ""}, "end_delimiter is empty"),
        ({"strict": True}, "extract=none looks for none"),
    ],
)
def test_settings_that_contradict_each_other(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Shown(**settings).check_extract()


def test_a_keyword_in_the_thought_earns_nothing() -> None:
    """(a) and (c) of the notes' test: only the answer is looked at, and what has none is scored as [NULL]."""
    counts = Keyword()
    assert counts.verify("<think>k k k</think>a b", "k", {}).score == 0
    assert counts.verify("<think>a</think>k b", "k", {}).score == 1
    strict = Keyword(extract=Extract.response, strict=True)
    verdict = strict.verify("k k k", "k", {})
    assert (verdict.score, verdict.extracted, verdict.more["null_fraction"]) == (0, NULL, 1)


def test_saying_it_again_costs_the_square() -> None:
    """k: 1; k k: 2 - 1/2; k k k: 3 - 2; k k k k: 4 - 4.5; another word that is repeated costs as well."""
    scores = [Keyword().verify(" ".join("k" * n), "k", {}).score for n in range(1, 5)]
    assert scores == [1.0, 1.5, 1.0, -0.5]
    assert Keyword().verify("k a a", "k", {}).score == 0.5
    assert Keyword(repetition=0).verify("k k k", "k", {}).score == 3
    first = Keyword().verify("k a", "k", {})
    assert first.raw and first.reason is Reason.correct
    with pytest.raises(ValueError, match="gate=false"):
        Keyword(gate=True)
    assert Keyword().check_gold("two words", {}) is not None and Keyword().check_gold("k", {}) is None
