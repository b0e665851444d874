"""What is taken for the answer, the small verifiers, and hostile text."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from time import process_time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

import rlvr_cli.conf
from rlvr_cli.core.types import Reason
from rlvr_cli.verifiers import find, names
from rlvr_cli.verifiers.always import Always
from rlvr_cli.verifiers.extract import Boxes, Extraction, Rejected, extract
from rlvr_cli.verifiers.format import Format
from rlvr_cli.verifiers.match import Match
from rlvr_cli.verifiers.math import Math
from rlvr_cli.verifiers.random import Random

CONF = Path(rlvr_cli.conf.__file__).parent / "verifier"


@pytest.mark.parametrize(
    ("mode", "response", "answer"),
    [
        ("boxed", r"\boxed{5}", "5"),
        ("boxed", r"first \boxed{5}. Wait, no: checking again, it must be \boxed{6}", "6"),
        ("boxed", r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        ("boxed", r"\boxed{\{1,2\}}", r"\{1,2\}"),
        ("boxed", r"\boxed {7} and more", "7"),
        ("boxed", r"\boxed{5}, that is \boxed{5}", "5"),
        ("boxed", r"<think>\boxed{5}</think> \boxed{6}", "6"),
        ("boxed", r"a</think>\boxed{5}</think>\boxed{6}", "6"),
        ("boxed", r"a</think>\boxed{5} and that is not all that was thought.</think>\boxed{6}", "6"),
        ("boxed", r"\boxed{5} \boxed{6}", "6"),
        ("boxed", r"First \boxed{4}, no, \boxed{5}.", "5"),
        ("boxed", r"It is \boxed{5}, inside \boxed as asked.", "5"),
        ("boxed", r"It is \boxed{5}; I gave it in \boxed{}.", "5"),
        ("boxed", r"\boxed{5}, in \boxed{ } or \boxed", "5"),
        ("boxed", r"\boxed{5} as asked in \boxed{...}", "5"),
        ("boxed", r"\boxed{5}, that is in $\boxed{\text{ }}$, \boxed{~\,\quad} and \boxed{\ldots}.", "5"),
        ("boxed", r"\boxed{\text{x}}", r"\text{x}"),
        ("boxed", r"$\boxed{5}$ and that was \boxed: a box.", "5"),
        ("boxed", r"\boxed{5} in a \boxed x", "5"),  # outside of mathematics a letter is a word
        ("boxed", r"\boxed 5", "5"),
        ("boxed", r"\boxed5.", "5"),
        ("boxed", r"so \boxed -1,234.5, done", "-1,234.5"),
        ("boxed", r"\boxed 3/4 of it", "3/4"),
        ("boxed", r"$\boxed 50\%$", r"50\%"),
        ("boxed", r"$$\boxed x + 1$$", "x + 1"),
        ("boxed", r"\[ \boxed\frac{1}{2} \]", r"\frac{1}{2}"),
        ("boxed", r"$x=5$ as \boxed asks: $6$ it is not, \boxed 5", "5"),
        ("boxed", r"{\boxed 5}", "5"),
        ("answer_line", "Answer: 3\nno\n**Answer:** $4$\nbye", "$4$"),
        ("answer_line", "Final answer: \\boxed{4}", "4"),
        ("answer_line", "**Final Answer**: **73**.", "73"),
        ("answer_line", "**Final Answer: 73**", "73"),
        ("answer_line", "> *Answer:* **$x$**。", "$x$"),
        ("answer_line", "Answer: **73** dollars.", "73 dollars."),
        ("answer_line", "Answer: 2**3**2", "2**3**2"),
        ("answer_line", "Answer: U.S.", "U.S."),
        ("answer_line", "Answer：5", "5"),
        ("hash", "1+1\n#### 2\nok", "2"),
        ("hash", "#### **42**", "42"),
        ("hash", "#### **42.**", "42."),
        ("hash", "#### ***42***.", "42"),
        ("hash", "#### *42*", "42"),
        ("hash", "#### **42** apples", "42 apples"),
        ("hash", r"#### $\boxed{42}$.", "42"),
        ("choice", "Answer: 'C'", "C"),
        ("last_number", "3 apples, then 1,200.50 dollars.", "1,200.50"),
        ("last_number", "10-5 = -5", "-5"),
        ("choice", "The answer is (C).", "C"),
        ("choice", "Answer: $B$", "B"),
        ("choice", "answer is $\\boxed{\\text{D}}$", "D"),
        ("choice", "Answer: A\nNo. **Answer:** (b)", "B"),
        ("choice", "Answer: C\nThe rest is plain, so the answer is obvious.", "C"),
        ("choice", "The answer is (B). That this answer is a square is no chance.", "B"),
        ("choice", "Answer: C\nSome think the answer is x = 5 or the answer is e.g. 7.", "C"),
        ("choice", "Answer: C" + "\nBut why? The answer is long." * 15, "C"),
        ("choice", r"The answer is \[ \boxed{\text{C}} \]", "C"),
        ("choice", "Final answer:\n\\[\n\\boxed{\\mathbf{(C)}}\n\\]", "C"),
        ("choice", "The answer is:\n\n$$\n\\boxed{C}\n$$", "C"),
        ("choice", "Answer: `C`", "C"),
        ("choice", 'Answer: "C"', "C"),
        ("choice", "Answer：（C）", "C"),
        ("choice", r"\textbf{Answer: } \left(\textit{C}\right)", "C"),
    ],
)
def test_extract(mode: str, response: str, answer: str) -> None:
    assert extract(response, Extraction(mode)) == answer


@pytest.mark.parametrize(
    ("mode", "response", "reason"),
    [
        ("boxed", "5", Reason.no_answer),
        ("boxed", r"\boxed{}", Reason.no_answer),
        ("boxed", r"\boxed{5} \boxed{", Reason.malformed),
        ("boxed", r"\boxed{5} \boxed{5", Reason.malformed),
        ("boxed", r"\boxed{5} \boxed{ \boxed", Reason.malformed),
        ("boxed", r"Give it in \boxed{}.", Reason.no_answer),
        ("boxed", r"Give it in \boxed{...}.", Reason.no_answer),
        ("hash", r"#### \boxed{42", Reason.malformed),
        ("choice", "Answer: I'm not sure", Reason.no_answer),
        ("boxed", r"Give it in \boxed as asked.", Reason.no_answer),
        ("boxed", r"\boxed 5th", Reason.no_answer),
        ("boxed", r"$\boxed as $5$", Reason.no_answer),
        ("boxed", r"\boxed{\frac{1}{2}", Reason.malformed),
        ("boxed", r"<think>\boxed{5}</think> I give up", Reason.no_answer),
        ("boxed", r"a</think>\boxed{5}</think> I give up", Reason.no_answer),
        ("boxed", r"<think>\boxed{5}", Reason.no_answer),
        ("boxed", r"<think>a</think> b <think> \boxed{5}", Reason.no_answer),
        ("answer_line", "The answer is 5", Reason.no_answer),
        ("answer_line", "Answer:\n5", Reason.no_answer),
        ("hash", r"\boxed{5}", Reason.no_answer),
        ("last_number", "none", Reason.no_answer),
        ("choice", "C", Reason.no_answer),
        ("choice", "Answer: A or B", Reason.refused),
        ("choice", "Answer: A or b", Reason.refused),
        ("choice", "Answer: b or a.", Reason.refused),
        ("choice", "The answer is (A), (B)", Reason.refused),
        ("choice", "Answer: either A or B", Reason.refused),
        ("choice", "Answer: A triangle", Reason.no_answer),
        ("choice", "The answer is obvious.", Reason.no_answer),
        ("choice", "Answer: A. On second thought:\nAnswer: none of them", Reason.no_answer),
        ("choice", "Answer: C. The answer is A or B.", Reason.refused),
        ("choice", r"Answer: \[ A \text{ or } B \]", Reason.refused),
        ("choice", "Answer: `A` or `B`", Reason.refused),
        ("choice", "Answer: C" + "\nBut why? The answer is long." * 30, Reason.no_answer),
    ],
)
def test_nothing_to_extract(mode: str, response: str, reason: Reason) -> None:
    with pytest.raises(Rejected) as caught:
        extract(response, Extraction(mode))
    assert caught.value.verdict.reason is reason and caught.value.verdict.score == 0


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (r"\boxed{6} \boxed{5}", None),
        (r"\boxed{6} and \boxed{5}", None),
        (r"First \boxed{4}, no, \boxed{5}.", None),
        (r"\boxed{6} and \boxed{5}; so much for \boxed{}", None),
        (r"\boxed 6 or \boxed 5", None),
        (r"\boxed{5}, that is \boxed{ 5 }", " 5 "),
        ("\\boxed{6}\nNo:\n\\boxed{5}", "5"),
        (r"\boxed{6}? Checking again, it must be \boxed{5}", "5"),
        (r"\boxed{ or \boxed{5}", "5"),
        (r"\boxed{...}: \boxed{5}", "5"),
        (r"\boxed{5}, inside \boxed as asked", "5"),
    ],
)
def test_hedging_boxes_are_refused_where_asked(response: str, answer: str | None) -> None:
    last = extract(response, Extraction.boxed)
    assert last == "5" and extract(response, Extraction.boxed, boxes=Boxes.last) == last
    line = f"Answer: {response.replace(chr(10), ' ')}"
    assert extract(line, Extraction.answer_line) == last
    if answer is not None:
        assert extract(response, Extraction.boxed, boxes=Boxes.refuse_hedging) == answer.strip()
        return
    for text, mode in ((response, Extraction.boxed), (line, Extraction.answer_line)):
        with pytest.raises(Rejected, match="side by side") as caught:
            extract(text, mode, boxes=Boxes.refuse_hedging)
        assert caught.value.verdict.reason is Reason.refused


def test_reasoning_opened_by_the_prompt() -> None:
    assert Math().verify(r"so \boxed{5}", "5", {}).score == 1
    assert Math(thinking=True).verify(r"so \boxed{5}", "5", {}).reason is Reason.no_answer
    assert Math(thinking=True).verify(r"so </think> \boxed{5}", "5", {}).score == 1


HOSTILE = {
    "open braces": r"\boxed{" + "{" * 2_500_000,
    "balanced braces": r"\boxed{" + "{" * 100_000 + "}" * 100_001,
    "boxes": r"\boxed{" * 350_000,
    "empty boxes": r"\boxed{}" * 350_000,
    "empty boxes before one": r"\boxed{5}" + r"\boxed{}" * 350_000,
    "empty content": r"\boxed{"
    + r"\text{ } ~ " * 900
    + "x}"
    + (r"\boxed{" + r"\text{ } ~ " * 900 + "}") * 1000,
    "mentions": r"\boxed " * 350_000,
    "mentions in mathematics": r"\boxed $" * 350_000,
    "formulas": r"\( \boxed" + "x+" * 1_250_000,
    "nested boxes": r"\boxed{" * 5_000 + "}" * 5_000,
    "stars": "#### " + "**a" * 1_300 + "\n" + "*" * 2_500_000,
    "bold": "Answer: " + "**a** " * 600 + "*" * 300,
    "bold line": "#### " + "**" * 1_250_000,
    "prose": "The answer is (" * 175_000,
    "answers": "Answer: " * 250_000,
    "answer lines": "Answer:\n" * 125_000,
    "digits": "1" * 2_500_000,
    "commas": "1,234," * 375_000,
    "newlines": "\n" * 2_500_000,
    "spaces": " " * 2_500_000,
    "think": "<think>" * 250_000,
    "hashes": "#" * 2_500_000,
    "nul": "\x00" * 250_000 + r"\boxed{5" + "\x00}",
    "surrogates": "\ud800" * 1000 + "\\boxed{\udfff}",
    "units": r"\boxed{5" + " cm" * 95 + "x}",
    "text units": r"\boxed{5" + r" \text{m}" * 32 + "x}",
    "signs": r"\boxed{" + "-" * 290 + "5}",
    "parentheses": r"\boxed{" + "(" * 140 + "5" + ")" * 140 + "}",
    "exponents": r"\boxed{" + "x^{" * 70 + "2" + "}" * 70 + "}",
    "factorials": r"\boxed{" + "5000!+" * 40 + "1}",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_cheap(name: str) -> None:
    for mode in Extraction:
        started = process_time()
        found = Math(extraction=mode).inline(HOSTILE[name], "5", {})
        assert process_time() - started < 2, mode  # quadratic time would be minutes to hours
        assert found is None or found.score in (0, 1)
    for verifier in (Format(require_box=True, require_think=True), Match(), Random()):
        assert verifier.verify(HOSTILE[name], "5", {}).score in (0, 1)


@settings(max_examples=300, deadline=2000)
@given(st.text(), st.sampled_from(list(Extraction)))
def test_fuzz_extract_never_raises(text: str, mode: Extraction) -> None:
    for response in (text, rf"\boxed{{{text}}}", f"Answer: {text}", f"#### {text}"):
        with suppress(Rejected):
            assert extract(response, mode)


def test_format() -> None:
    think = Format(require_think=True, require_box=True)
    assert think.verify(r"<think>a</think>\boxed{5}", "", {}).reason is Reason.correct
    for bad in (
        r"\boxed{5}",
        r"<think></think>\boxed{5}",
        "<think>a</think>",
        r"<think>\boxed{5}</think> five",
        r"<think>a</think><think>b</think>\boxed{5}",
        r"x <think>a</think>\boxed{5}",
        r"<think>a</think>\boxed{5",
    ):
        found = think.verify(bad, "", {})
        assert (found.score, found.reason) == (0.0, Reason.malformed) and found.detail
    shaped = Format(pattern=r"<a>.*</a>", max_chars=12)
    assert shaped.inline("<a>x</a>", "", {}) is None  # a pattern is for a worker
    assert shaped.verify("<a>\n</a>", "", {}).score == 1
    assert shaped.verify("<a>x</a>.", "", {}).score == 0
    assert shaped.verify("<a>12345678</a>", "", {}).detail == "longer than 12 characters"
    with pytest.raises(ValueError, match="pattern is no regular expression"):
        Format(pattern="(")


def test_match() -> None:
    assert Match().verify(" abc\n", "abc", {}).score == 1
    assert Match().verify("abcd", "abc", {}).score == 0
    assert Match(strip=False).verify("abc ", "abc", {}).score == 0
    assert Match(lower=True).verify("ABC", "abc", {}).score == 1
    assert Match(extraction=Extraction.boxed).verify(r"1 + 1 = \boxed{2}", "2", {}).extracted == "2"


def test_controls() -> None:
    texts = [str(i) for i in range(4000)]
    scores = [Random(p=0.3).verify(text, "", {}).score for text in texts]
    assert scores == [Random(p=0.3).verify(text, "", {}).score for text in texts]
    assert abs(sum(scores) / len(scores) - 0.3) < 0.03
    assert scores != [Random(p=0.3, seed=1).verify(text, "", {}).score for text in texts]
    assert (Random(p=0).verify("a", "", {}).score, Random(p=1).verify("a", "", {}).score) == (0, 1)
    assert Always(value=0.25).verify("", "", {}).score == 0.25
    for bad in (lambda: Always(value=2), lambda: Random(p=-1), lambda: Math(max_chars=0)):
        with pytest.raises(ValueError, match="must be"):
            bad()


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_options_fit_their_schema(path: Path) -> None:
    loaded: Any = OmegaConf.load(path)
    schema = find(loaded.name)
    if path.stem == "python":  # which has no function of its own
        loaded.path = "my_reward.py"
    merged = OmegaConf.merge(OmegaConf.structured(schema), loaded)
    if required := OmegaConf.missing_keys(merged):  # an address, a model: only the user knows
        asks = ("judge", "reward_model", "remote", "rubric", "pairwise", "vlaa_open")
        units = ("iou", "detection", "pointing", "vlaa")
        assert path.stem in asks or (path.stem in units and required == {"boxes"}), required
        return
    made = OmegaConf.to_object(merged)
    assert isinstance(made, schema) and made.name == loaded.name


def test_every_verifier_has_its_option_and_schema() -> None:
    assert {"math_answer_line", "gsm8k", "format_tags", "format_box", "vlaa_open", *names()} == {
        path.stem for path in CONF.glob("*.yaml")
    }
    for name in names():
        assert {"name", "weight"} <= {field.name for field in fields(find(name))}
