"""Structures of several values, rightly and wrongly."""

from __future__ import annotations

from fractions import Fraction
from random import Random

from math_rows.spelling import Case, as_fraction, fraction, signed


def _entries(rng: Random, count: int) -> list[Fraction]:
    """All different, and different without their signs."""
    made: list[Fraction] = []
    while len(made) < count:
        value = fraction(rng) if rng.random() < 0.25 else Fraction(signed(rng, 0, 30))
        if abs(value) not in map(abs, made):
            made.append(value)
    return made


def _changed(values: list[Fraction], rng: Random) -> dict[str, list[list[Fraction]]]:
    i = rng.randrange(len(values))
    other = list(values)
    other[i] += rng.choice((1, -1)) * 100
    turned = [-value if value and at == i else value for at, value in enumerate(values)]
    made = {"entry": [other], "dropped": [values[:-1], values[1:]], "added": [[*values, Fraction(77)]]}
    return made | ({"sign": [turned]} if turned != values else {})


def _joined(values: list[Fraction], rng: Random, comma: str = ",") -> str:
    return comma.join(as_fraction(value, rng) for value in values)


def ordered(rng: Random) -> Case:
    values = _entries(rng, rng.randint(2, 4))

    def forms(items: list[Fraction]) -> list[str]:
        a, b, c = (_joined(items, rng, comma) for comma in (",", ", ", ",\\ "))
        return [
            f"({a})",
            f"({b})",
            f"\\left({a}\\right)",
            f"\\left( {b} \\right)",
            f"( {b} )",
            f"({c})",
            f"\\bigl({a}\\bigr)",
        ]

    wide = f"（{_joined(values, rng, '，')}）"
    letters = ",".join("xyzw"[: len(values)])
    same = [*forms(values), *forms(values), wide, f"({letters})=({_joined(values, rng)})"]
    wrong = {
        why: [rng.choice(forms(each)) for each in made if len(each) > 1]
        for why, made in _changed(values, rng).items()
    }
    wrong["swapped"] = [rng.choice(forms([values[1], values[0], *values[2:]]))]
    wrong["one value"] = [as_fraction(values[0], rng)]
    return Case(forms(values)[:2], same, wrong)


def collection(rng: Random) -> Case:
    """A set."""
    values = _entries(rng, rng.randint(2, 4))

    def forms(items: list[Fraction]) -> list[str]:
        items = rng.sample(items, len(items))
        a, b = _joined(items, rng), _joined(items, rng, ", ")
        return [
            f"\\{{{a}\\}}",
            f"\\{{ {b} \\}}",
            f"\\left\\{{{b}\\right\\}}",
            f"\\left\\{{ {a} \\right\\}}",
            f"\\lbrace {a} \\rbrace",
        ]

    wrong = {why: [rng.choice(forms(each)) for each in made] for why, made in _changed(values, rng).items()}
    return Case([f"\\{{{_joined(values, rng)}\\}}"], [*forms(values), *forms(values)], wrong)


def several(rng: Random) -> Case:
    """All roots, in any order."""
    values = _entries(rng, rng.randint(2, 3))

    def forms(items: list[Fraction]) -> list[str]:
        written = [as_fraction(value, rng) for value in rng.sample(items, len(items))]
        words = ", ".join(written[:-1]) + " \\text{ and } " + written[-1]
        named = [f"x={each}" for each in written]
        return [
            ", ".join(written),
            words,
            ", ".join(named),
            " \\text{ or } ".join(named),
            ",\\ ".join(written),
        ]

    wrong = {
        why: [rng.choice(forms(each)) for each in made if len(each) > 1]
        for why, made in _changed(values, rng).items()
    }
    wrong["one root missing"] = [as_fraction(values[0], rng), as_fraction(values[-1], rng)]
    return Case(
        [", ".join(as_fraction(value, rng) for value in values)], [*forms(values), *forms(values)], wrong
    )


def plus_minus(rng: Random) -> Case:
    a, root = rng.randint(2, 40), rng.choice(["", "\\sqrt{3}", "\\sqrt{7}", "i"])
    value = f"{a}{root}"
    same = [f"\\pm {value}", f"\\pm{value}", f"{value}, -{value}", f"-{value}, {value}", f"x=\\pm {value}"]
    same += [
        f"x = {value} \\text{{ or }} x = -{value}",
        f"{value} \\text{{ and }} -{value}",
        f"\\pm {{{value}}}",
    ]
    wrong = {
        "one root missing": [value, f"-{value}", f"x={value}"],
        "entry": [f"\\pm {a + 1}{root}", f"{value}, -{a + 1}{root}"],
        "dropped": [f"\\pm {a}" if root else f"\\pm {a}i", f"\\pm {root or 1}"],
        "sum": [f"0 \\cdot {value}", f"0, {value}"],
    }
    return Case(same[:3], same, wrong)


def interval(rng: Random) -> Case:
    low, high = sorted(_entries(rng, 2))
    left, right = rng.choice("[("), rng.choice("])")
    infinite = rng.choice(["", "", "low", "high"])
    a = "-\\infty" if infinite == "low" else as_fraction(low, rng)
    b = "\\infty" if infinite == "high" else as_fraction(high, rng)
    left, right = "(" if infinite == "low" else left, ")" if infinite == "high" else right

    def forms(a: str, b: str, left: str, right: str) -> list[str]:
        bare = f"{left}{a},{b}{right}"
        spaced = f"{left}{a}, {b}{right}"
        return [
            bare,
            spaced,
            f"\\left{left}{a},{b}\\right{right}",
            f"\\left{left} {a} , {b} \\right{right}",
            f"{left} {a}, {b} {right}",
        ]

    same = [
        *forms(a, b, left, right),
        f"x \\in {left}{a}, {b}{right}",
        f"x\\in\\left{left}{a},{b}\\right{right}",
    ]
    if infinite == "high":
        same += forms(a, "+\\infty", left, right)
    turned = {"[": "(", "(": "[", "]": ")", ")": "]"}
    wrong = {
        "end": [
            *([rng.choice(forms(a, b, turned[left], right))] if infinite != "low" else []),
            *([rng.choice(forms(a, b, left, turned[right]))] if infinite != "high" else []),
        ],
        "entry": [rng.choice(forms(a, "99", left, "]")), rng.choice(forms("-99", b, "[", right))],
        "swapped": [rng.choice(forms(b, a, left, right))],
        "half": [f"{left}{a},\\infty)", b] if not infinite else [],
        "all": ["(-\\infty,\\infty)"],
    }
    return Case([same[0], same[1]], same, wrong)


def union(rng: Random) -> Case:
    a, b, c, d = (as_fraction(value, rng) for value in sorted(_entries(rng, 4)))
    ends = rng.choice(["(]", "()", "[)", "[]"])
    parts = [f"(-\\infty,{a}{ends[1]}", f"[{b},{c})", f"{ends[0]}{d},\\infty)"]
    if rng.random() < 0.5:
        parts.pop(1)
    same = [" \\cup ".join(parts), "\\cup".join(parts), " \\cup ".join(parts[::-1]), " ∪ ".join(parts)]
    same.append("\\cup ".join(part.replace(",", ", ") for part in parts))
    same.append("x \\in " + " \\cup ".join(parts))
    closed = {"(": "[", "[": "(", ")": "]", "]": ")"}
    wrong = {
        "end": [" \\cup ".join([parts[0][:-1] + closed[parts[0][-1]], *parts[1:]])],
        "dropped": [parts[0], " \\cup ".join(parts[:-1])],
        "entry": [" \\cup ".join([f"(-\\infty,-99{ends[1]}", *parts[1:]])],
        "cut": [" \\cap ".join(parts)],
        "all": ["\\mathbb{R}"],
    }
    return Case([same[0], same[1]], same, wrong)


def matrix(rng: Random) -> Case:
    height, width = rng.choice([(2, 1), (3, 1), (2, 2), (2, 2), (3, 3), (2, 3)])
    values = _entries(rng, height * width)

    def forms(values: list[Fraction], width: int) -> list[str]:
        made = []
        for name, column, row in [
            ("pmatrix", " & ", " \\\\ "),
            ("pmatrix", "&", "\\\\"),
            ("bmatrix", " & ", " \\\\ "),
            ("pmatrix", " & ", " \\\\[4pt] "),
            ("pmatrix", "&", " \\\\\n "),
            ("pmatrix", " & ", "\\\\ "),
        ]:
            lines = [values[at : at + width] for at in range(0, len(values), width)]
            body = row.join(column.join(as_fraction(value, rng) for value in line) for line in lines)
            made.append(f"\\begin{{{name}}} {body} \\end{{{name}}}")
        return made

    lines = [values[at : at + width] for at in range(0, len(values), width)]
    wrong = {why: made for why, made in _changed(values, rng).items() if why in ("entry", "sign")}
    wrong |= {
        "rows swapped": [[v for line in [lines[1], lines[0], *lines[2:]] for v in line]],
        "row dropped": [values[:-width]],
    }
    if width > 1:
        wrong["columns swapped"] = [[v for line in lines for v in [line[1], line[0], *line[2:]]]]
    answers = {why: [rng.choice(forms(each, width)) for each in made] for why, made in wrong.items()}
    if height == width:
        turned = [line[at] for at in range(width) for line in lines]
        answers["transposed"] = [rng.choice(forms(turned, width))]
    answers["one value"] = [as_fraction(values[0], rng), "0"]
    return Case(forms(values, width)[:1], [*forms(values, width), *forms(values, width)], answers)


SHAPES = {each.__name__: each for each in (ordered, collection, several, plus_minus, interval, union, matrix)}
