"""What self-tests make of a gold answer: changes in every class, and spellings that say the same."""

from __future__ import annotations

import pytest
from math_rows import rows

from rlvr_cli.verifiers.extract import Extraction
from rlvr_cli.verifiers.mathematics.latex import PLAIN, Style, written
from rlvr_cli.verifiers.mathematics.nodes import Num, Power, Sym
from rlvr_cli.verifiers.mathematics.reader import read
from rlvr_cli.verifiers.mathematics.rough import differ, replaced
from rlvr_cli.verifiers.mathematics.rules import LetterCase, Order, Rules, Units
from rlvr_cli.verifiers.mathematics.spellings import right_answers, wrong_answers
from rlvr_cli.verifiers.mathematics.values import Expression, Number

BOX = Extraction.boxed
STRICT = Rules(Units.require, LetterCase.all, Order.as_given)


@pytest.mark.parametrize(
    ("gold", "kind", "wrong"),
    [
        ("12", "one off", ["13", "11"]),
        ("12", "sign", ["-12"]),
        ("12", "power of ten", ["120", r"\frac{6}{5}"]),
        ("12", "digits swapped", ["21"]),
        ("12", "letter added", ["12 w"]),
        (r"50\%", "one off", [r"51\%", r"49\%"]),
        ("(1, 2)", "swapped", ["(2,1)"]),
        ("(1, 2)", "entry", ["(10,2)", "(-1,2)"]),
        (r"\{1,2,3\}", "one missing", [r"\{2,3\}"]),
        (r"\{1,2,3\}", "entry added", [r"\{1,2,3,9973\}"]),
        ("1, 2", "one missing", ["1"]),
        ("[0,2)", "end", ["(0,2)", "[0,2]"]),
        (r"[0,\infty)", "end", [r"(0,\infty)"]),
        (r"(-\infty,1)\cup(2,3]", "end", [r"(-\infty,1] \cup (2,3]"]),
        (r"(-\infty,1)\cup(2,3]", "part missing", ["(2,3]"]),
        (
            r"\begin{pmatrix}1&2\\3&4\end{pmatrix}",
            "rows swapped",
            [r"\begin{pmatrix} 3&4\\1&2 \end{pmatrix}"],
        ),
        (
            r"\begin{pmatrix}1&2\\3&4\end{pmatrix}",
            "columns swapped",
            [r"\begin{pmatrix} 2&1\\4&3 \end{pmatrix}"],
        ),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", "transposed", [r"\begin{pmatrix} 1&3\\2&4 \end{pmatrix}"]),
        (r"\begin{pmatrix}0\\5\end{pmatrix}", "entry", [r"\begin{pmatrix} 1\\5 \end{pmatrix}"]),
        (r"2\sqrt{3}", "one off", [r"2 \sqrt{3}+1"]),
        (r"2\sqrt{3}", "entry", [r"3 \sqrt{3}", r"2 \sqrt{4}"]),
        ("3t", "letter dropped", [r"3 \cdot 1"]),
        ("3t", "letter case", ["3 T"]),
        ("x^2+x", "letter", ["w^{2}+w"]),
        ("y=2x+3", "one off", ["y=2 x+3+1"]),
        ("3x+2=7", "entry", ["3 x+2 = 8"]),
        (r"x \le 4", "flipped", [r"x \ge 4"]),
        (r"x \le 4", "end", ["x < 4"]),
        ("1<x<2", "end", [r"1 \le x < 2", r"1 < x \le 2"]),
        ("C", "letter", ["D", "B"]),
        ("Evelyn", "letters swapped", [r"\text{vEelyn}"]),
        ("ABC", "letter case", [r"\text{abc}"]),
        (r"\angle ABC", "letters swapped", [r"\angle BAC"]),
        ("101_2", "base", ["101_{3}"]),
        ("2:3", "swapped", ["3:2"]),
        ("3:30 pm", "half of the day", [r"3:30\text{ am}"]),
        ("5", "hedged", [r"5 \text{ or } 6"]),
        ("5", "universal", ["1=1", "x^2+1=0"]),
        (r"\emptyset", "not empty", [r"\{0\}"]),
    ],
)
def test_changes_by_hand(gold: str, kind: str, wrong: list[str]) -> None:
    found = wrong_answers(gold, Rules(), BOX)[kind]
    assert found and set(found) <= set(wrong), found


@pytest.mark.parametrize(
    ("gold", "kind"),
    [
        ("(1,1)", "swapped"),
        (r"x-x", "sign"),  # it is 0: no change of sign
        ("a", "letter case"),
        (r"[0,\infty)", "swapped"),
        (r"(0,1]\cup[1,2)", "end"),  # the other part holds 1
        ("1, 1", "one missing"),
        ("Evelyn", "letter case"),
        ("10 cm", "unit"),
        (r"\begin{pmatrix}1&1\\1&1\end{pmatrix}", "rows swapped"),
    ],
)
def test_no_change_that_may_leave_the_value(gold: str, kind: str) -> None:
    expected = {"a": ["A"]}.get(gold)
    assert wrong_answers(gold, Rules(), BOX).get(kind) == expected


def test_the_options_of_the_verifier_decide_what_is_a_mistake() -> None:
    assert wrong_answers("10 cm", STRICT, BOX)["unit"] == [r"10\text{ kg}"]
    assert wrong_answers("10 cm", STRICT, BOX)["unit missing"] == ["10"]
    assert wrong_answers("1, 2", STRICT, BOX)["swapped"] == ["2, 1"]
    assert wrong_answers("Evelyn", STRICT, BOX)["letter case"] == [r"\text{eVELYN}"]
    assert right_answers("1, 2", Rules(), BOX)["other order"] == ["2, 1"]
    assert "other order" not in right_answers("1, 2", STRICT, BOX)
    assert right_answers("10 cm", Rules(), BOX)["another unit, not compared"] == [r"10\text{ kg}"]
    assert "another unit, not compared" not in right_answers("10 cm", STRICT, BOX)
    lenient = Rules(letter_case=LetterCase.none)
    assert "letter case" not in wrong_answers("3t", lenient, BOX) | wrong_answers("ABC", lenient, BOX)


@pytest.mark.parametrize(
    ("gold", "spellings"),
    [
        ("1234", ["1,234", "1{,}234", r"1\,234", "1.234e3", r"1.234 \times 10^{3}", "1234."]),
        ("0.5", [r"\frac{1}{2}", "$0.5$", r"\displaystyle 0.5"]),
        (r"\frac{3}{4}", [r"\dfrac{3}{4}", "0.75"]),
        ("(1,2)", ["(1, 2)", r"\left(1,2\right)", r"\left( 1, 2 \right)"]),
        ("x^2+1", ["1+x^{2}", "x^{2} + 1"]),
        ("yes", [r"\text{yes}", r"\text{YES}"]),
        ("C", ["(C)", r"\text{C}", r"\textbf{(C)}"]),
        ("x=5", ["5"]),
        (r"28\%", [r"28\text{ percent}"]),
    ],
)
def test_spellings_by_hand(gold: str, spellings: list[str]) -> None:
    found = {text for texts in right_answers(gold, Rules(), BOX).values() for text in texts}
    assert set(spellings) | {gold} <= found


def test_what_looks_for_a_number_or_a_letter_gets_one() -> None:
    assert right_answers("1,234", Rules(), Extraction.last_number) == {"as written": ["1,234"]}
    assert wrong_answers("12", Rules(), Extraction.last_number)["inverse"] == ["1/12"]
    assert wrong_answers(r"12\%", Rules(), Extraction.last_number)["sign"] == [r"-12\%"]
    assert wrong_answers(r"\sqrt{2}", Rules(), Extraction.last_number) == {}
    assert set(wrong_answers("C", Rules(), Extraction.choice)) == {"letter", "hedged"}


def test_nothing_wrong_is_the_gold_answer_or_a_spelling_of_it() -> None:
    for gold in {row.gold for row in rows(5, per_kind=3)}:
        for rules in (Rules(), STRICT):
            wrong = {text for texts in wrong_answers(gold, rules, BOX).values() for text in texts}
            right = {text for texts in right_answers(gold, rules, BOX).values() for text in texts}
            assert not wrong & right and len(wrong) >= 3, gold


@pytest.mark.parametrize("style", [PLAIN, Style(r"\dfrac", spaced=True, sized=True)])
def test_a_value_is_read_again_as_it_was_written(style: Style) -> None:
    golds = sorted({row.gold for row in rows(6, per_kind=3)})
    lost = []
    for gold in golds:
        value = read(gold)
        again = read(written(value, style))
        trees = [
            v.tree if isinstance(v, Expression) else Num(v.value)
            for v in (value, again)
            if isinstance(v, Expression | Number)
        ]
        if value != again and (len(trees) < 2 or differ(*trees)) and written(again) != written(value):
            lost.append((gold, written(value, style)))
    assert not lost and len(golds) > 80


def test_rough_values() -> None:
    square, x = Power(Sym("x"), Num(2)), Sym("x")  # type: ignore[arg-type]
    assert differ(square, x) and not differ(square, square)
    assert replaced(square, x, Sym("y")) == Power(Sym("y"), Num(2))  # type: ignore[arg-type]
    assert not differ(Power(Num(0), Num(-1)), x)  # type: ignore[arg-type]
