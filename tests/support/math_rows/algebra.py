"""Polynomials, formulas, equations and inequalities, rightly and wrongly."""

from __future__ import annotations

from random import Random

from math_rows.spelling import Case, as_fraction, fraction, monomial, signed, terms


def polynomial(rng: Random) -> Case:
    letter = rng.choice("xtnyz")
    degree = rng.randint(1, 4)
    coefficients = {k: signed(rng, 1, 12) for k in rng.sample(range(degree), rng.randint(1, degree))}
    coefficients[degree] = signed(rng, 1, 9)

    def written(made: dict[int, int], letter: str = letter, power: str = "{0}^{1}") -> list[str]:
        return [monomial(c, {0: "", 1: letter}.get(k, power.format(letter, k))) for k, c in made.items() if c]

    def form(made: dict[int, int], letter: str = letter) -> str:
        power = rng.choice(["{0}^{1}", "{0}^{{{1}}}", "{0}^ {1}", "{{{0}}}^{1}"])
        return terms(written(made, letter, power), rng, rng.choice(("", " ")))

    same = [form(coefficients) for _ in range(4)]
    stars = [f"{c}\\cdot {letter}^{k}" if k else str(c) for k, c in coefficients.items()]
    same += [terms(stars, rng), f"-({form({k: -c for k, c in coefficients.items()})})"]
    k = rng.choice(list(coefficients))
    dropped = {at: c for at, c in coefficients.items() if at != k}
    wrong = {
        "coefficient": [form(coefficients | {k: coefficients[k] + 13})],
        "sign": [form(coefficients | {k: -coefficients[k]}), f"-({form(coefficients)})"],
        "exponent": [form({at + 1: c for at, c in coefficients.items()})],
        "term dropped": [form(dropped)] if dropped else [],
        "letter": [form(coefficients, "w")],
        "letter case": [form(coefficients, letter.upper())],
        "letter added": [f"{form(coefficients)}{rng.choice('kmsp')}", f"{form(coefficients)}+c"],
        "letter dropped": [terms([part.replace(letter, "1") for part in written(coefficients)], rng)],
    }
    return Case([form(coefficients)], same, wrong)


def factored(rng: Random) -> Case:
    a, b = signed(rng, 1, 9), signed(rng, 1, 9)
    first, second = f"x{a:+d}", f"x{b:+d}"
    expanded = terms(["x^2", *([monomial(a + b, "x")] if a + b else []), str(a * b)], rng)
    same = [
        f"({first})({second})",
        f"({second})({first})",
        f"\\left({first}\\right)\\left({second}\\right)",
        expanded,
    ]
    same += [f"({first})\\cdot({second})", f"({a:d}+x)({second})", f"x(x{a + b:+d}){a * b:+d}"]
    wrong = {
        "entry": [f"(x{a + 1:+d})({second})" if a != -1 else f"(x+7)({second})", f"({first})(x{b:+d})^2"],
        "sign": [f"-({first})({second})", f"(x{-a:+d})(x{-b:+d})" if a != -b else f"-{first}"],
        "term dropped": [f"{first}", f"({first}){second}" if a != 0 else "0"],
        "root instead": [f"x={-a}", f"{-a}, {-b}", f"({first})({second})=0"],
    }
    return Case([same[0], expanded], same, wrong)


def symbols(rng: Random) -> Case:
    """Formulas in named letters."""
    forms = [
        (
            ["\\frac{R}{r}", "R/r", "\\dfrac{R}{r}", "\\frac{1}{r}R", "R \\cdot \\frac{1}{r}"],
            ["\\frac{r}{R}", "\\frac{R}{R}", "\\frac{r}{r}", "1", "R", "Rr"],
        ),
        (
            ["2\\pi r h", "2 \\pi rh", "2\\pi hr", "2\\cdot\\pi\\cdot r\\cdot h"],
            ["2\\pi r", "2\\pi", "2\\pi R h", "2 r h", "\\pi r h", "2\\pi r h^2"],
        ),
        (
            ["\\frac{1}{2}mv^2", "\\frac{mv^2}{2}", "0.5mv^2", "\\frac12 v^2 m", "mv^{2}/2"],
            ["mv^2", "\\frac{1}{2}mv", "\\frac{1}{2}MV^2", "\\frac12 mv^2 c", "\\frac{1}{2}"],
        ),
        (
            ["\\frac{a+b}{c}", "\\frac{a}{c}+\\frac{b}{c}", "(a+b)/c", "\\frac{b+a}{c}"],
            ["a+\\frac{b}{c}", "\\frac{a-b}{c}", "\\frac{a+b}{C}", "\\frac{a+b}{d}", "\\frac{ab}{c}"],
        ),
        (
            ["3t", "3 t", "3\\cdot t", "t\\cdot 3", "t+2t", "3{t}"],
            ["3", "3T", "t", "3t^2", "3s", "t+3", "3\\text{ cm}"],
        ),
        (["5-10t", "-10t+5", "-10 t + 5", "5(1-2t)"], ["5-10", "5+10t", "5-10T", "-5t", "5-10t^2", "10t-5"]),
        (
            ["g\\sin\\theta", "g \\sin \\theta", "g\\sin(\\theta)", "\\sin(\\theta) g"],
            ["g\\cos\\theta", "g\\sin\\phi", "\\sin\\theta", "G\\sin\\theta", "g"],
        ),
        (
            ["\\sqrt{2gh}", "(2gh)^{1/2}", "\\sqrt{2 g h}", "\\sqrt{2hg}"],
            ["\\sqrt{gh}", "2gh", "\\sqrt{2g}", "\\sqrt{2gH}", "\\sqrt{2}gh"],
        ),
        (
            ["e^{-x}", "\\exp(-x)", "\\frac{1}{e^x}", "\\mathrm{e}^{-x}", "e^{ - x}"],
            ["e^{x}", "-e^x", "e^{-X}", "E^{-x}", "e^{-y}", "e"],
        ),
        (["x_1+x_2", "x_2+x_1", "x_{1}+x_{2}"], ["x_1-x_2", "x_1", "x_1+x_1", "x_1+x_3", "X_1+X_2", "2x"]),
        (
            ["\\frac{n(n+1)}{2}", "\\frac{n^2+n}{2}", "n(n+1)/2", "\\frac{1}{2}n(n+1)"],
            ["\\frac{n(n-1)}{2}", "n(n+1)", "\\frac{N(N+1)}{2}", "\\frac{n+1}{2}"],
        ),
        (["2^{n+1}", "2 \\cdot 2^n", "2^{1+n}", "2^n+2^n"], ["2^n+1", "2^{n-1}", "2^{N+1}", "2n+2", "2^n"]),
    ]
    same, wrong = rng.choice(forms)
    return Case(same[:1], same, {"letters or operations": wrong})


def line(rng: Random) -> Case:
    """Equations of lines."""
    m, c = signed(rng, 2, 9), signed(rng, 1, 9)
    same = [
        f"y={m}x{c:+d}",
        f"y = {m}x {'-' if c < 0 else '+'} {abs(c)}",
        f"y={c}{m:+d}x",
        f"{m}x{c:+d}=y",
        f"y{-m:+d}x={c}",
    ]
    same += [
        f"{m}x-y{c:+d}=0",
        f"{2 * m}x-2y{2 * c:+d}=0",
        f"2y={2 * m}x{2 * c:+d}",
        f"y{-c:+d}={m}x",
        f"0={m}x-y{c:+d}",
    ]
    wrong = {
        "entry": [f"y={m}x{c + 20:+d}", f"y={m + 20}x{c:+d}", f"{m}x-y{c + 20:+d}=0"],
        "sign": [f"y={-m}x{c:+d}", f"y={m}x{-c:+d}", f"-y={m}x{c:+d}"],
        "letters swapped": [f"x={m}y{c:+d}"],
        "one side": [f"2y={m}x{c:+d}", f"y={m}x", f"y^2={m}x{c:+d}"],
        "letter": [f"y={m}t{c:+d}", f"y={m}X{c:+d}"],
        "relation": [f"y>{m}x{c:+d}", f"y \\ne {m}x{c:+d}", f"y={m}x{c:+d}=0"],
    }
    return Case([same[0], same[5]], same, wrong)


def conic(rng: Random) -> Case:
    a, b, r = signed(rng, 1, 9), signed(rng, 1, 9), rng.randint(2, 9)
    rest = a * a + b * b - r * r
    left = f"(x{-a:+d})^2+(y{-b:+d})^2"
    tail = f"{rest:+d}" if rest else ""
    general = f"x^2+y^2{-2 * a:+d}x{-2 * b:+d}y{tail}=0"
    same = [
        f"{left}={r * r}",
        f"(y{-b:+d})^2+(x{-a:+d})^2={r * r}",
        f"{r * r}={left}",
        general,
        f"{left}={r}^2",
    ]
    same += [f"\\left(x{-a:+d}\\right)^2 + \\left(y{-b:+d}\\right)^2 = {r * r}", f"{left}-{r * r}=0"]
    wrong = {
        "entry": [f"{left}={r * r + 1}", f"{left}={r}", f"x^2+y^2={r * r}"],
        "sign": [
            f"(x{a:+d})^2+(y{-b:+d})^2={r * r}",
            f"(x{-a:+d})^2-(y{-b:+d})^2={r * r}",
            f"{left}=-{r * r}",
        ],
        "letters swapped": [f"(y{-a:+d})^2+(x{-b:+d})^2={r * r}"] if a != b else [],
        "no real points": [f"{left}+1=0", f"x^2+y^2+{r}=0"],
        "not an equation": [left, f"{r * r}"],
    }
    return Case([same[0], general], same, wrong)


def quadratic(rng: Random) -> Case:
    """Equations in one unknown, some without real roots."""
    b, c = signed(rng, 1, 20), rng.randint(1, 120)
    tail = f"x^2{b:+d}x{c:+d}"
    same = [
        f"{tail}=0",
        f"x^2 {'-' if b < 0 else '+'} {abs(b)}x + {c} = 0",
        f"2x^2{2 * b:+d}x{2 * c:+d}=0",
        f"0={tail}",
        f"x^2{b:+d}x={-c}",
    ]
    wrong = {
        "no real roots": ["x^2+1=0", "x^2+x+1=0"] if (b, c) != (1, 1) else [],
        "entry": [f"x^2{b:+d}x{c + 1:+d}=0", f"x^2{b + 50:+d}x{c:+d}=0", f"3x^2{b:+d}x{c:+d}=0"],
        "sign": [f"x^2{-b:+d}x{c:+d}=0", f"x^2{b:+d}x{-c:+d}=0"],
        "letter case": [f"X^2{b:+d}X{c:+d}=0"],
        "not an equation": [tail],
    }
    return Case(same[:1], same, wrong)


def inequality(rng: Random) -> Case:
    a = as_fraction(fraction(rng), rng) if rng.random() < 0.3 else str(signed(rng, 1, 40))
    signs = {
        "<": ("<", "\\lt"),
        ">": (">", "\\gt"),
        "<=": ("\\le", "\\leq", "\\leqslant", "≤"),
        ">=": ("\\ge", "\\geq", "\\geqslant", "≥"),
    }
    mirror = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
    strict = {"<": "<=", ">": ">=", "<=": "<", ">=": ">"}
    sign = rng.choice(list(signs))

    def form(left: str, sign: str, right: str) -> str:
        return f"{left} {rng.choice(signs[sign])} {right}"

    same = [form("x", sign, a) for _ in range(4)] + [form(a, mirror[sign], "x")]
    same += [form("2x", sign, str(2 * int(a)))] if "\\" not in a and "/" not in a else []
    wrong = {
        "flipped": [form("x", mirror[sign], a), form(a, sign, "x")],
        "end": [form("x", strict[sign], a)],
        "entry": [form("x", sign, "77"), form("x", sign, "-" + a if a[0] != "-" else a[1:])],
        "letter": [form("y", sign, a), form("X", sign, a)],
        "equation": [f"x={a}", f"x \\ne {a}", a],
    }
    if rng.random() < 0.4:
        low, high = rng.randint(-40, -1), rng.randint(0, 40)
        same = [
            f"{low} \\le x < {high}",
            f"{low}\\leq x<{high}",
            f"{high}>x\\ge{low}",
            f"{low}≤x<{high}",
            f"{low} \\leqslant x \\lt {high}",
        ]
        wrong = {
            "end": [f"{low}<x<{high}", f"{low}\\le x\\le{high}", f"{low}<x\\le {high}"],
            "entry": [f"{low}\\le x<{high + 1}", f"{low - 1}\\le x<{high}"],
            "half": [f"x<{high}", f"x\\ge{low}"],
            "letter": [f"{low}\\le y<{high}"],
            "flipped": [f"{high}\\le x<{low}"],
        }
    return Case(same[:1], same, wrong)


ALGEBRA = {
    each.__name__: each for each in (polynomial, factored, symbols, line, conic, quadratic, inequality)
}
