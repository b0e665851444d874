"""Brackets, commands and functions with their arguments."""

from __future__ import annotations

from fractions import Fraction

from rlvr_cli.verifiers.mathematics.leaves import Leaves
from rlvr_cli.verifiers.mathematics.nodes import (
    Call,
    Const,
    Node,
    Num,
    Power,
    Product,
    Sym,
    inverse,
    negative,
)
from rlvr_cli.verifiers.mathematics.operators import OPERATORS, operator
from rlvr_cli.verifiers.mathematics.tokens import Token, Unreadable
from rlvr_cli.verifiers.mathematics.vocabulary import (
    ACCENTS,
    CLOSING_OF,
    FUNCTIONS,
    GREEK,
    INVERSE,
    MAX_DEPTH,
    ONE,
    SIGNS,
    number,
)


class Calls(Leaves):
    """Reads what has arguments; `grammar.Parser` reads sums, products and powers."""

    def sum(self) -> Node:
        raise NotImplementedError

    def product(self) -> Node:
        raise NotImplementedError

    def atom(self) -> Node:
        raise NotImplementedError

    def exponent(self) -> Node:
        raise NotImplementedError

    def sign(self) -> str:
        raise NotImplementedError

    def begins(self, token: Token) -> bool:
        raise NotImplementedError

    def bracket(self, opening: str) -> Node:
        if opening == "|":
            self.bars += 1
            inner = self.sum()
            self.bars -= 1
            self.take("|")
            return Call("abs", (inner,))
        closing = CLOSING_OF.get(opening)
        if closing is None:
            raise Unreadable(f"{opening} is out of place")
        bars, self.bars = self.bars, 0
        inner = self.sum()
        self.bars = bars
        self.take(closing)
        if opening in (r"\lfloor", r"\lceil"):
            return Call(opening[2:] if opening != r"\lceil" else "ceil", (inner,))
        return inner

    def argument(self) -> Node:
        """Of a command: a group, or one digit, letter or command."""
        token = self.next
        if token.kind == "number" and len(token.text) > 1 and token.text.isdigit():
            self.rest[-1] = Token("number", token.text[1:])
            return Num(Fraction(int(token.text[0])))
        if token.kind == "run":
            self.rest[-1] = Token("run" if len(token.text) > 2 else "letter", token.text[1:])
            return self.letter_alone(token.text[0])
        if token.kind == "number":
            return number(self.take().text)
        if token.kind == "letter":
            return self.letter_alone(self.take().text)
        return self.atom()

    def arguments(self) -> tuple[Node, ...]:
        self.take("(")
        bars, self.bars = self.bars, 0
        found = [self.sum()]
        while self.next.text == ",":
            self.take()
            found.append(self.sum())
        self.bars = bars
        self.take(")")
        return tuple(found)

    def command(self, name: str) -> Node:
        if name in GREEK:
            return Sym(name + self.subscript())
        match name:
            case r"\pi":
                return Const("pi") if self.next.text != "_" else Sym(name + self.subscript())
            case r"\infty":
                return Const("infinity")
            case r"\frac":
                top = self.argument()
                return Product((top, inverse(self.argument())))
            case r"\binom":
                top = self.argument()
                return Call("binom", (top, self.argument()))
            case r"\sqrt":
                return self.root()
            case r"\surd":  # of plain text: the whole number behind it, and not its first digit
                return Call("sqrt", (self.atom(),))
            case r"\hati" | r"\hatj" | r"\hatk":
                return Sym(name)
            case r"\lfloor" | r"\lceil" | r"\{":
                return self.bracket(name)
            case r"\angle" | r"\triangle":
                return Sym(f"{name} {self.take().text}")
            case r"\mathbb":
                raise Unreadable("a set of numbers")
        if name in OPERATORS:
            return operator(self, name)
        if name in ACCENTS:
            return self.accented(name)
        if name[1:] in FUNCTIONS:
            return self.function(name[1:])
        raise Unreadable(f"{name} is not known")

    def root(self) -> Node:
        degree: Node | None = None
        if self.next.text == "[":
            self.take()
            degree = self.sum()
            self.take("]")
        radicand = self.argument()
        return Call("root", (degree, radicand)) if degree is not None else Call("sqrt", (radicand,))

    def accented(self, name: str) -> Node:
        """A symbol with something above it is another symbol."""
        braces = self.next.text == "{"
        if braces:
            self.take()
        token = self.take()
        if token.kind not in ("letter", "run", "command") or (
            token.kind == "command" and token.text not in GREEK
        ):
            raise Unreadable(f"{name} over {token.text}")
        inner = token.text + self.subscript()
        if braces:
            self.take("}")
        return Sym(f"{name}{{{inner}}}{self.subscript()}")

    def function(self, name: str) -> Node:
        base: Node | None = None
        exponent: Node | None = None
        while self.next.text in ("^", "_"):
            if self.take().text == "^":
                exponent = self.exponent()
            else:
                base = self.argument()
        if base is not None and name != "log":
            raise Unreadable(f"{name} with an index")
        if exponent == negative(ONE) and name in INVERSE:
            name, exponent = INVERSE[name], None
        if self.next.text == "(":
            arguments = self.arguments()
        else:
            arguments = (self.operand(),)
        node: Node = Call(name, arguments if base is None else (base, *arguments))
        return node if exponent is None else Power(node, exponent)

    def operand(self) -> Node:
        """What a function without parentheses is applied to."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unreadable("nested too deep")
        sign = self.sign() if self.next.text in SIGNS else "+"
        factors = [self.power()]
        while self.begins(self.next) and self.next.text.removeprefix("\\") not in FUNCTIONS:
            if self.next.text == "(" or (self.next.kind == "number" and isinstance(factors[-1], Num)):
                break
            factors.append(self.power())
        self.depth -= 1
        node = factors[0] if len(factors) == 1 else Product(tuple(factors))
        return negative(node) if sign == "-" else node
