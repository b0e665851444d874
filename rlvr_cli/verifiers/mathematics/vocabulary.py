"""Names that the grammar knows: letters, functions, brackets, signs, and how digits become a number."""

from __future__ import annotations

from fractions import Fraction

from rlvr_cli.verifiers.mathematics.nodes import Node, Num, Power, Product
from rlvr_cli.verifiers.mathematics.synonyms import names
from rlvr_cli.verifiers.mathematics.tokens import Token, Unreadable

MAX_DEPTH = 40
"""Of brackets, arguments and exponents within one another."""
END = Token("end", "")
GREEK = names(r"""
\alpha \beta \gamma \delta \varepsilon \zeta \eta \theta \iota \kappa \lambda \mu \nu \xi \rho \sigma
\tau \upsilon \phi \chi \psi \omega \Gamma \Delta \Theta \Lambda \Xi \Pi \Sigma \Phi \Psi \Omega \hbar
\ell \varrho \varsigma \partial \nabla
""")
TRIGONOMETRIC = frozenset(["sin", "cos", "tan", "cot", "sec", "csc"])
FUNCTIONS = TRIGONOMETRIC | names(r"""
arcsin arccos arctan sinh cosh tanh coth ln log lg exp det gcd lcm max min Re Im arg
""")
INVERSE = {"sin": "arcsin", "cos": "arccos", "tan": "arctan"}
CLOSING_OF = {"(": ")", "[": "]", r"\{": r"\}", r"\lfloor": r"\rfloor", r"\lceil": r"\rceil", "{": "}"}
ACCENTS = names(r"""
\overline \vec \tilde \widetilde \overrightarrow \widehat \hat \mathbf \overset \underset
\dot \ddot \check \breve
""")
ONE = Num(Fraction(1))
SIGNS = {"+": "+", "-": "-", r"\pm": "pm", r"\mp": "mp"}
NO_FACTOR = names(r"""
\pm \mp \} \rfloor \rceil \rangle \cup \cap \in \notin \setminus \le \ge \ne \approx \to \equiv \pmod
\mod \degree \\ \lor \land \ldots \dots \cdots \implies \iff \Rightarrow \mapsto \sim \simeq \cong \perp
\parallel \subset
""")
"""Commands that cannot begin a factor."""


def number(text: str) -> Num:
    mantissa, _, exponent = text.lower().partition("e")
    if len(mantissa) > 4000 or len(exponent.lstrip("+-")) > 4:
        raise Unreadable("a number of too many digits")
    whole, _, decimals = mantissa.partition(".")
    value = Fraction(int((whole + decimals) or 0), 10 ** len(decimals))
    if exponent:
        return Num(value * Fraction(10) ** int(exponent))
    return Num(value, len(decimals))


def repeating(text: str, period: str) -> Num:
    whole, _, decimals = text.partition(".")
    start = Fraction(int((whole + decimals) or 0), 10 ** len(decimals))
    return Num(start + Fraction(int(period), (10 ** len(period) - 1) * 10 ** len(decimals)))


def proper(node: Node) -> Fraction | None:
    """The value of `\\frac{a}{b}` with whole numbers 0 < a < b."""
    match node:
        case Product((Num(top, 0), Power(Num(bottom, 0), _))) if 0 < top < bottom:
            whole = top.denominator == 1 and bottom.denominator == 1
            return top / bottom if whole else None
    return None
