r"""Tokens -> an expression tree, by recursive descent with a bounded depth.

What stands side by side is multiplied, except two numbers: `5 6` is no number. A function without
parentheses takes the product that follows it up to the next function, sign or slash: `\sin 2x`.
"""

from __future__ import annotations

from collections.abc import Sequence

from rlvr_cli.verifiers.mathematics.calls import Calls
from rlvr_cli.verifiers.mathematics.nodes import Call, Node, Num, Power, Product, Sum, Sym, inverse, negative
from rlvr_cli.verifiers.mathematics.tokens import Token, Unreadable
from rlvr_cli.verifiers.mathematics.vocabulary import MAX_DEPTH, NO_FACTOR, ONE, SIGNS


class Parser(Calls):
    def whole(self) -> Node:
        node = self.sum()
        if self.rest:
            raise Unreadable(f"{self.next.text} is out of place")
        return node

    def sum(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unreadable("nested too deep")
        terms = []
        sign = self.sign() if self.next.text in SIGNS else "+"
        while True:
            term = self.product()
            terms.append({"+": term, "-": negative(term)}.get(sign) or Call(sign, (term,)))
            if self.next.text not in SIGNS:
                break
            sign = self.sign()
        self.depth -= 1
        return terms[0] if len(terms) == 1 else Sum(tuple(terms))

    def sign(self) -> str:
        sign = "+"
        while self.next.text in SIGNS:
            found = SIGNS[self.take().text]
            if found == "-":
                sign = {"+": "-", "-": "+"}.get(sign, sign)
            elif found != "+":
                sign = found
        return sign

    def product(self) -> Node:
        factors = [self.power()]
        while True:
            token = self.next
            if token.text in ("*", "/"):
                self.take()
                sign = self.sign() if self.next.text in SIGNS else "+"
                if sign not in "+-":
                    raise Unreadable("a sign within a product")
                factor = self.power()
                factors += [inverse(factor) if token.text == "/" else factor]
                factors += [negative(ONE)] if sign == "-" else []
            elif self.begins(token):
                if token.kind == "number" and isinstance(factors[-1], Num):
                    raise Unreadable("two numbers side by side")
                factors.append(self.power())
            else:
                return factors[0] if len(factors) == 1 else Product(tuple(factors))

    def begins(self, token: Token) -> bool:
        """Whether a factor begins here, without a sign of multiplication."""
        if token.kind in ("number", "letter", "run", "text", "money"):
            return True
        if token.text == "|":
            return self.bars == 0
        if token.kind == "symbol":
            return token.text in "([{"
        return (
            token.kind == "command"
            and token.text not in NO_FACTOR
            and not token.text.startswith(("\\begin", "\\end"))
        )

    def power(self) -> Node:
        base = self.postfix(self.atom())
        if self.next.text != "^":
            return base
        self.take()
        raised = Power(base, self.exponent())
        return self.postfix(raised)

    def exponent(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unreadable("nested too deep")
        negated = False
        if self.next.text in ("-", "+"):
            negated = self.take().text == "-"
        node = self.atom()
        node = self.postfix(node)
        if self.next.text == "^":
            self.take()
            node = Power(node, self.exponent())
        self.depth -= 1
        return negative(node) if negated else node

    def postfix(self, node: Node) -> Node:
        for _ in range(3):
            text = self.next.text
            if text == "!" and self.next.kind == "symbol":
                self.take()
                node = Call("factorial", (node,))
            elif text == r"\degree":
                self.take()
                node = Call("degrees", (node,))
            elif text == "'" and isinstance(node, Sym):
                self.take()
                node = Sym(node.name + "'")
            else:
                break
        return node

    def atom(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unreadable("nested too deep")
        token = self.take()
        match token.kind:
            case "number":
                node = self.number(token)
            case "letter":
                node = self.letter(token.text)
            case "run":
                node = self.run(token)
            case "text":
                node = self.text(token.text)
            case "money":
                node = self.atom()
            case "command":
                node = self.command(token.text)
            case _:
                node = self.bracket(token.text)
        self.depth -= 1
        return node


def parse(tokens: Sequence[Token]) -> Node:
    """The tree of an expression; Unreadable where the tokens are none."""
    if not tokens:
        raise Unreadable("nothing")
    return Parser(tokens).whole()
