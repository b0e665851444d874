"""The leaves of an expression: numbers, letters with their subscripts, runs of letters, upright names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from rlvr_cli.verifiers.mathematics.nodes import Call, Const, Node, Num, Product, Sym
from rlvr_cli.verifiers.mathematics.tokens import Token, Unreadable
from rlvr_cli.verifiers.mathematics.vocabulary import END, FUNCTIONS, number, proper, repeating


class Leaves:
    """The tokens that are left, and what needs no look into brackets. `grammar.Parser` does the rest."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.rest = list(tokens[::-1])
        self.depth = 0
        self.bars = 0

    @property
    def next(self) -> Token:
        return self.rest[-1] if self.rest else END

    def take(self, text: str = "") -> Token:
        if not self.rest or (text and self.rest[-1].text != text):
            raise Unreadable(f"{text or 'something'} is missing")
        return self.rest.pop()

    def command(self, name: str) -> Node:
        raise NotImplementedError

    def function(self, name: str) -> Node:
        raise NotImplementedError

    def arguments(self) -> tuple[Node, ...]:
        raise NotImplementedError

    def power(self) -> Node:
        raise NotImplementedError

    def number(self, token: Token) -> Node:
        value = number(token.text)
        after = self.next
        if after.text in (r"\overline", r"\dot") and "." in token.text:
            self.take()
            return repeating(token.text, self.digits())
        whole = token.text.isdigit()
        if whole and after.text == r"\frac":  # a mixed number
            mark = list(self.rest)
            fraction = self.command(self.take().text)
            part = proper(fraction)
            if part is not None:
                return Num(value.value + part)
            self.rest = mark
        if whole and after.kind == "number" and after.spaced and after.text.isdigit() and len(self.rest) > 2:
            slash, bottom = self.rest[-2], self.rest[-3]  # 1 1/2
            if slash.text == "/" and bottom.kind == "number" and bottom.text.isdigit() and int(bottom.text):
                del self.rest[-3:]
                return Num(value.value + Fraction(int(after.text), int(bottom.text)))
        return value

    def digits(self) -> str:
        braces = self.next.text == "{"
        if braces:
            self.take()
        token = self.take()
        if token.kind != "number" or not token.text.isdigit():
            raise Unreadable("digits are missing")
        if braces:
            self.take("}")
        return token.text

    def letter(self, letter: str) -> Node:
        name = letter + self.subscript()
        if self.next.text == "'":
            return Sym(name)
        if name in ("e", "i"):
            return Const(name)
        bracket = [token.text for token in self.rest[-3:]]
        if bracket[-1:] == ["("] and bracket[0] == ")" and self.rest[-2].kind == "number":
            return Call(name, self.arguments())  # I(0) is no I times 0
        if name in ("f", "g", "h", "F", "G") and self.next.text == "(" and not self.next.spaced:
            return Call(name, self.arguments())
        return Sym(name)

    def subscript(self) -> str:
        if self.next.text != "_":
            return ""
        self.take()
        if self.next.text != "{":
            return f"_{{{self.take().text}}}"
        depth, parts = 0, list[str]()
        while True:
            token = self.take()
            depth += {"{": 1, "}": -1}.get(token.text, 0)
            if depth == 0:
                return f"_{{{''.join(parts[1:])}}}"
            parts.append(token.text)

    def run(self, token: Token) -> Node:
        text = token.text
        if text in FUNCTIONS and self.next.text == "(":
            return self.function(text)
        for name in ("sqrt", "arcsin", "arccos", "arctan", "sin", "cos", "tan", "ln", "log"):
            if text.startswith(name) and len(text) - len(name) == 1:
                self.rest.append(Token("letter", text[-1]))
                return self.command("\\" + name)
        if len(text) > 4 or (len(text) == 4 and not text.islower()):
            raise Unreadable(f"{text} is a word")
        factors: list[Node] = [self.letter_alone(letter) for letter in text[:-1]]
        self.rest.append(Token("letter", text[-1]))
        return Product((*factors, self.power()))

    def letter_alone(self, letter: str) -> Node:
        return Const(letter) if letter in "ei" else Sym(letter)

    def text(self, text: str) -> Node:
        """A name in upright or bold type; one letter is the letter."""
        if len(text) == 1 and text.isalpha():
            return self.letter(text)
        if text in FUNCTIONS or text in ("arcsinh", "arccosh", "arctanh", "sgn"):
            return self.function(text)
        if text == "pi":
            return Const("pi")
        if re.fullmatch(r"[A-Za-z][A-Za-z0-9 ]*", text) is None:
            raise Unreadable("text")
        return Sym(f"\\text{{{text}}}{self.subscript()}")
