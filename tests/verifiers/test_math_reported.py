"""Kinds of answers that are easily judged wrongly, a table a kind: (answer, gold answer)."""

from __future__ import annotations

import pytest

from rlvr_cli.core.types import Reason
from rlvr_cli.verifiers.extract import Boxes, Extraction
from rlvr_cli.verifiers.math import Math

EQUAL: dict[str, list[tuple[str, str]]] = {
    "matrices": [
        (r"\begin{pmatrix}2\\3\end{pmatrix}", r"\begin{pmatrix} 2 \\ 3 \end{pmatrix}"),
        (r"\begin{pmatrix} 2 \\[4pt] 3 \end{pmatrix}", r"\begin{pmatrix}2\\3\end{pmatrix}"),
        (
            r"\begin{bmatrix} 1/2 & 0.5 \\ -1 & x \end{bmatrix}",
            r"\begin{pmatrix}\frac12&\frac12\\-1&x\end{pmatrix}",
        ),
        ("\\begin{pmatrix}\n 1 & 2 \\\\\n 3 & 4\n\\end{pmatrix}", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"),
        (
            r"\left(\begin{array}{cc} 1 & 2 \\ 3 & 4 \end{array}\right)",
            r"\begin{pmatrix}1&2\\3&4\end{pmatrix}",
        ),
    ],
    "equations": [
        *(("y = 3 + 2x", "y=2x+3"), ("2x - y + 3 = 0", "y=2x+3"), ("x^2 = -18x - 86", "x^2+18x+86=0")),
        *((r"\frac{x^2}{4}+\frac{y^2}{9}=1", "9x^2+4y^2=36"), ("x=4", "4"), ("f(x)=x^2+1", "x^2+1")),
    ],
    "letters": [
        *(("-10t+5", "5-10t"), (r"3\,t", "3t"), (r"2 a b \pi", r"2 \pi a b"), ("R/r", r"\frac{R}{r}")),
        *((r"\angle{ABC}", r"\angle ABC"), (r"\text{HTH}", "HTH"), (r"\omega_{0}^2", r"\omega_0^{2}")),
    ],
    "bases": [("10_{8}", "10_8"), ("(1011)_2", "1011_2"), (r"2A_{16}", "2A_{16}")],
    "thousands": [
        *((r"5\text{ thousand}", "5000"), ("5000", r"5\text{ thousand}"), (r"32,\! 349", "32349")),
        *((r"1.5 \text{ million}", "1,500,000"), (r"1\,000\,000", "10^6")),
    ],
    "powers of ten": [
        *((r"4.5 \times 10^{33}", "4.5e33"), ("2e3", "2000"), ("1e-7", "0.0000001"), ("10^{5}", "1e5")),
        *((r"1.00\cdot 10^{-7}", "1e-07"), (r"6.02\times 10^{23}", "6.02E+23")),
    ],
    "complex numbers": [
        *(("3+4i", "3+4 i"), (r"2i\sqrt{2}", r"2\sqrt{2}i"), ("4i+3", "3+4i"), ("i^2", "-1")),
        (r"-\frac{1}{2}+\frac{\sqrt{3}}{2}i", r"-\frac12 + \frac{i\sqrt{3}}{2}"),
    ],
    "units": [
        *(
            (r"5 \mathrm{~m} / \mathrm{s}", "5"),
            ("60 km/h", "60"),
            ("10weeks", "10"),
            (r"12\text{ cm}^2", "12"),
        ),
        *((r"9.8\ \mathrm{m/s^2}", "9.8"), ("8", "8个"), (r"\$ 4.50", "4.5")),
    ],
    "logarithms": [
        *((r"\log_3 5", r"\log_{3}5"), (r"1+\log_2 3", r"\log_2 3+1"), (r"\ln 2 + 3", r"3 + \ln{2}")),
        (r"\frac{\ln 5}{\ln 3}", r"\log_3 5"),
    ],
    "words": [
        *((r"\text{yes}", "Yes"), (r"\text{No}", "no"), (r"\text{ Odd }", "odd"), (r"\textbf{(C)}", "C")),
        *((r"\mathbf{C}", "C"), ("no  solution", r"\text{No solution}")),
    ],
    "percentages": [
        (r"10\text{ percent}", "0.1"),
        ("28 pct", r"28\%"),
        (r"12.5\%", r"\frac18"),
        (r"50\,\%", "50"),
    ],
    "spellings": [
        *(
            (r"\emptyset", r"\varnothing"),
            (r"\{\}", r"\emptyset"),
            (r"\frac13", r"0.\overline{3}"),
            ("E_1", "E_{1}"),
        ),
        *(
            (r"\frac{7}{6}", r"1.1\overline{6}"),
            (r"\sin 30^\circ", r"\frac12"),
            ("（1，2）", "(1,2)"),
            ("5。", "5"),
        ),
        *((r"\dfrac{\pi}{2}", r"\tfrac{\pi}{2}"), (r"x\leqslant 3", r"x \le 3"), (r"\exp(2)", "e^2")),
        *((r"\left[0,\,1\right)", "[0,1)"), (r"x \in [0,1)", "[0,1)")),
    ],
    "angles": [
        (r"63^{\circ}45^{\prime}", r"63^{\circ} 45^{\prime}"),
        *(
            (r"63^\circ 45'", r"63^{\circ}45^{\prime}"),
            (r"63^\circ", "63"),
            (r"63\text{ degrees}", r"63^{\circ}"),
        ),
    ],
}
DIFFERENT: dict[str, list[tuple[str, str]]] = {
    "matrices": [
        (r"\begin{pmatrix} 0 \\ 5 \end{pmatrix}", r"\begin{pmatrix} 2 \\ 3 \end{pmatrix}"),
        (r"\begin{pmatrix}3\\2\end{pmatrix}", r"\begin{pmatrix} 2 \\ 3 \end{pmatrix}"),
        (r"\begin{pmatrix}3&4\\1&2\end{pmatrix}", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"),
        (r"\begin{pmatrix}1&3\\2&4\end{pmatrix}", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"),
        ("5", r"\begin{pmatrix} 2 \\ 3 \end{pmatrix}"),
    ],
    "equations": [
        *(
            ("x^2+1=0", "x^2+18x+86=0"),
            ("1=1", r"\log_2(8)=3"),
            (r"\log_2(4)=2", r"\log_2(8)=3"),
            ("x=x", "y=2x+3"),
        ),
        *(("x^2+y^2+1=0", "x^2+y^2+4=0"), ("2x=4", "4"), ("2x=4", "2"), ("x^2=4", "4"), ("2=x+1", "x+1")),
        *(("y=2x+3", "y=2x+4"), ("-1<0", "x<0")),
    ],
    "letters": [
        *(
            ("3", "3t"),
            ("3t", "3"),
            ("5", "5g"),
            ("-10", "-10s"),
            (r"2 \pi a b", r"2 \pi"),
            (r"2 \pi", r"2 \pi a b"),
        ),
        *(("1", r"\frac{R}{r}"), ("v", "V"), ("ABC", "BAC"), (r"\angle ABC", r"\angle ACB"), ("HTH", "THH")),
        *(("abc", "ABC"), (r"\alpha", r"\beta"), ("x^2+2T", "x^2+2t")),
    ],
    "bases": [("10_2", "10_8"), ("11_2", "10_2"), (r"2B_{16}", "2A_{16}"), ("10_{2}0", "10_2")],
    "thousands": [
        (r"5\text{ thousand}", "5"),
        (r"5 \text{ million}", r"5\text{ thousand}"),
        ("32,34", "3234"),
    ],
    "powers of ten": [
        *(
            ("4.5 e 33", "4.5e33"),
            (r"4.5 \times 10^{32}", "4.5e33"),
            ("4.5e-33", "4.5e33"),
            ("4.5", "4.5e33"),
        ),
        *(("2e", "2"), ("2e3", r"2e^3")),
    ],
    "complex numbers": [
        *(
            ("3-4i", "3+4i"),
            ("4+3i", "3+4i"),
            ("3+4", "3+4i"),
            (r"2\sqrt{2}", r"2\sqrt{2}i"),
            ("3+4I_1", "3+4i"),
        ),
    ],
    "logarithms": [(r"\log_5 3", r"\log_3 5"), (r"\log_3 6", r"\log_3 5"), (r"\log_2 4", r"1+\log_2 3")],
    "words": [(r"\text{yes}", r"\text{no}"), (r"\text{ye}", "yes"), ("yse", "yes"), ("D", r"\textbf{(C)}")],
    "percentages": [(r"10\text{ percent}", "0.01"), ("28 pct", "2800"), (r"1\%", "10")],
    "spellings": [
        *((r"\{0\}", r"\varnothing"), (r"\{\varnothing\}", r"\varnothing"), (r"\frac13", r"0.\overline{4}")),
        *(("0.3", r"0.\overline{3}"), ("E_2", "E_{1}"), ("e_1", "E_1"), (r"\sin 30", r"\sin 30^\circ")),
        *(("(0,1]", "[0,1)"), ("x<3", r"x \le 3")),
    ],
    "angles": [
        (r"63^{\circ} 54^{\prime}", r"63^{\circ} 45^{\prime}"),
        *((r"63^\circ", r"63^{\circ} 45^{\prime}"), (r"63.45^\circ", r"63^{\circ} 45^{\prime}")),
    ],
    "roots": [("2", r"\pm 2"), ("1", "1, 2"), ("1, 3", "1, 2"), ("1, 2, 3", "1, 2"), (r"\pm 2", r"\pm 2, 0")],
}


def score(said: str, gold: str) -> float:
    return Math().verify(f"So it is $\\boxed{{{said}}}$.", gold, {}).score


@pytest.mark.parametrize("kind", EQUAL)
def test_the_same_written_otherwise(kind: str) -> None:
    assert [(said, gold) for said, gold in EQUAL[kind] if score(said, gold) != 1] == []


@pytest.mark.parametrize("kind", DIFFERENT)
def test_something_else(kind: str) -> None:
    assert [(said, gold) for said, gold in DIFFERENT[kind] if score(said, gold) != 0] == []


def test_no_answer_is_equal_to_any_gold_answer() -> None:
    golds = sorted({gold for table in (EQUAL, DIFFERENT) for pairs in table.values() for _, gold in pairs})
    paid = []
    for said in ("1=1", "x^2+1=0", "x=x", "0=0", r"\infty", r"\frac{0}{0}", "x", r"\mathbb{R}", r"\pm\infty"):
        paid += [(said, gold) for gold in golds[::6] if score(said, gold)]
    assert paid == []


@pytest.mark.parametrize(
    ("mode", "response", "gold"),
    [
        ("boxed", r"It is \boxed{5}, inside \boxed as asked.", "5"),
        ("boxed", r"\boxed 5", "5"),
        ("boxed", r"First \boxed{4}, no, \boxed{5}.", "5"),
        ("hash", "so\n#### **42**", "42"),
        ("answer_line", "**Final Answer**: **73**.", "73"),
        ("choice", "Answer: C\nGiven all this, the answer is obvious.", "C"),
        ("choice", r"The answer is \[ \boxed{\text{C}} \]", "C"),
        ("choice", "Answer: `C`", "C"),
    ],
)
def test_where_the_answer_is(mode: str, response: str, gold: str) -> None:
    verifier = Math(extraction=Extraction(mode))
    assert verifier.verify(response, gold, {}).reason is Reason.correct
    other = "D" if gold == "C" else "4"
    assert verifier.verify(response, other, {}).reason is Reason.wrong


def test_several_boxes() -> None:
    hedged = r"First \boxed{4}, no, \boxed{5}."
    strict = Math(boxes=Boxes.refuse_hedging)
    assert [strict.verify(hedged, gold, {}).reason for gold in "45"] == [Reason.refused] * 2
    assert strict.verify(r"\boxed{5}", "5", {}).reason is Reason.correct
    assert "box" in (Math().check_gold(r"\boxed{4} or \boxed{5}", {}) or "")
    assert Math().check_gold(r"so \boxed{5}, that is $\boxed{5}$", {}) is None
