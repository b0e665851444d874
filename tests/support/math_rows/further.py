"""Less common forms: markup, Unicode, recurring decimals, several points, systems, congruences, vectors."""

from __future__ import annotations

from fractions import Fraction
from random import Random

from math_rows.spelling import Case, signed, terms


def markup(rng: Random) -> Case:
    n = signed(rng, 2, 900)
    commands = [
        "mathbf",
        "textbf",
        "mathrm",
        "text",
        "underline",
        "boldsymbol",
        "mathsf",
        "boxed",
        "textit",
        "bm",
    ]
    same = [f"\\{command}{{{n}}}" for command in commands]
    same += [
        f"\\large {n}",
        f"\\displaystyle{{{n}}}",
        f"{{\\bf {n}}}",
        f"{n}\\quad",
        f"\\;{n}\\;",
        f"~{n}~",
        f"\\color{{red}}{{{n}}}",
    ]
    wrong = {
        "one off": [
            f"\\mathbf{{{n + 1}}}",
            f"\\textbf{{{n}0}}",
            f"\\underline{{{-n}}}",
            f"\\boxed{{{n + 2}}}",
        ],
        "added": [f"\\mathbf{{{n}x}}", f"\\sqrt{{{abs(n)}}}", f"\\textbf{{{n} or {n + 1}}}"],
    }
    return Case([str(n)], same, wrong)


def unicode(rng: Random) -> Case:
    a, b = rng.randint(2, 9), rng.choice([2, 3, 5, 7])
    forms = [
        (
            f"{a}\\sqrt{{{b}}}",
            [f"{a}√{b}", f"{a}√{{{b}}}", f"{a}·√{b}"],
            [f"{a}√{b + 1}", f"√{b}", f"{a}", f"{a}²√{b}"],
        ),
        (
            f"{a}x^2+{b}",
            [f"{a}x²+{b}", f"{a}·x²+{b}", f"{b}+{a}x²"],
            [f"{a}x³+{b}", f"{a}x+{b}", f"{a}x²−{b}", f"{a}X²+{b}"],
        ),
        (f"[{a},\\infty)", [f"[{a},∞)", f"[{a}, +∞)"], [f"({a},∞)", f"[−{a},∞)", f"[{a},−∞)"]),
        (
            f"(-\\infty,{a})\\cup({a + b},\\infty)",
            [f"(−∞,{a})∪({a + b},∞)"],
            [f"(−∞,{a})", f"(−∞,{a}]∪({a + b},∞)"],
        ),
        (f"x \\le {a}", [f"x≤{a}", f"{a}≥x"], [f"x≥{a}", f"x<{a}", f"x≠{a}"]),
        (f"{a}\\times10^{{3}}", [f"{a}×10³", f"{a}·10³", f"{a}000"], [f"{a}×10²", f"{a}×10⁴", f"{a}×10"]),
        (f"\\pm {a}", [f"±{a}", f"{a}, −{a}"], [f"{a}", f"−{a}", f"±{a + 1}"]),
        (
            f"\\frac{{{a}\\pi}}{{{b}}}",
            [f"{a}π/{b}", f"\\frac{{{a}π}}{{{b}}}"],
            [f"{a + 1}π/{b}", f"{a}/{b}", f"π/{b}"],
        ),
        (f"{a}\\theta+\\alpha", [f"{a}θ+α", f"α+{a}θ"], [f"{a}θ", f"{a}α+θ", f"{a}φ+α", f"{a}θ−α"]),
        (f"{a}\\frac{{1}}{{2}}", [f"{a}½", f"{2 * a + 1}/2", f"{a}.5"], [f"{a}", f"{a}¼", "½"]),
    ]
    gold, same, wrong = rng.choice(forms)
    return Case([gold], same, {"symbol": wrong})


def recurring(rng: Random) -> Case:
    a, b = rng.sample(range(1, 10), 2)
    value = Fraction(10 * a + b, 99)
    same = [
        f"0.\\overline{{{a}{b}}}",
        f"\\frac{{{value.numerator}}}{{{value.denominator}}}",
        f".\\overline{{{a}{b}}}",
    ]
    same += [f"0.\\overline{{{a}{b}{a}{b}}}", f"0.{a}{b}\\overline{{{a}{b}}}", f"0.{a}\\overline{{{b}{a}}}"]
    wrong = {
        "cut": [f"0.{a}{b}", f"0.{a}{b}{a}{b}", f"0.{a}\\overline{{{b}}}"],
        "swapped": [f"0.\\overline{{{b}{a}}}"],
        "entry": [f"\\frac{{{value.numerator + 1}}}{{{value.denominator}}}", f"1.\\overline{{{a}{b}}}"],
        "sign": [f"-0.\\overline{{{a}{b}}}"],
    }
    return Case(same[:2], same, wrong)


def two_surds(rng: Random) -> Case:
    a, b, c = signed(rng, 2, 20), rng.randint(2, 9), rng.choice([2, 3, 5, 7, 11])
    surd = f"{b}\\sqrt{{{c}}}"
    same = [
        f"{a}\\pm {surd}",
        f"{a} \\pm {surd}",
        f"{a}+{surd}, {a}-{surd}",
        f"x={a}\\pm {surd}",
        f"{a}-{surd}, {a}+{surd}",
    ]
    same += [f"\\frac{{{2 * a}\\pm {2 * b}\\sqrt{{{c}}}}}{{2}}", f"{a}+{surd} \\text{{ and }} {a}-{surd}"]
    wrong = {
        "one root missing": [f"{a}+{surd}", f"{a}-{surd}", f"x={a}+{surd}"],
        "entry": [f"{a}\\pm {b + 1}\\sqrt{{{c}}}", f"{a + 1}\\pm {surd}", f"{a}\\pm {b}"],
        "sign": [f"{-a}\\pm {surd}", f"\\pm({a}+{surd})"],
    }
    return Case(same[:3], same, wrong)


def points(rng: Random) -> Case:
    x, y, z, w = rng.sample(range(-30, 30), 4)
    same = [
        f"({x},{y}), ({z},{w})",
        f"({x}, {y}), ({z}, {w})",
        f"({z},{w}),({x},{y})",
        f"({x},{y}) \\text{{ and }} ({z},{w})",
    ]
    same += [
        f"\\{{({x},{y}),({z},{w})\\}}",
        f"\\left({z},{w}\\right),\\left({x},{y}\\right)",
        f"({x},{y}) and ({z},{w})",
    ]
    wrong = {
        "one missing": [f"({x},{y})", f"({z},{w})"],
        "swapped": [f"({y},{x}), ({z},{w})", f"({x},{w}), ({z},{y})"],
        "entry": [f"({x + 99},{y}), ({z},{w})"],
        "added": [f"({x},{y}), ({z},{w}), ({x},{w})"],
        "flat": [f"({x},{y},{z},{w})", f"{x},{y},{z},{w}"],
    }
    return Case([same[0], same[2]], same, wrong)


def system(rng: Random) -> Case:
    x, y = rng.sample(range(-30, 30), 2)
    same = [
        f"x={x}, y={y}",
        f"y={y}, x={x}",
        f"x = {x} \\text{{ and }} y = {y}",
        f"x={x},\\ y={y}",
        f"x = {x}, \\quad y = {y}",
    ]
    wrong = {
        "swapped": [f"x={y}, y={x}"],
        "one missing": [f"x={x}", f"y={y}"],
        "entry": [f"x={x + 99}, y={y}", f"x={x}, y={y - 99}"],
        "letter": [f"a={x}, b={y}"],
    }
    return Case(same[:1], same, wrong)


def congruence(rng: Random) -> Case:
    m = rng.randint(5, 40)
    r = rng.randint(1, m - 2)
    same = [
        f"x \\equiv {r} \\pmod{{{m}}}",
        f"x\\equiv {r}\\pmod {{{m}}}",
        f"x \\equiv {r} \\ (\\text{{mod }} {m})",
    ]
    wrong = {
        "entry": [f"x \\equiv {r + 1} \\pmod{{{m}}}", f"x \\equiv {r} \\pmod{{{m + 1}}}"],
        "dropped": [f"x={r}", str(r), str(m)],
        "sign": [f"x \\not\\equiv {r} \\pmod{{{m}}}"],
    }
    return Case(same[:1], same, wrong)


def outside(rng: Random) -> Case:
    """Inequalities joined by `or`."""
    a = rng.randint(-30, 10)
    b = a + rng.randint(1, 20)
    same = [
        f"x<{a} \\text{{ or }} x>{b}",
        f"x>{b} \\text{{ or }} x<{a}",
        f"x < {a} or x > {b}",
        f"{a}>x \\text{{ or }} x>{b}",
    ]
    same.append(f"(-\\infty,{a})\\cup({b},\\infty)")
    wrong = {
        "between": [f"{a}<x<{b}", f"x>{a} \\text{{ or }} x<{b}", f"({a},{b})"],
        "end": [
            f"x\\le {a} \\text{{ or }} x>{b}",
            f"x<{a} \\text{{ or }} x\\ge {b}",
            f"(-\\infty,{a}]\\cup({b},\\infty)",
        ],
        "one missing": [f"x<{a}", f"x>{b}"],
        "entry": [f"x<{a - 1} \\text{{ or }} x>{b}", f"x<{a} \\text{{ or }} x>{b + 1}"],
    }
    return Case(same[:1], same, wrong)


def absolute(rng: Random) -> Case:
    a = rng.randint(2, 20)
    same = [
        f"|x-{a}|",
        f"\\left|x-{a}\\right|",
        f"|{a}-x|",
        f"\\lvert x-{a}\\rvert",
        f"\\sqrt{{(x-{a})^2}}",
        f"\\left| x - {a} \\right|",
    ]
    wrong = {
        "bars": [f"x-{a}", f"{a}-x", f"|x|-{a}", f"-|x-{a}|"],
        "entry": [f"|x-{a + 1}|", f"|x+{a}|", "|x|", f"|X-{a}|"],
    }
    return Case(same[:2], same, wrong)


def vector(rng: Random) -> Case:
    a, b, c = rng.sample(range(-20, 20), 3)
    same = [
        f"\\langle {a},{b},{c}\\rangle",
        f"\\left\\langle {a}, {b}, {c} \\right\\rangle",
        f"\\langle {a}, {b}, {c} \\rangle",
    ]
    same += [
        f"\\begin{{pmatrix}}{a}\\\\{b}\\\\{c}\\end{{pmatrix}}",
        f"\\begin{{bmatrix}} {a} \\\\ {b} \\\\ {c} \\end{{bmatrix}}",
    ]
    wrong = {
        "swapped": [f"\\langle {b},{a},{c}\\rangle", f"\\langle {c},{b},{a}\\rangle"],
        "entry": [f"\\langle {a + 50},{b},{c}\\rangle", f"\\langle {a},{b}\\rangle", f"{a}"],
        "set": [f"\\{{{a},{b},{c}\\}}"],
    }
    return Case(same[:1] + same[3:4], same, wrong)


def antiderivative(rng: Random) -> Case:
    k, a = rng.randint(2, 6), rng.randint(2, 9)
    power = f"x^{k + 1}"
    first = [
        f"\\frac{{{power}}}{{{k + 1}}}",
        f"\\frac{{1}}{{{k + 1}}}{power}",
        f"\\frac{{x^{{{k + 1}}}}}{{{k + 1}}}",
    ]
    same = [terms([one, f"{a}x", "C"], rng, space) for one in first for space in ("", " ")]
    wrong = {
        "constant": [f"{first[0]}+{a}x", f"{first[0]}+{a}x+C+D"],
        "entry": [
            f"\\frac{{x^{k}}}{{{k}}}+{a}x+C",
            f"{first[0]}+{a + 1}x+C",
            f"{power}+{a}x+C",
            f"{first[0]}-{a}x+C",
        ],
        "letter": [f"{first[0].replace('x', 't')}+{a}t+C"],
    }
    return Case([f"{first[0]}+{a}x+C"], same, wrong)


_MAKERS = (
    markup,
    unicode,
    recurring,
    two_surds,
    points,
    system,
    congruence,
    outside,
    absolute,
    vector,
    antiderivative,
)
FURTHER = {each.__name__: each for each in _MAKERS}
