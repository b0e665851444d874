"""IFEval's 25 checks on hand-written texts, the reference's quirks, and the verifier around them."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from rlvr_cli.core.types import Reason
from rlvr_cli.verifiers.ifeval import Ifeval, Level, loose
from rlvr_cli.verifiers.ifeval_checks import CHECKS, prepare
from rlvr_cli.verifiers.ifeval_checks.text import capital_words, sentences, words

ENGLISH = "the weather in london was rather pleasant last week and everybody went outside"
FRENCH = "Le temps était très agréable la semaine dernière et tout le monde est sorti."
RUSSIAN = "На прошлой неделе погода была очень плохой, и все остались дома."
LESS, LEAST = "less than", "at least"

CASES: list[tuple[str, dict[str, Any], list[str], list[str]]] = [
    # id, arguments, texts that follow it, texts that do not
    ("keywords:existence", {"keywords": ["rain", "sun"]}, ["Sunny, then RAIN"], ["only rain", "s u n rain"]),
    (
        *("keywords:frequency", {"keyword": "cat", "frequency": 2, "relation": LEAST}),
        *(["Cat and CAT", "concatenated cat"], ["one cat", "nothing"]),
    ),
    (
        *("keywords:frequency", {"keyword": "cat", "frequency": 2, "relation": LESS}),
        *(["one cat", "none"], ["cat cat", "cat cat cat"]),
    ),
    (
        *("keywords:forbidden_words", {"forbidden_words": ["can", "ride"]}),
        *(["cannot", "The bride"], ["I Can.", "a ride"]),
    ),
    (
        *("keywords:letter_frequency", {"letter": "E", "let_frequency": 3, "let_relation": LEAST}),
        *(["eEe", "three e"], ["ee"]),
    ),
    (
        *("keywords:letter_frequency", {"letter": "#", "let_frequency": 2, "let_relation": LESS}),
        *(["# one", "x"], ["## two"]),
    ),
    ("language:response_language", {"language": "fr"}, [FRENCH, "12345 !!"], [ENGLISH]),
    (
        *("length_constraints:number_sentences", {"num_sentences": 3, "relation": LEAST}),
        *(["One. Two! Three?"], ["Mr. One. Two."]),
    ),
    (
        *("length_constraints:number_sentences", {"num_sentences": 2, "relation": LESS}),
        *(["Only one here", "At 3.14 it ends."], ["One. Two."]),
    ),
    (
        *("length_constraints:number_paragraphs", {"num_paragraphs": 2}),
        *(["a\n***\nb", "***\na\n***\nb\n***"], ["a", "a ***  *** b", "a *** b *** c"]),
    ),
    (
        *("length_constraints:number_words", {"num_words": 4, "relation": LEAST}),
        *(["a well-known fact", "one two three four"], ["one two three"]),
    ),
    ("length_constraints:number_words", {"num_words": 3, "relation": LESS}, ["one two"], ["one two three"]),
    (
        *(
            "length_constraints:nth_paragraph_first_word",
            {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Weekend"},
        ),
        *(["a\n\nweekend, yes", "a\n\n'Weekend' b"], ["a\n\nthe weekend", "weekend", "a\n\nweekend\n\nc"]),
    ),
    (
        *("detectable_content:number_placeholders", {"num_placeholders": 2}),
        *(["[name] at [address]", "[[a] [b]", "[][]"], ["[name]", "[na\nme] [x"]),
    ),
    (
        *("detectable_content:postscript", {"postscript_marker": "P.S."}),
        *(["Bye\nP.S. one more", "p. s. this"], ["PS one more"]),
    ),
    (
        *("detectable_content:postscript", {"postscript_marker": "P.P.S"}),
        *(["P.P.S more", "p. p. s. more"], ["P.S. more"]),
    ),
    (
        *("detectable_format:number_bullet_lists", {"num_bullets": 2}),
        *(["* a\n* b", "- a\n  - b", "* a\n- b"], ["* a", "* a\n* b\n* c", "** a\n* b", "* a\n---\n* b"]),
    ),
    (
        *("detectable_format:constrained_response", {}),
        *(["My answer is yes.", "Well. My answer is maybe. Sorry"], ["My answer is Yes.", "yes"]),
    ),
    (
        *("detectable_format:number_highlighted_sections", {"num_highlights": 2}),
        *(["*a* and *b*", "**a** **b**"], ["*a* only", "** ** *b*", "*a\nb* c"]),
    ),
    (
        *("detectable_format:multiple_sections", {"section_spliter": "Section", "num_sections": 2}),
        *(["Section 1\na\nSection 2\nb", "Section1 Section2"], ["Section 1 only", "SECTION 1 SECTION 2"]),
    ),
    (
        *("detectable_format:json_format", {}),
        *(['{"a": 1}', '```json\n{"a": [1]}\n```', "```\n3\n```"], ["{'a': 1}", 'Here: {"a": 1}']),
    ),
    (
        *("detectable_format:title", {}),
        *(["<<poem of joy>>\ntext", "x <<<a>>>"], ["<poem>", "<< >>", "<<po\nem>>", "<<>>"]),
    ),
    (
        *("combination:two_responses", {}),
        *(["a\n******\nb", "******a******b"], ["a", "a******a", "a******b******c", "a******\n******b"]),
    ),
    (
        *("combination:repeat_prompt", {"prompt_to_repeat": "Write a poem."}),
        *(["write a POEM. Roses", " Write a poem."], ["Sure! Write a poem."]),
    ),
    (
        *("startend:end_checker", {"end_phrase": "Any questions?"}),
        *(["Yes. any QUESTIONS? ", '"Any questions?"'], ["Any questions? No", "Any questions"]),
    ),
    ("startend:quotation", {}, ['"all of it"', ' "" '], ['"', "'all'", '"all" of it']),
    (
        *("change_case:capital_word_frequency", {"capital_frequency": 2, "capital_relation": LEAST}),
        *(["NASA and COVID-19", "IT'S fine"], ["NASA is Here"]),
    ),
    (
        *("change_case:capital_word_frequency", {"capital_frequency": 1, "capital_relation": LESS}),
        *(["no Capitals here"], ["I am", "A day"]),
    ),
    (
        "change_case:english_capital",
        {},
        [ENGLISH.upper()],
        [ENGLISH, RUSSIAN.upper(), ENGLISH.upper() + " a"],
    ),
    ("change_case:english_lowercase", {}, [ENGLISH], [ENGLISH.upper(), FRENCH.lower(), ENGLISH + " A"]),
    ("punctuation:no_comma", {}, ["No commas here", "不，不"], ["Yes, no"]),
]


def followed(id: str, arguments: dict[str, Any], text: str) -> bool:
    [instruction] = prepare([id], [arguments])
    return instruction.followed(text)


def test_all_25_have_cases() -> None:
    assert len(CHECKS) == 25 and {id for id, *_ in CASES} == set(CHECKS)


@pytest.mark.parametrize(
    "id, arguments, right, wrong", CASES, ids=lambda value: value if type(value) is str else ""
)
def test_check(id: str, arguments: dict[str, Any], right: list[str], wrong: list[str]) -> None:
    assert [text for text in right if not followed(id, arguments, text)] == []
    assert [text for text in wrong if followed(id, arguments, text)] == []
    assert not followed(id, arguments, " \n")


def test_quirks_of_the_reference() -> None:
    # An empty paragraph is not counted but keeps its place: the second paragraph here is "".
    nth = {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "b"}
    assert not followed("length_constraints:nth_paragraph_first_word", nth, "a\n\n\n\nb")
    # A lone star takes the next line with it, so these two bullets are one.
    assert followed("detectable_format:number_bullet_lists", {"num_bullets": 1}, "*\n* b")
    # Keywords are regular expressions, and literal where they are none.
    assert followed("keywords:existence", {"keywords": ["a.c"]}, "abc")
    assert followed("keywords:existence", {"keywords": ["(x"]}, "f(x)") and not followed(
        "keywords:existence", {"keywords": ["(x"]}, "x"
    )
    # Tables hold every argument of every check; what is null does not count, and integers come as floats.
    assert followed(
        "length_constraints:number_words", {"num_words": 2.0, "relation": LEAST, "letter": None}, "a b"
    )
    # langdetect takes capitals of other Latin languages for English.
    assert followed("change_case:english_capital", {}, FRENCH.upper())
    # NaN is JSON for Python.
    assert followed("detectable_format:json_format", {}, "NaN")


@pytest.mark.parametrize(
    "text, count",
    [
        ("xx,x. xx,x! xx/x. x{x}x? x.", 5),  # the reference's own test
        ("Dr. Who met J. Smith at 5 p.m. today. Fine.", 2),
        ("It stopped at 5 p.m. Then it rained.", 2),
        ("Wait... what? Wait... What?", 3),
        ('"Really?" he said. (Yes.) No', 4),
        ("1. Eggs\n2. Milk", 3),
        ("www.example.com costs 3.50 today", 1),
        ("", 0),
    ],
)
def test_sentences(text: str, count: int) -> None:
    assert sentences(text) == count


def test_words_and_capital_words() -> None:
    assert words("Hyphenated-word has two word counts.") == 6
    assert capital_words("I DON'T know IT'S A COVID-19 U.S. thing") == 8


@pytest.mark.parametrize(
    "row, fault",
    [
        (
            {"instruction_id_list": ["punctuation:no_coma"], "kwargs": [{}]},
            "did you mean 'punctuation:no_comma'?",
        ),
        ({"instruction_id_list": ["punctuation:no_comma"], "kwargs": []}, "1 instruction ids but 0 kwargs"),
        ({"instruction_id_list": ["keywords:existence"], "kwargs": [{}]}, "needs the argument 'keywords'"),
        (
            {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{"letter": "a"}]},
            "takes no argument 'letter'",
        ),
        (
            {
                "instruction_id_list": ["length_constraints:number_words"],
                "kwargs": [{"num_words": 3, "relation": "at most"}],
            },
            "relation is 'at most'; it must be 'less than' or 'at least'",
        ),
        (
            {
                "instruction_id_list": ["length_constraints:number_words"],
                "kwargs": [{"num_words": float("nan"), "relation": LEAST}],
            },
            "it must be a whole number, not negative",
        ),
        ({"instruction_id_list": ["punctuation:no_comma"], "kwargs": "{"}, "kwargs is not JSON"),
        ({"instruction_id_list": [], "kwargs": []}, "must be lists"),
        ({"instruction_id_list": ["punctuation:no_comma"]}, "instruction_id_list and kwargs are needed"),
        ({}, "the answer is not JSON: 'none'"),
    ],
)
def test_bad_rows_are_found_before_training(row: dict[str, Any], fault: str) -> None:
    assert fault in (Ifeval().check_gold("none", row) or "")


ROW = {
    "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words", "startend:quotation"],
    "kwargs": [{}, {"num_words": 3, "relation": LEAST}, {}],
}


def test_scores() -> None:
    two_of_three = Ifeval().verify("one two three", "", ROW)
    assert two_of_three.score == pytest.approx(2 / 3) and two_of_three.reason is Reason.wrong
    assert two_of_three.detail == "not followed: startend:quotation"
    assert Ifeval(level=Level.prompt).verify("one two three", "", ROW).score == 0
    whole = Ifeval(level=Level.prompt).verify('"one two three"', json.dumps(ROW), {})
    assert whole.score == 1 and whole.reason is Reason.correct and whole.extracted == "3 of 3 followed"
    assert Ifeval().verify('<think>a, b</think>\n\n"one two three"', "", ROW).score == 1
    assert Ifeval(thinking=True).verify('"one two three"', "", ROW).reason is Reason.no_answer
    assert Ifeval().verify(" ", "", ROW).reason is Reason.no_answer
    assert Ifeval().check_gold("", ROW) is None


def test_loose_is_any_of_eight() -> None:
    assert loose("a*\nb\nc") == ["a*\nb\nc", "b\nc", "a*\nb", "b", "a\nb\nc", "b\nc", "a\nb", "b"]
    row = {"instruction_id_list": ["startend:quotation", "detectable_format:json_format"], "kwargs": [{}, {}]}
    text = 'Sure! Here it is:\n*"one"*\nAnything else?'
    assert Ifeval(strict=True).verify(text, "", row).score == 0
    assert Ifeval(strict=False).verify(text, "", row).score == 1


def test_degenerate_text_takes_no_time() -> None:
    given = {"num_sentences": 1, "relation": LEAST, "num_placeholders": 1, "num_highlights": 1}
    names = ["length_constraints:number_sentences", "detectable_content:number_placeholders"]
    names += ["detectable_format:title", "detectable_format:number_highlighted_sections"]
    checks = prepare(
        names, [{k: v for k, v in given.items() if k in CHECKS[name].arguments} for name in names]
    )
    started = time.perf_counter()
    for text in ("!" * 100_000, "[" * 100_000, "<<" * 50_000, "*" * 100_000, "a." * 50_000):
        for check in checks:
            check.followed(text)
    assert time.perf_counter() - started < 5
