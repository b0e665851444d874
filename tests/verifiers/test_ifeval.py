"""IFEval's 25 checks on hand-written texts, the reference's quirks, and the verifier around them."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr_cli.core.types import Reason
from rlvr_cli.schema import Verification
from rlvr_cli.verifiers.ifeval import Ifeval, Level, loose
from rlvr_cli.verifiers.ifeval_checks import CHECKS, prepare
from rlvr_cli.verifiers.ifeval_checks.text import capital_words, sentences, words
from rlvr_cli.verifiers.language import Language
from rlvr_cli.verifiers.pool import Pool

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


def by_the_reference(text: str) -> int:
    """Bullets as the published implementation counts them, in quadratic time."""
    stars = re.findall(r"^\s*\*[^\*].*$", text, flags=re.MULTILINE)
    return len(stars) + len(re.findall(r"^\s*-.*$", text, flags=re.MULTILINE))


@given(
    st.lists(st.sampled_from(["*", "-", "\n", " ", "a", "\r", "\u2028", "\x1c", "\n\n", "*\n"]), max_size=20)
)
@settings(max_examples=500, deadline=None)
def test_bullets_are_those_of_the_reference(parts: list[str]) -> None:
    text = "".join([*parts, "x"])
    assert followed("detectable_format:number_bullet_lists", {"num_bullets": by_the_reference(text)}, text)


ARGUMENTS = {id: arguments for id, arguments, *_ in CASES}
HOSTILE = [
    "\n",
    "\n \n",
    "*\n",
    "-",
    "\r\n",
    ". ",
    "a. ",
    "...",
    '?"',
    "[",
    "[a\n",
    "<<a",
    "p. ",
    "Section 1",
    "*** ",
]
HOSTILE += ["******", "{", "9", "n't", "A.", "a@", "\u3000", "\n\n'"]


@pytest.mark.slow
@pytest.mark.parametrize("unit", HOSTILE)
def test_hostile_text_takes_linear_time(unit: str) -> None:
    """Quadratic checks took minutes for these, where linear ones take tenths of a second."""
    for form in ("{}x", '"{}"'):
        text = form.format(unit * (400_000 // len(unit)))
        for id, arguments in ARGUMENTS.items():
            started = time.process_time()
            followed(id, arguments, text)
            assert time.process_time() - started < 2, id


@pytest.mark.parametrize(
    ("verifier", "unit"),
    [*((Ifeval(strict=False), unit) for unit in ("\n", "*\n", "- \n")), (Language(language="en"), "!")],
)
def test_a_page_of_blank_lines_is_wrong_and_quick(verifier: Any, unit: str) -> None:
    row = {
        "instruction_id_list": ["detectable_format:number_bullet_lists"] * 2,
        "kwargs": [{"num_bullets": 3}, {"num_bullets": 0}],
    }
    started = time.process_time()
    verdict = verifier.verify(unit * 50_000 + "x", "", row)
    assert verdict.reason in (Reason.wrong, Reason.no_answer) and verdict.score < 1
    assert time.process_time() - started < 3


@pytest.mark.parametrize(
    ("id", "arguments", "follows"),
    [
        ("keywords:existence", {"keywords": ["(?i)CAT"]}, "a cat"),
        ("keywords:forbidden_words", {"forbidden_words": ["(?i)cat", "a{99999999999}", "("]}, "a cat"),
        ("detectable_format:multiple_sections", {"section_spliter": "(?i)s", "num_sections": 1}, "(?i)s 1"),
        ("keywords:existence", {"keywords": ["a{99999999999}"]}, "a{99999999999}"),
    ],
)
def test_what_is_no_regular_expression_there_is_a_word(
    id: str, arguments: dict[str, Any], follows: str
) -> None:
    assert followed(id, arguments, follows)


@pytest.mark.parametrize(
    "row",
    [
        {"instruction_id_list": [["punctuation:no_comma"]], "kwargs": [{}]},
        {"instruction_id_list": [{"a": 1}], "kwargs": [{}]},
        {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [[1]]},
        {"instruction_id_list": ["punctuation:no_comma"], "kwargs": "[" * 100_000},
        {
            "instruction_id_list": ["length_constraints:number_words"],
            "kwargs": [{"num_words": 1, "relation": ["less than"]}],
        },
        {"instruction_id_list": ["keywords:existence"], "kwargs": [{"keywords": [["a"]]}]},
        {
            "instruction_id_list": ["keywords:letter_frequency"],
            "kwargs": [{"letter": {}, "let_frequency": 1e400}],
        },
    ],
)
def test_odd_arguments_make_a_row_unusable(row: dict[str, Any]) -> None:
    assert Ifeval().check_gold("", row)
    assert Ifeval().check_gold("[" * 100_000, {})


@pytest.mark.slow
def test_hostile_responses_are_judged_in_time_by_a_pool() -> None:
    """Each has a verdict that scores 0 of the instructions it misses, within twice the deadline."""
    bullets = {
        "instruction_id_list": ["detectable_format:number_bullet_lists"],
        "kwargs": [{"num_bullets": 3}],
    }
    with Pool({"ifeval": Ifeval(), "language": Language(language="de")}, Verification(timeout_s=8.0)) as pool:
        pool.submit("ifeval", "warm", "", bullets).result(60)
        began = time.monotonic()
        found = [pool.submit("ifeval", "\n" * n + "x", "", bullets) for n in (100_000, 1_000_000)]
        found += [
            pool.submit("language", "中。" * 20_000, "", {}),
            pool.submit("language", "." * 999_999 + "x", "", {}),
        ]
        assert [each.result(60).reason for each in found] == [Reason.wrong] * 4
        assert time.monotonic() - began < 4 * 16
