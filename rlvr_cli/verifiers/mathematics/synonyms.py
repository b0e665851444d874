"""Spellings of the same thing: Unicode, LaTeX commands and bare words that mean one token."""

from __future__ import annotations

import re


def names(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


_SUPERSCRIPT = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ"
_SUBSCRIPT = "₀₁₂₃₄₅₆₇₈₉"
_PLAIN = str.maketrans(_SUPERSCRIPT + _SUBSCRIPT, "0123456789-+n0123456789")
_RAISED = re.compile(f"[{_SUPERSCRIPT}]+|[{_SUBSCRIPT}]+")
_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_UNICODE = str.maketrans(
    {
        **dict.fromkeys("−–—‒﹣", "-"),
        **dict.fromkeys("\u00a0\u2009\u202f\u200b\u2002\u2003\u2005\u200a\ufeff", " "),
        **{"×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "∙": r"\cdot ", "÷": r"\div ", "∞": r"\infty "},
        **{"°": r"^\circ ", "º": r"^\circ ", "√": r"\surd ", "±": r"\pm ", "∓": r"\mp ", "∅": r"\emptyset "},
        **{"≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "∈": r"\in ", "⩽": r"\le "},
        **{"∪": r"\cup ", "∩": r"\cap ", "∖": r"\setminus ", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}"},
        **{"′": "'", "’": "'", "″": "''", "。": ".", "、": ",", "⩾": r"\ge ", "∠": r"\angle "},
        **{"½": r"\frac12 ", "⅓": r"\frac13 ", "¼": r"\frac14 ", "¾": r"\frac34 ", "⅔": r"\frac23 "},
        **{"π": r"\pi ", "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "δ": r"\delta ", "θ": r"\theta "},
        **{"λ": r"\lambda ", "μ": r"\mu ", "φ": r"\phi ", "ω": r"\omega ", "σ": r"\sigma ", "ρ": r"\rho "},
        **{
            "∛": r"\sqrt[3] ",
            "⟨": r"\langle ",
            "⟩": r"\rangle ",
            "⌊": r"\lfloor ",
            "⌋": r"\rfloor ",
            "⌈": r"\lceil ",
        },
        **{"⌉": r"\rceil ", "→": r"\to ", "∨": r"\lor ", "∧": r"\land ", "△": r"\triangle "},
    }
    | _FULL_WIDTH
)

SPACES = names(r"""
\, \; \: \> \quad \qquad \enspace \enskip \thinspace \hspace \hskip \nobreakspace
""")
NOTHING = names(r"""
\left \right \large \Large \displaystyle \textstyle \scriptstyle \limits \nolimits \! \( \) \[ \] \big \Big
\bigg \Bigg \phantom \bigl \bigr \Bigl \Bigr \biggl \biggr \Biggl \Biggr \middle \mathstrut \strut
\ensuremath \bigm \color \textcolor \bf \rm \it \mathopen \mathclose \negthinspace \allowbreak \protect \relax
""")
TEXTS = names(r"""
\text \textbf \textit \textrm \textsf \texttt \textnormal \textup \emph \mbox \hbox \mathrm \mathbf
\mathit \mathsf \mathtt \mathnormal \boldsymbol \bm \operatorname \unit \mathcal \mathscr \underline
""")
SAME = {
    **dict.fromkeys((r"\dfrac", r"\tfrac", r"\cfrac", r"\nicefrac"), r"\frac"),
    **dict.fromkeys((r"\dbinom", r"\tbinom"), r"\binom"),
    **dict.fromkeys((r"\leq", r"\leqslant", r"\leqq"), r"\le"),
    **dict.fromkeys((r"\geq", r"\geqslant", r"\geqq"), r"\ge"),
    **dict.fromkeys((r"\neq", r"\not="), r"\ne"),
    **dict.fromkeys((r"\varnothing", r"\O"), r"\emptyset"),
    r"\bar": r"\overline",
    **{
        r"\lbrace": r"\{",
        r"\rbrace": r"\}",
        r"\lbrack": "[",
        r"\rbrack": "]",
        r"\lvert": "|",
        r"\rvert": "|",
    },
    **{r"\vert": "|", r"\|": "||", r"\colon": ":", r"\ast": "*", r"\times": "*", r"\cdot": "*", r"\div": "/"},
    **{r"\lt": "<", r"\gt": ">", r"\le": r"\le", r"\degree": r"\degree", r"\prime": "'", r"\%": "%"},
    **{
        r"\lang": r"\langle",
        r"\rang": r"\rangle",
        r"\smallsetminus": r"\setminus",
        r"\backslash": r"\setminus",
    },
    **{r"\rightarrow": r"\to", r"\vee": r"\lor", r"\wedge": r"\land", r"\epsilon": r"\varepsilon"},
    **{r"\varphi": r"\phi", r"\vartheta": r"\theta", r"\tan": r"\tan", r"\tg": r"\tan", r"\ctg": r"\cot"},
    **{
        r"\arctg": r"\arctan",
        r"\lg": r"\lg",
        r"\pounds": "£",
        r"\&": "&",
        r"\#": "#",
        r"\_": "_",
        r"\mid": "|",
    },
}
MONEY = {r"\$": "$", "€": "€", "£": "£", "¥": "¥", r"\euro": "€"}
FUNCTIONS = names("sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log exp")
"""Those that are written without a backslash too."""
BARE = {
    **{name: f"\\{name}" for name in FUNCTIONS},
    **{name: f"\\{name}" for name in ["sqrt", "pi", "gcd", "lcm", "theta", "alpha", "beta", "lambda"]},
    **{"infinity": r"\infty", "infty": r"\infty", "inf": r"\infty", "oo": r"\infty", "Infinity": r"\infty"},
    **{
        "asin": r"\arcsin",
        "acos": r"\arccos",
        "atan": r"\arctan",
        "Pi": r"\pi",
        "Sqrt": r"\surd",
        "sqrt": r"\surd",
    },
}


def tidy(text: str) -> str:
    """Unicode spellings as LaTeX."""
    if text.isascii():
        return text
    text = _RAISED.sub(
        lambda m: ("^" if m[0][0] in _SUPERSCRIPT else "_") + f"{{{m[0].translate(_PLAIN)}}}", text
    )
    return text.translate(_UNICODE)
