"""Choice, length, language and tags: verdicts on hand-written responses."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Reason
from rlvr_cli.schema import Verification
from rlvr_cli.verifiers.choice import Choice, Place
from rlvr_cli.verifiers.format import Format
from rlvr_cli.verifiers.language import Language
from rlvr_cli.verifiers.length import Length, Part, Unit
from rlvr_cli.verifiers.pool import Pool

FOUR = {"options": ["red", "green", "blue", "none of these"]}


@pytest.mark.parametrize(
    "response, letter",
    [
        ("Answer: C", "C"),
        ("**Answer: (C)**", "C"),
        ("The answer is **C**.", "C"),
        ("the answer is (c) because green is wrong", "C"),
        ("Final answer: \\boxed{\\text{C}}", "C"),
        ("Answer: $C$. (not B)", "C"),
        ("Answer:\n\nC: blue", "C"),
        ("The correct answer is option C", "C"),
        ("Answer: A\nNo wait.\nAnswer: B", "B"),
        ("<think>Answer: A</think>Answer: B", "B"),
        ("Answer: A is right", "A"),
    ],
)
def test_choice_letters(response: str, letter: str) -> None:
    assert Choice().verify(response, letter, FOUR).reason is Reason.correct
    wrong = Choice().verify(response, "D", FOUR)
    assert (wrong.score, wrong.reason, wrong.extracted) == (0, Reason.wrong, letter)


@pytest.mark.parametrize(
    "response, reason",
    [
        ("Answer: A or B", Reason.refused),
        ("Answer: (A) and (B)", Reason.refused),
        ("Answer: A/B", Reason.refused),
        ("Answer: A, B", Reason.refused),
        ("Answer: A B C D", Reason.refused),
        ("Answer: either A or B", Reason.refused),
        ("Answer: F", Reason.malformed),
        ("Answer: I think so", Reason.no_answer),
        ("Answer: A triangle", Reason.no_answer),
        ("Answer: Because", Reason.no_answer),
        ("Answer: not A", Reason.no_answer),
        ("Answer:", Reason.no_answer),
        ("C", Reason.no_answer),
        ("<think>Answer: C", Reason.no_answer),
    ],
)
def test_choice_refuses(response: str, reason: Reason) -> None:
    for gold in "AC":
        verdict = Choice().verify(response, gold, FOUR)
        assert (verdict.score, verdict.reason) == (0, reason), verdict


def test_choice_places_and_golds() -> None:
    boxed, parens = Choice(extraction=Place.boxed), Choice(extraction=Place.parentheses)
    assert boxed.verify("so \\boxed{\\text{(B)}}", "B", {}).score == 1
    assert boxed.verify("\\boxed{A, B}", "A", {}).reason is Reason.refused
    assert boxed.verify("Answer: B", "B", {}).reason is Reason.no_answer
    assert parens.verify("(A) is wrong, so it must be (B)", "B", {}).score == 1
    assert parens.verify("It is (A) or (B)", "B", {}).reason is Reason.refused
    assert Choice(thinking=True).verify("Answer: B", "B", {}).reason is Reason.no_answer
    assert Choice().verify("Answer: B", "green", FOUR).score == 1  # gold as the text of an option
    assert (
        Choice(options="choices").verify("Answer: J", "J", {"choices": ["x"] * 9}).reason is Reason.malformed
    )
    assert Choice().check_gold("(B)", {}) is None and Choice().check_gold("green", FOUR) is None
    assert "from A to D" in (Choice().check_gold("E", FOUR) or "")
    assert "neither" in (Choice().check_gold("2", {}) or "")
    assert "2 to 10 options" in (Choice().check_gold("A", {"options": ["one"]}) or "")


@pytest.mark.parametrize("place", Place)
@pytest.mark.parametrize("thinking", [False, True])
def test_choice_tests_itself(place: Place, thinking: bool) -> None:
    choice = Choice(extraction=place, thinking=thinking)
    for gold in ("A", "D", "green"):
        assert [choice.verify(r, gold, FOUR).score for r in choice.gold_responses(gold, FOUR)] == [1.0]
        scores = [choice.verify(r, gold, FOUR).score for r in choice.mutate(gold, FOUR)]
        assert len(scores) == 5 and sum(scores) == 0


def test_length_bounds_and_ramp() -> None:
    bounded = Length(minimum=3, maximum=5, ramp=4)
    expected = {0: 0.25, 1: 0.5, 2: 0.75, 3: 1, 5: 1, 6: 0.75, 9: 0, 50: 0}
    assert {n: bounded.verify("word " * n, "", {}).score for n in expected} == expected
    assert Length(maximum=5).verify("word " * 6, "", {}).score == 0
    late = bounded.verify("word " * 6, "", {})
    assert late.reason is Reason.wrong and late.extracted == "6 words"
    text = "<think>one two</think> three"
    counts = {part: Length(maximum=9, part=part).verify(text, "", {}).extracted for part in Part}
    assert counts == {Part.response: "3 words", Part.reasoning: "2 words", Part.answer: "1 words"}
    assert Length(maximum=3, unit=Unit.chars).verify("abc", "", {}).score == 1
    assert Length(maximum=3, unit=Unit.chars).verify("abcd", "", {}).score == 0


def test_length_target_of_a_problem() -> None:
    aimed = Length(target="n", ramp=10)
    assert [aimed.verify("word " * n, "", {"n": 5}).score for n in (5, 3, 10, 15)] == [1, 0.8, 0.5, 0]
    assert aimed.check_gold("", {"n": 5}) is None
    assert "column 'n' is None" in (aimed.check_gold("", {}) or "")


def test_length_in_tokens_in_a_worker(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"a": 0, "b": 1, "?": 2}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    counted = Length(unit=Unit.tokens, maximum=3, tokenizer=str(tmp_path))
    with Pool({"length": counted}, Verification(workers=1)) as pool:
        verdicts = [pool.submit("length", text, "", {}).result(60) for text in ("aba", "abab")]
    assert [(v.score, v.extracted) for v in verdicts] == [(1, "3 tokens"), (0, "4 tokens")]
    with pytest.raises(UserError, match=r"tokenizer: '.*nowhere.json' has no tokenizer.json"):
        Length(unit=Unit.tokens, maximum=3, tokenizer=str(tmp_path / "nowhere.json")).warm()


ENGLISH = (
    "We first note that the sum of the two numbers is even, and therefore one of them cannot be odd alone. "
    "It follows that both numbers have the same parity, which leaves only a few cases to be looked at. "
)
GERMAN = (
    "Zuerst bemerken wir, dass die Summe der beiden Zahlen gerade ist und daher keine ungerade sein kann. "
    "Daraus folgt, dass beide Zahlen die gleiche Parität haben, was nur wenige Fälle übrig lässt. "
)


def test_language_is_a_share_of_letters() -> None:
    english = Language(language="en")
    assert english.verify(ENGLISH, "", {}).score == 1
    assert english.verify(GERMAN, "", {}).score == 0
    mixed = english.verify(ENGLISH * 2 + "\n" + GERMAN * 2, "", {})
    assert 0.4 < mixed.score < 0.65 and mixed.reason is Reason.wrong
    assert mixed.score + Language(language="de").verify(ENGLISH * 2 + "\n" + GERMAN * 2, "", {}).score == 1
    assert (
        Language(language="zh")
        .verify("上周天气很差，大家都待在家里，没有人想出去散步，因为外面一直在下大雨。" * 3, "", {})
        .score
        == 1
    )
    thought = f"<think>{GERMAN}</think>{ENGLISH}"
    assert english.verify(thought, "", {}).score < 1
    assert Language(language="en", answer_only=True).verify(thought, "", {}).score == 1
    assert english.inline(ENGLISH, "", {}) is None
    assert english.verify("12 + 3 = 15", "", {}).reason is Reason.no_answer


def test_script_is_exact() -> None:
    latin = Language(script="latin")
    verdict = latin.verify("abc где", "", {})
    assert (verdict.score, verdict.extracted) == (0.5, "3 of 6 letters")
    assert latin.verify("ça va", "", {}).score == 1
    assert latin.verify("ok ```где``` $где$ `где`", "", {}).score == 1
    assert Language(script="han").verify("天气ab", "", {}).score == 0.5
    assert Language(script="cyrillic").verify("<think>где</think>", "", {}).score == 1
    assert latin.inline("abc", "", {}) is not None


@pytest.mark.parametrize(
    "response, fault",
    [
        ("<think>a</think><answer>b</answer>", None),
        ("\n<think>a</think>\n<answer>\nb\n</answer>\n", None),
        ("<answer>b</answer><think>a</think>", "text before <think>"),
        ("<think>a</think>", "one <answer>"),
        ("<think>a</think><answer>b</answer><answer>c</answer>", "one <answer>"),
        ("<think>a<answer>b</answer></think>", "<answer> is in the wrong place"),
        ("<think> </think><answer>b</answer>", "<think> is empty"),
        ("<think>a</think> so <answer>b</answer>", "text before <answer>"),
        ("<think>a</think><answer>b</answer>!", "text after </answer>"),
        ("</think>a<think><answer>b</answer>", "text before <think>"),
    ],
)
def test_format_tags(response: str, fault: str | None) -> None:
    tagged = Format(tags=["think", "answer"])
    verdict = tagged.verify(response, "", {})
    assert verdict.score == (fault is None)
    if fault:
        assert fault in verdict.detail
    assert [tagged.verify(r, "", {}).score for r in tagged.gold_responses("", {})] == [1]
    assert not any(tagged.verify(r, "", {}).score for r in tagged.mutate("", {}))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Length(), "set minimum, maximum or target"),
        (lambda: Length(minimum=3, maximum=2), "maximum is 2"),
        (lambda: Length(target="n", maximum=2), "takes the place"),
        (lambda: Length(unit=Unit.tokens, maximum=2), "needed for unit=tokens"),
        (lambda: Length(maximum=2, tokenizer="x"), "only there"),
        (lambda: Language(), "either language or script"),
        (lambda: Language(language="xx"), "must be one of af, ar"),
        (lambda: Language(script="roman"), "must be one of arabic"),
        (lambda: Format(tags=["a b"]), "tags has 'a b'"),
        (lambda: Format(tags=["a", "a"]), "each given once"),
        (lambda: Format(tags=["answer"], require_think=True), "begin tags with think"),
    ],
)
def test_impossible_options(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_hostile_text_is_read_in_linear_time() -> None:
    started = time.perf_counter()
    for text in (
        "(" * 200_000,
        "answer " * 30_000,
        "Answer:" * 30_000,
        "$" * 100_001,
        "`" * 100_001,
        "a" * 300_000,
    ):
        Choice().verify(text, "A", {})
        Choice(extraction=Place.parentheses).verify(text, "A", {})
        Language(script="latin").verify(text, "", {})
        Format(tags=["think", "answer"]).verify(text, "", {})
    assert time.perf_counter() - started < 5
