"""Roots, logarithms, angles, constants and complex numbers, rightly and wrongly."""

from __future__ import annotations

from random import Random

from math_rows.spelling import Case, signed, terms


def radical(rng: Random) -> Case:
    a, b, c = signed(rng, 2, 9), rng.choice([2, 3, 5, 6, 7, 10, 11, 13]), signed(rng, 1, 20)
    inside = f"{'-' if a < 0 else ''}\\sqrt{{{a * a * b}}}"
    same = [
        f"{a}\\sqrt{{{b}}}",
        f"{a} \\sqrt{{{b}}}",
        f"{a}\\cdot\\sqrt{{{b}}}",
        inside,
        f"{a}\\sqrt {b}" if b < 10 else inside,
    ]
    same += [
        f"\\sqrt{{{b}}}\\cdot {a}" if a > 0 else f"-\\sqrt{{{b}}}\\cdot {-a}",
        f"{a}\\cdot {b}^{{1/2}}",
        f"\\frac{{{a * b}}}{{\\sqrt{{{b}}}}}",
    ]
    wrong = {
        "radicand": [f"{a}\\sqrt{{{b + 1}}}", f"{a}\\sqrt{{-{b}}}"],
        "coefficient": [f"{a + 1}\\sqrt{{{b}}}", f"\\sqrt{{{b}}}", f"{a}"],
        "sign": [f"{-a}\\sqrt{{{b}}}"],
        "root": [f"{a}\\sqrt[3]{{{b}}}", f"{a}\\cdot {b}"],
        "digits cut": [f"{a * b**0.5:.2f}"],
        "letter added": [f"{a}\\sqrt{{{b}}}x", f"{a}\\sqrt{{{b}}}i", f"{a}\\sqrt{{{b}x}}"],
    }
    if rng.random() < 0.4:
        same = [terms([str(c), each], rng) for each in same if "\\cdot -" not in each]
        wrong = {why: [terms([str(c), each], rng) for each in made] for why, made in wrong.items()}
        wrong["sign"].append(terms([str(-c), f"{a}\\sqrt{{{b}}}"], rng))
    return Case(same[:1], same, wrong)


def logarithm(rng: Random) -> Case:
    b, n, c = rng.choice([2, 3, 5, 7]), rng.choice([6, 11, 13, 17]), rng.randint(1, 9)
    log = f"\\log_{b} {n}"
    same = [
        log,
        f"\\log_{{{b}}}{n}",
        f"\\log_{{{b}}} {{{n}}}",
        f"\\log_{b}({n})",
        f"\\frac{{\\ln {n}}}{{\\ln {b}}}",
        f"\\log_{b}{{{n}}}",
    ]
    wrong = {
        "base": [f"\\log_{b + 1} {n}", f"\\log_{n} {b}"],
        "entry": [f"\\log_{b} {n + 1}", f"\\log_{b}", f"{n}"],
        "sign": [f"-\\log_{b} {n}"],
        "sum": [f"\\log_{b} {n}+1", f"{c + 1}\\log_{b} {n}"],
    }
    if rng.random() < 0.5:
        same = [each for form in same for each in (f"{c}+{form}", f"{form}+{c}", f"{c} + {form}")]
        wrong = {why: [f"{c}+{each}" for each in made] for why, made in wrong.items()}
        wrong["sum"] += [f"{c + 1}+{log}", f"\\log_{b} ({n}+{c})", f"{c}\\log_{b} {n}"]
    return Case(same[:1], same, wrong)


def trigonometric(rng: Random) -> Case:
    forms = [
        (
            [
                "\\sin 30^\\circ",
                "\\frac12",
                "\\sin 30^{\\circ}",
                "\\sin(30^\\circ)",
                "\\sin\\frac{\\pi}{6}",
                "0.5",
            ],
            ["\\cos 30^\\circ", "\\sin 30", "\\sin 60^\\circ", "-\\sin 30^\\circ", "30"],
        ),
        (
            ["\\cos 36^\\circ", "\\cos\\frac{\\pi}{5}", "\\frac{1+\\sqrt5}{4}", "\\cos{36^\\circ}"],
            ["\\sin 36^\\circ", "\\cos 36", "\\cos 72^\\circ", "0.81", "36"],
        ),
        (
            ["\\sin^2 x", "(\\sin x)^2", "1-\\cos^2 x", "\\sin^{2}x", "\\sin ^2(x)"],
            ["\\sin x^2", "\\cos^2 x", "\\sin x", "1-\\cos x", "\\sin^2 y", "2\\sin x"],
        ),
        (
            ["\\tan x", "\\frac{\\sin x}{\\cos x}", "\\tan(x)", "\\tan{x}"],
            ["\\cot x", "\\frac{\\cos x}{\\sin x}", "\\tan 2x", "\\tan y", "\\tan"],
        ),
        (
            ["\\arctan 2", "\\tan^{-1} 2", "\\arctan(2)", "\\arctan{2}"],
            ["\\tan 2", "\\arctan 3", "\\arctan\\frac12", "\\frac{1}{\\tan 2}", "2"],
        ),
        (
            ["2\\sin x\\cos x", "\\sin 2x", "\\sin(2x)", "2\\cos x \\sin x"],
            ["\\sin x \\cos x", "2\\sin x", "\\sin x^2", "\\cos 2x", "\\sin(2)x"],
        ),
    ]
    same, wrong = rng.choice(forms)
    return Case(same[:1], same, {"function or angle": wrong})


def constant(rng: Random) -> Case:
    """Multiples and powers of pi and e."""
    a, q = rng.randint(2, 30), rng.choice([1, 7, 11, 13])
    q = 1 if q == a else q
    letter = rng.choice(["\\pi", "e"])
    top = f"{a}{letter}" if letter == "e" else f"{a}\\pi"
    same = [
        f"\\frac{{{top}}}{{{q}}}",
        f"\\frac{{{a}}}{{{q}}}{letter}",
        f"{top}/{q}",
        f"\\frac{{{letter} \\cdot {a}}}{{{q}}}",
    ]
    if q == 1:
        same = [
            top,
            f"{a} {letter}",
            f"{a}\\cdot {letter}",
            f"{letter}\\cdot{a}",
            f"{a}*{letter}",
            f"x={top}",
        ]
        same += [f"{a}π"] if letter == "\\pi" else [f"{a}\\mathrm{{e}}"]
    wrong = {
        "coefficient": [f"\\frac{{{a + 1}{letter}}}{{{q}}}", f"\\frac{{{a}}}{{{q}}}", letter],
        "exponent": [f"\\frac{{{a}{letter}^2}}{{{q}}}", f"{letter}^{{{a}}}"],
        "sign": [f"-\\frac{{{top}}}{{{q}}}", f"\\frac{{{a}+{letter}}}{{{q}}}"],
        "letter": [f"\\frac{{{a}x}}{{{q}}}"],
        "letter added": [f"\\frac{{{top} a b}}{{{q}}}", f"\\frac{{{top} r}}{{{q}}}"],
        "digits cut": [f"{a * (3.14159265 if letter != 'e' else 2.71828183) / q:.2f}"],
    }
    return Case(same[:1], same, wrong)


def complex_number(rng: Random) -> Case:
    a, b = signed(rng, 1, 20), signed(rng, 2, 20)
    i = f"{b}i"
    same = [
        f"{a}{b:+d}i",
        f"{a} {'-' if b < 0 else '+'} {abs(b)}i",
        f"{a}{b:+d} i",
        f"{b}i{a:+d}",
        f"{a}{b:+d}\\mathrm{{i}}",
    ]
    same += [
        f"z={a}{b:+d}i",
        f"{a}{b:+d}\\cdot i",
        f"{a}{'-' if b < 0 else '+'}i\\cdot {abs(b)}",
        f"-({-a}{-b:+d}i)",
    ]
    wrong = {
        "sign": [f"{a}{-b:+d}i", f"{-a}{b:+d}i", f"-({a}{b:+d}i)"],
        "swapped": [f"{b}{a:+d}i"] if a != b else [],
        "dropped": [f"{a}{b:+d}", f"{a}", i],
        "entry": [f"{a}{b + 30:+d}i", f"{a + 1}{b:+d}i"],
        "letter": [f"{a}{b:+d}x"],
        "pair": [f"({a},{b})"],
    }
    if rng.random() < 0.25:
        same = [
            f"{b}\\sqrt{{2}}i",
            f"{b}i\\sqrt{{2}}",
            f"{b}\\sqrt{{2}}\\,i",
            f"{b}\\sqrt 2 i",
            f"{b} i \\sqrt{{2}}",
        ]
        wrong = {
            "sign": [f"{-b}\\sqrt{{2}}i"],
            "dropped": [f"{b}\\sqrt{{2}}", i],
            "entry": [f"{b}\\sqrt{{3}}i", f"{b}\\sqrt{{2i}}"],
        }
    return Case(same[:1], same, wrong)


def rational(rng: Random) -> Case:
    """Quotients of polynomials in one symbol."""
    a, b, letter = signed(rng, 1, 9), signed(rng, 1, 9), rng.choice("xtsnz")
    b += a == b
    top, bottom, bar = f"{letter}{a:+d}", f"{letter}{b or 11:+d}", b or 11
    same = [
        f"\\frac{{{top}}}{{{bottom}}}",
        f"({top})/({bottom})",
        f"\\dfrac{{{top}}}{{{bottom}}}",
        f"1+\\frac{{{a - bar}}}{{{bottom}}}",
    ]
    same += [
        f"\\frac{{3{letter}{3 * a:+d}}}{{3{letter}{3 * bar:+d}}}",
        f"\\frac{{{letter}}}{{{bottom}}}+\\frac{{{a}}}{{{bottom}}}",
    ]
    same += [
        f"\\frac{{({top})^2}}{{({top})({bottom})}}",
        f"\\frac{{{-a}-{letter}}}{{{-bar}-{letter}}}",
        f"({top})({bottom})^{{-1}}",
    ]
    wrong = {
        "inverse": [f"\\frac{{{bottom}}}{{{top}}}"],
        "entry": [
            f"\\frac{{{letter}{a + 20:+d}}}{{{bottom}}}",
            f"\\frac{{{top}}}{{{letter}{bar + 20:+d}}}",
            f"{letter}{a:+d}",
        ],
        "cancelled": [f"\\frac{{{a}}}{{{bar}}}" if a != bar else "2", "1", f"{top}/{bottom}"],
        "sign": [f"-\\frac{{{top}}}{{{bottom}}}", f"\\frac{{{letter}{-a:+d}}}{{{bottom}}}"],
        "letter case": [f"\\frac{{{top}}}{{{bottom}}}".replace(letter, letter.upper())],
    }
    return Case(same[:2], same, wrong)


def accented(rng: Random) -> Case:
    """Symbols with something above them are other symbols."""
    letter, accent, other = rng.choice("xyuvr"), *rng.sample(["dot", "ddot", "hat", "bar", "tilde"], 2)
    same = [f"\\{accent}{{{letter}}}", f"\\{accent} {letter}", f"\\{accent}{{ {letter} }}"]
    wrong = {
        "accent": [
            letter,
            f"\\{other}{{{letter}}}",
            f"\\{accent}{{w}}",
            f"\\{accent}{{{letter.upper()}}}",
            f"{letter}^2",
        ]
    }
    return Case(same[:1], same, wrong)


def two_absolute(rng: Random) -> Case:
    a, b = rng.sample("xyzuvw", 2)
    same = [f"|{a}|+|{b}|", f"|{b}| + |{a}|", f"\\left|{a}\\right|+\\left|{b}\\right|", f"|-{a}|+|{b}|"]
    wrong = {"bars": [f"|{a}+{b}|", f"{a}+{b}", f"|{a}|+{b}", f"|{a}|-|{b}|", f"|{a}-{b}|", f"|{a}{b}|"]}
    return Case(same[:1], same, wrong)


FUNCTIONS = {
    each.__name__: each
    for each in (
        radical,
        logarithm,
        trigonometric,
        constant,
        complex_number,
        rational,
        accented,
        two_absolute,
    )
}
