"""Numbers, expressions, words and the like -> others that are not equal, by class of mistake."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

from rlvr_cli.verifiers.mathematics.nodes import Const, Node, Num, Product, Sum, Sym, negative, symbols, walk
from rlvr_cli.verifiers.mathematics.rough import differ, replaced
from rlvr_cli.verifiers.mathematics.rules import LetterCase, Rules
from rlvr_cli.verifiers.mathematics.values import Based, Expression, Letter, Number, Time, Value, Word

Changes = dict[str, list[Value]]
"""Class of mistake -> values with it."""

STRANGE = ("w", "u", "v")
"""Letters for symbols that do not occur; none of them is a unit."""


def numbers(value: Fraction) -> dict[str, list[Fraction]]:
    """Rational numbers that are not `value`: one off, sign, factor ten, inverse, two digits swapped."""
    made = {"one off": [value + 1, value - 1], "sign": [-value], "power of ten": [value * 10, value / 10]}
    made["inverse"] = [1 / value] if value else []
    digits = str(abs(value.numerator))
    for i, (one, other) in enumerate(pairwise(digits)):
        if one != other:
            turned = Fraction(int(digits[:i] + other + one + digits[i + 2 :]), value.denominator)
            made["digits swapped"] = [-turned if value < 0 else turned]
            break
    return {kind: kept for kind, found in made.items() if (kept := [n for n in found if n != value])}


def number(value: Number, rules: Rules) -> Changes:
    made: Changes = {kind: [Number(n) for n in found] for kind, found in numbers(value.value).items()}
    if value.value:
        made["letter added"] = [Expression(Product((Num(value.value), Sym("w"))))]
    return made


def expression(value: Expression, rules: Rules) -> Changes:
    tree, names = value.tree, symbols(value.tree)
    if Const("infinity") in walk(tree):
        return {}
    strange = next(letter for letter in (*STRANGE, "W") if letter not in names)
    tries: dict[str, list[Node]] = {
        "sign": [negative(tree)],
        "power of ten": [Product((Num(Fraction(10)), tree))],
        "letter added": [Product((tree, Sym(strange)))],
        "letter dropped": [replaced(tree, Sym(name), Num(Fraction(1))) for name in sorted(names)[:1]],
        "letter": [replaced(tree, Sym(name), Sym(strange)) for name in sorted(names)[:1]],
        "entry": list(_with_another_number(tree)),
    }
    single = [n for n in sorted(names) if len(n) == 1 and n.swapcase() not in names]
    if rules.letter_case is not LetterCase.none:
        tries["letter case"] = [replaced(tree, Sym(name), Sym(name.swapcase())) for name in single[:1]]
    made: Changes = {"one off": [Expression(Sum((tree, Num(Fraction(1)))))]}
    return made | {kind: [Expression(t) for t in trees if differ(tree, t)] for kind, trees in tries.items()}


def _with_another_number(tree: Node) -> Iterator[Node]:
    """The tree with its first number of two or more made one larger."""
    for node in walk(tree):
        if isinstance(node, Num) and node.value >= 2 and node.value.denominator == 1:
            yield replaced(tree, node, Num(node.value + 1))
            return


def letter(value: Letter, rules: Rules) -> Changes:
    at = ord(value.letter)
    return {"letter": [Letter(chr(n)) for n in (at + 1, at - 1) if ord("A") <= n <= ord("Z")]}


def word(value: Word, rules: Rules) -> Changes:
    text, mark = (value.text[1:], value.text[0]) if value.text[:1] in "∠△→↔⌒" else (value.text, "")
    made = {"letter dropped": [text[:-1]], "letter added": [f"{text}x"]}
    turned = next((text[:i] + b + a + text[i + 2 :] for i, (a, b) in enumerate(pairwise(text)) if a != b), "")
    if mark in ("", "∠"):
        made["letters swapped"] = [turned]
    if (value.name or rules.letter_case is LetterCase.all) and rules.letter_case is not LetterCase.none:
        made["letter case"] = [text.swapcase()]
    same = text.lower()
    return {
        kind: [
            Word(mark + other, value.name)
            for other in found
            if other and (kind == "letter case" or other.lower() != same)
        ]
        for kind, found in made.items()
    }


def based(value: Based, rules: Rules) -> Changes:
    return {
        "base": [replace(value, base=value.base + 1)],
        "digit dropped": [replace(value, digits=value.digits[:-1] or "1")],
    }


def time(value: Time, rules: Rules) -> Changes:
    made: Changes = {
        "entry": [
            replace(value, minutes=(value.minutes + 1) % 60),
            replace(value, hours=value.hours % 12 + 1),
        ]
    }
    other = {"am": "pm", "pm": "am", "a.m.": "p.m.", "p.m.": "a.m."}.get(value.half)
    return made | ({"half of the day": [replace(value, half=other)]} if other else {})
