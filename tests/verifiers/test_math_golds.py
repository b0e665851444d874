"""Gold answers of the shapes that competition and course problems have: all spellings paid, no mistake."""

from __future__ import annotations

import pytest

from rlvr_cli.schema import Verification
from rlvr_cli.verifiers.math import Math
from rlvr_cli.verifiers.mathematics.rules import LetterCase, Order, Units
from rlvr_cli.verifiers.pool import Pool
from rlvr_cli.verifiers.selftest import self_test

PLAIN = (
    "204 025 -17 0 1 999 27.0 3.05 -0.125 .75 1,234 4,000,000 120000 2^{16} 7! 3^{-2} 10^{12}+1 1e-5 6.67e-11"
)
PLAIN += r" 3.0E8 50\% 12.5% \frac{17}{24} -\dfrac{5}{9} 3/8 \frac17 0.\overline{27} \binom{8}{3} C D E"
ROOTS = [
    r"2\sqrt{13}",
    r"\sqrt{51}",
    r"\frac{3\sqrt{7}}{4}",
    r"5-2\sqrt{6}",
    r"\frac{-1+\sqrt{17}}{2}",
    r"\sqrt[3]{4}",
]
ROOTS += [
    r"4\sqrt[4]{8}",
    r"\frac{1}{\sqrt{5}}",
    r"\sqrt{2+\sqrt{3}}",
    r"12+8\sqrt{3}",
    r"\frac{\sqrt{6}-\sqrt{2}}{4}",
]
CONSTANTS = [
    r"\pi",
    r"\frac{5\pi}{12}",
    r"9\pi-18",
    r"2\pi\sqrt{3}",
    "e^2",
    r"\frac{e-1}{e}",
    r"\ln 5",
    r"2\ln 2-1",
]
CONSTANTS += [
    r"\log_{2}7",
    r"\frac{\ln 3}{\ln 2}",
    r"1-\frac{\pi}{4}",
    r"\frac{\pi^2}{6}",
    r"e^{-\pi/2}",
    r"\arctan 2",
]
CONSTANTS += [
    r"\sin 20^\circ",
    r"\cos\frac{2\pi}{7}",
    r"\tan^{-1}\frac{3}{4}",
    r"-\frac{1}{2}+\frac{\sqrt{3}}{2}i",
    "7-3i",
]
CONSTANTS += ["-4i", r"3\sqrt{5}i", r"e^{i\pi/3}"]
FORMULAS = [
    "3n+2",
    "x^3-4x+1",
    "2x(x-5)",
    "(x+2)(x-3)^2",
    r"\frac{n(n+1)}{2}",
    r"\frac{x+1}{x-1}",
    "2^{n}-1",
    "a^2b-ab^2",
]
FORMULAS += [
    r"\frac{1}{2}gt^2",
    r"\frac{mv^2}{2r}",
    r"\sqrt{\frac{2h}{g}}",
    r"\frac{Q}{4\pi\epsilon_0 r^2}",
    r"A e^{-kt}",
]
FORMULAS += [
    r"\frac{R_1R_2}{R_1+R_2}",
    r"\sin^2\theta",
    r"2\cos x\sin x",
    r"\frac{x^2}{2}\ln x-\frac{x^2}{4}",
    r"\lambda^2-5\lambda",
]
FORMULAS += [
    "p-q",
    "n",
    "2a",
    "k^2+k",
    r"\frac{b}{a}",
    r"\frac{a+b+c}{3}",
    "x_1+2x_2",
    r"\omega_0\sqrt{1-\zeta^2}",
    "t^3",
]
RELATIONS = [
    "y=3x-7",
    "x+2y=5",
    "x^2+y^2=25",
    r"(x-2)^2+(y+1)^2=16",
    r"\frac{x^2}{9}+\frac{y^2}{4}=1",
    "y^2=8x",
    "3x-4y+5=0",
]
RELATIONS += [
    "f(x)=2x+1",
    "P(x)=x^2-x",
    "x=12",
    "a_n=3n-1",
    "z=x^2-y^2",
    r"x\ge 3",
    r"-2<x\leq 5",
    r"y<2x+1",
    "n=7",
    r"x \ne 4",
]
RELATIONS += [r"\frac{dy}{dx}=ky", "x^2+6x+13=0", "k>0"]
SHAPES = [
    "(3,-2)",
    r"\left(\frac{1}{2},-\frac{3}{4}\right)",
    "(1,4,9)",
    r"(2,\sqrt{5})",
    r"\left(3,\frac{\pi}{2}\right)",
]
SHAPES += [
    r"\{1,3,9\}",
    r"\{-2,2\}",
    r"\left\{\frac12,3\right\}",
    "2, 5",
    "-3, 0, 4",
    r"1,\sqrt{2}",
    r"\pm 3",
    r"1\pm\sqrt{5}",
]
SHAPES += [
    "[2,5]",
    "(-1,4)",
    "[0,1)",
    r"(-\infty,3]",
    r"(2,\infty)",
    r"[-\frac{1}{2},\frac{1}{2}]",
    r"(-\infty,-2)\cup(2,\infty)",
]
SHAPES += [
    r"[0,1]\cup[3,4)",
    r"\mathbb{R}",
    r"\emptyset",
    r"\begin{pmatrix}1\\-2\end{pmatrix}",
    r"\begin{pmatrix}2&0\\0&3\end{pmatrix}",
]
SHAPES += [
    r"\begin{bmatrix}1&2&3\\4&5&6\end{bmatrix}",
    r"\begin{pmatrix}1/2&-1\\0&\sqrt{2}\end{pmatrix}",
    "3:5",
    "1:2:4",
    "(2,3),(4,1)",
]
WORDS = [
    r"\text{Ellen}",
    "Thursday",
    r"\text{even}",
    "yes",
    r"\text{No}",
    r"\text{ellipse}",
    "no solution",
    r"\text{(B)}",
]
WORDS += [
    "ABC",
    r"\angle PQR",
    r"\overline{XY}",
    r"\text{Infinitely many}",
    "HHT",
    "Blue",
    r"\text{does not exist}",
    "True",
]
BASES = ["1101_2", "243_{5}", "777_8", "2B_{16}", "1200_3"]
UNITS = [
    r"12\text{ cm}",
    r"7.5\text{ m/s}",
    r"30^\circ",
    r"15\text{ square units}",
    r"\$4.50",
    r"90\text{ minutes}",
    "6 kg",
]
UNITS += [
    r"36^{\circ}30^{\prime}",
    r"9.8\text{ m}/\text{s}^2",
    r"5 \mathrm{~cm}",
    "10:45",
    "3:15 pm",
    r"20\text{ thousand}",
]
GOLDS = [*PLAIN.split(" "), *ROOTS, *CONSTANTS, *FORMULAS, *RELATIONS, *SHAPES, *WORDS, *BASES, *UNITS]
STRICT = Math(units=Units.require, letter_case=LetterCase.all, order=Order.as_given)


@pytest.mark.slow
@pytest.mark.parametrize("verifier", [Math(), STRICT], ids=["usual", "strict"])
def test_all_spellings_are_paid_and_no_mistake(verifier: Math) -> None:
    rows = [{"id": gold, "answer": gold, "extra": {}} for gold in GOLDS]
    with Pool({"math": verifier}, Verification(workers=2)) as pool:
        found = self_test(pool, "math", verifier, rows)
    assert [(f.kind, f.answer, f.response) for f in found.refused] == []
    assert [(f.kind, f.answer, f.response) for f in found.accepted] == []
    assert found.unscored == 0 and len(GOLDS) >= 160
    assert found.golds > 5 * len(GOLDS) and found.mutants > 7 * len(GOLDS)
    assert len(found.right) >= 5 and len(found.wrong) >= 20


def test_golds_beside_each_other_differ() -> None:
    """None is paid for its neighbour: what is decided in the parent."""
    paid = []
    for said, gold in zip(GOLDS, [*GOLDS[1:], GOLDS[0]], strict=True):
        verdict = Math().inline(f"\\boxed{{{said}}}", gold, {})
        if verdict is not None and verdict.score:
            paid.append((said, gold))
    assert not paid and len(set(GOLDS)) == len(GOLDS)
