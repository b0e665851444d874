"""math-verify's word on a pair that the rules do not know: asked with care, and checked.

No part of an answer is evaluated as Python: its LaTeX grammar reads it, and not `sympify`.
"""

from __future__ import annotations

import random
from typing import Any

from rlvr_cli.core.types import Reason
from rlvr_cli.verifiers.rejected import Rejected

CHECKS = 4
"""Points at which an equality that it claims is looked at."""


def symbolic(said: str, meant: str) -> tuple[bool, str]:
    """(whether they are equal, why the claim that they are is not believed or "").

    Rejected: `said` is no expression. Slow, hungry, may hang: for a worker with a deadline.
    """
    from math_verify import verify

    try:
        parsed = parsed_latex(said)
    except MemoryError:
        raise
    except Exception as error:  # model text: whatever the parser makes of it, it is no expression
        raise Rejected(Reason.malformed, "not an expression math-verify can read") from error
    try:
        gold = parsed_latex(meant)
        # No deadlines of its own: the worker has one, and signals work in main threads only.
        claimed = bool(verify(gold, parsed, timeout_seconds=None, raise_on_error=True))
        return (False, "") if not claimed else _confirmed(parsed, gold)
    except MemoryError:
        raise
    except Exception:  # two readable expressions of kinds that cannot be compared
        return False, ""


def parsed_latex(latex: str) -> Any:
    # The parser alone and not math_verify.parse: that one searches for answers by itself and hands
    # text without LaTeX to sympy's parse_expr, which evaluates it as Python.
    from latex2sympy2_extended.latex2sympy2 import NormalizationConfig, normalize_latex
    from math_verify.parser import parse_latex_cached

    config = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none", equations=False
    )
    return parse_latex_cached(normalize_latex(latex, config=config))


def _confirmed(said: Any, gold: Any) -> tuple[bool, str]:
    """A claimed equality of expressions must hold at random points too."""
    import sympy

    if said == gold or not (isinstance(said, sympy.Expr) and isinstance(gold, sympy.Expr)):
        return True, ""
    if said.free_symbols != gold.free_symbols:
        return False, "math-verify calls them equal; they have different symbols"
    generator = random.Random(0)
    names = sorted(said.free_symbols, key=str)
    agreed = 0
    for _ in range(CHECKS):
        point = {name: sympy.Rational(generator.randrange(700, 15000), 4096) for name in names}
        one, other = (tree.subs(point).evalf(30) for tree in (said, gold))
        if not abs(one - other) <= max(abs(one), abs(other)) * sympy.Float("1e-12"):
            where = f"at {point} " if point else ""
            return False, f"math-verify calls them equal; {where}they are {one.evalf(6)} and {other.evalf(6)}"
        agreed += 1
    return agreed == CHECKS, ""
