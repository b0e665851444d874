"""Numbers of every kind, rightly and wrongly."""

from __future__ import annotations

from fractions import Fraction
from math import comb, factorial
from random import Random

from math_rows.spelling import Case, as_fraction, fraction, grouped, signed, swapped


def integer(rng: Random) -> Case:
    n = signed(rng, 2, 10 ** rng.randint(1, 12))
    same = [str(n), f"{n}.0", f"{n}.00", f"x={n}", f"x = {n}", f"\\text{{{n}}}", f"\\mathbf{{{n}}}"]
    same += [f"\\frac{{{3 * n}}}{{3}}", f"\\left({n}\\right)", str(n).replace("-", "−"), f"{n}\\,"]
    same += [grouped(n, comma) for comma in (",", "{,}", ",\\!", "\\,", ",\\! ")]
    wrong = {
        "one off": [str(n + 1), str(n - 1)],
        "sign": [str(-n)],
        "power of ten": [f"{n}0", f"{n * 100}", f"{n}e3"],
        "letter added": [f"{n}{rng.choice('txykn')}", f"{n}\\pi", f"{n} i"],
        "operation added": [f"{n}^2", f"\\sqrt{{{abs(n)}}}", f"\\frac{{1}}{{{n}}}", f"{n}!"]
        if abs(n) > 2
        else [],
        "thousand": [f"{n}\\text{{ thousand}}", f"{n} million"],
        "equation": [f"2x={n}", f"x^2={n}", f"x+1={n}", f"{n}={n + 1}"],
        "several": [f"{n} \\text{{ or }} {n + 1}", f"\\{{{n}, {n + 1}\\}}", f"{n}, {n + 1}", f"({n},{n})"],
        "interval": [f"[{n},{n + 1}]", f"x>{n}", f"x \\ne {n}", f"x \\ge {n}"],
    }
    if other := swapped(str(n)):
        wrong["digits swapped"] = [other]
    return Case([str(n), grouped(n, ",")], same, wrong)


def decimal(rng: Random) -> Case:
    places = rng.randint(1, 5)
    digits = rng.randint(0, 5000) * 10**places + rng.randint(1, 10**places - 1) // 10 * 10 + rng.randint(1, 9)
    sign = rng.choice(("", "-"))
    value = Fraction(f"{sign}{digits}e-{places}")
    text = f"{sign}{digits // 10**places}.{digits % 10**places:0{places}d}"
    same = [text, f"{text}0", text.replace("-", "−"), as_fraction(value, rng), f"y = {text}"]
    same += [f"{sign}{digits}e-{places}", f"{sign}{digits} \\times 10^{{-{places}}}", f"\\text{{{text}}}"]
    if text.lstrip("-").startswith("0."):
        same.append(text.replace("0.", ".", 1))
    other = str((int(text[-1]) + rng.randint(1, 8)) % 10)
    wrong = {
        "digit": [text[:-1] + (other if other != text[-1] else "0"), text + "1"],
        "sign": [text[1:] if sign else f"-{text}"],
        "point": [text.replace(".", ""), f"{sign}{digits}e-{places + 1}", f"{sign}{digits}e{places}"],
        "letter added": [f"{text}{rng.choice('txk')}"],
        "rounded": [f"{float(value):.0f}"],
    }
    return Case([text], same, wrong)


def fractional(rng: Random) -> Case:
    value = fraction(rng)
    sign, p, q, k = "-" if value < 0 else "", abs(value.numerator), value.denominator, rng.randint(2, 5)
    same = [as_fraction(value, rng) for _ in range(4)]
    same += [
        f"{sign}\\frac{{{k * p}}}{{{k * q}}}",
        f"{sign}\\tfrac{{{p}}}{{{q}}}",
        f"\\frac{{{sign}{p}}}{{{q}}}",
    ]
    same += [
        f"{sign}\\left(\\frac{{{p}}}{{{q}}}\\right)",
        f"{sign}\\frac {{{p}}} {{{q}}}",
        f"{sign}{p} / {q}",
    ]
    same += [
        f"{sign}{p} \\div {q}",
        f"x = {sign}\\frac{{{p}}}{{{q}}}",
        f"{sign}{{{p}}}/{{{q}}}",
        f"{sign}{p}\\over {q}",
    ]
    same.append(f"{sign}{p / q:.9f}")
    if q in (3, 9):
        whole, rest = divmod(p, q)
        same += [f"{sign}{whole}.\\overline{{{rest * 9 // q}}}", f"{sign}{whole}.\\dot{{{rest * 9 // q}}}"]
    wrong = {
        "inverse": [f"{sign}\\frac{{{q}}}{{{p}}}"],
        "sign": [as_fraction(-value, rng)],
        "entry": [
            f"{sign}\\frac{{{p + 1}}}{{{q}}}",
            f"{sign}\\frac{{{p}}}{{{q + 1}}}",
            f"{sign}{p}",
            f"{sign}{p}{q}",
        ],
        "digits cut": [f"{sign}{p / q:.3f}"] if (value * 1000).denominator > 1 else [],
        "letter added": [f"{sign}\\frac{{{p}x}}{{{q}}}", f"{sign}\\frac{{{p}}}{{{q}}}t"],
        "power of ten": [as_fraction(value * 10, rng), as_fraction(value / 10, rng)],
        "percent": [f"{sign}\\frac{{{p}}}{{{q * 100}}}\\%"],
        "ratio": [f"{p}:{q}"],
    }
    return Case([as_fraction(value, rng)], same, wrong)


def mixed(rng: Random) -> Case:
    part = Fraction(rng.randint(1, 8), 9)
    whole, p, q, sign = rng.randint(1, 30), part.numerator, part.denominator, rng.choice(("", "-"))
    top = whole * q + p
    same = [
        f"{sign}{whole}\\frac{{{p}}}{{{q}}}",
        f"{sign}{whole} \\frac{{{p}}}{{{q}}}",
        f"{sign}{whole} {p}/{q}",
    ]
    same += [f"{sign}{whole}\\dfrac{{{p}}}{{{q}}}", f"{sign}{top}/{q}", f"{sign}\\frac{{{top}}}{{{q}}}"]
    same += [
        f"{sign}{whole}\\frac{p}{q}",
        f"{sign}{whole}\\,\\frac{{{p}}}{{{q}}}",
        f"{sign}({whole}+\\frac{{{p}}}{{{q}}})",
    ]
    wrong = {
        "product": [f"{sign}{whole}\\cdot\\frac{{{p}}}{{{q}}}"] if whole * p * q != top * q else [],
        "whole": [f"{sign}{whole + 1}\\frac{{{p}}}{{{q}}}", f"{sign}\\frac{{{p}}}{{{q}}}", f"{sign}{whole}"],
        "sign": [f"{'' if sign else '-'}{whole}\\frac{{{p}}}{{{q}}}"],
        "inverse": [f"{sign}\\frac{{{q}}}{{{top}}}"],
    }
    return Case(same[:3], same, wrong)


def percentage(rng: Random) -> Case:
    p = rng.choice([rng.randint(2, 99), rng.randint(101, 900)])
    same = [
        f"{p}\\%",
        f"{p}%",
        f"{p} \\%",
        f"{p}\\,\\%",
        f"{p}\\text{{ percent}}",
        f"{p} percent",
        f"{p}\\text{{%}}",
    ]
    same += [
        f"{p} pct",
        f"x = {p}\\%",
        f"{p / 100:g}",
        f"\\frac{{{p}}}{{100}}",
        f"{p}",
        f"{p}.0\\%",
        f"{p}~\\%",
    ]
    wrong = {
        "one off": [f"{p + 1}\\%", f"{p - 1}", f"{(p + 1) / 100:g}"],
        "power of ten": [f"{p * 10}\\%", f"{p / 10:g}\\%", f"{p * 100}", f"{p / 100:g}\\%", f"{p / 10000:g}"],
        "sign": [f"-{p}\\%"],
        "letter added": [f"{p}k\\%", f"{p}x"],
    }
    return Case([f"{p}\\%", f"{p}%"], same, wrong)


def money(rng: Random) -> Case:
    euros, cents = rng.randint(1, 4000), rng.choice([rng.randint(1, 99), 50, 0])
    text, large = f"{euros}.{cents:02d}", f"{grouped(euros, ',')}.{cents:02d}"
    same = [
        text,
        f"\\${text}",
        f"\\$ {text}",
        f"\\${large}",
        f"\\text{{\\$}}{text}",
        f"{text} \\text{{ dollars}}",
    ]
    same += [f"{text} dollars", f"\\$\\,{text}", f"{Fraction(text)}", f"{large}\\text{{ USD}}"]
    same.append(f"\\${euros}" if not cents else f"\\${text}")
    wrong = {
        "amount": [
            f"\\${euros + 1}.{cents:02d}",
            f"\\${euros}.{(cents + 1) % 100:02d}",
            f"\\${euros}{cents:02d}",
        ],
        "sign": [f"-\\${text}"],
        "power of ten": [f"\\${euros}0.{cents:02d}", f"\\${euros / 10:.2f}"],
        "thousand": [f"\\${text} \\text{{ thousand}}"],
    }
    return Case([f"\\${text}", text, f"\\${large}"], same, wrong)


def scientific(rng: Random) -> Case:
    first, k = Fraction(rng.randint(11, 99), 10), rng.choice([rng.randint(3, 40), -rng.randint(1, 30)])
    if first.denominator == 1:
        first += Fraction(1, 10)
    m, other = f"{float(first):g}", f"{float(first + Fraction(1, 10)):g}"
    same = [
        f"{m}e{k}",
        f"{m}E{k}",
        f"{m}e{k:+03d}",
        f"{m} \\times 10^{{{k}}}",
        f"{m}\\times10^{{{k}}}",
        f"{m}×10^{{{k}}}",
    ]
    same += [
        f"{m} \\cdot 10^{{{k}}}",
        f"{m} * 10^{{{k}}}",
        f"{int(first * 10)}\\times10^{{{k - 1}}}",
        f"{m}0 \\times 10^{{{k}}}",
    ]
    same += [
        f"{m} \\times 10^{{ {k} }}",
        f"{m}{{\\times}}10^{{{k}}}",
        f"{m} \\, \\times \\, 10^{{{k}}}",
        f"{m}e{k}",
    ]
    if 0 < k < 12:
        same += [str(int(first * 10**k)), grouped(int(first * 10**k), ",")]
    wrong = {
        "power of ten": [f"{m}e{k + 1}", f"{m} \\times 10^{{{k - 1}}}", f"{m}e{-k}", f"{m}"],
        "digit": [f"{other}e{k}", f"{other}\\times 10^{{{k}}}"],
        "sign": [f"-{m}e{k}"],
        "e as a number": [f"{m} e {k}", f"{m}e^{{{k}}}", f"{m} \\cdot e \\cdot {k}"],
        "sum": [f"{m}+10^{{{k}}}"],
    }
    return Case([f"{m}e{k}", f"{m}e{k:+03d}", f"{m} \\times 10^{{{k}}}"], same, wrong)


def thousands(rng: Random) -> Case:
    n, (word, size) = (
        rng.randint(2, 99),
        rng.choice([("thousand", 10**3), ("million", 10**6), ("billion", 10**9)]),
    )
    same = [
        f"{n * size}",
        grouped(n * size, ","),
        f"{n}\\text{{ {word}}}",
        f"{n} {word}",
        f"{n} \\text{{{word}}}",
    ]
    same += [f"{n}\\times 10^{{{len(str(size)) - 1}}}", f"{n}.0\\text{{ {word}}}"]
    other = {"thousand": "million", "million": "billion", "billion": "million"}[word]
    wrong = {
        "thousand": [f"{n}", f"{n}\\text{{ {other}}}", f"{n}0 {word}", f"{n + 1} {word}", f"-{n} {word}"]
    }
    return Case([str(n * size), f"{n}\\text{{ {word}}}"], same, wrong)


def based(rng: Random) -> Case:
    base = rng.choice([2, 3, 5, 6, 7, 8, 9])
    digits = str(rng.randint(1, base - 1)) + "".join(
        str(rng.randint(0, base - 1)) for _ in range(rng.randint(2, 6))
    )
    same = [f"{digits}_{base}", f"{digits}_{{{base}}}", f"({digits})_{base}", f"{digits} _ {{{base}}}"]
    same += [f"{digits}_{{\\text{{{base}}}}}", f"{digits}", f"\\left({digits}\\right)_{{{base}}}"]
    last = digits[:-1] + str((int(digits[-1]) + 1) % base)
    wrong = {
        "base": [f"{digits}_{{{base + 1}}}", f"{digits}_{{10}}", f"{digits}_{{{base}0}}"],
        "digit": [f"{last}_{base}", f"{digits}0_{base}", f"{digits[:-1]}_{base}", last],
        "sign": [f"-{digits}_{base}"],
    }
    if other := swapped(digits):
        wrong["digits swapped"] = [f"{other}_{base}"]
    return Case([f"{digits}_{base}", f"{digits}_{{{base}}}"], same, wrong)


def power(rng: Random) -> Case:
    b, k = rng.randint(2, 9), rng.randint(3, 30)
    same = [f"{b}^{{{k}}}", str(b**k), f"{b}^{{ {k} }}", f"{b} \\cdot {b}^{{{k - 1}}}", f"{{{b}}}^{{{k}}}"]
    same += [f"\\frac{{1}}{{{b}^{{-{k}}}}}", grouped(b**k, ",")]
    wrong = {
        "exponent": [f"{b}^{{{k + 1}}}", f"{b}^{{-{k}}}", f"{b}{k}", str(b * k)],
        "one off": [str(b**k + 1), str(b**k - 1), f"{b}^{{{k}}}+1"],
        "sign": [f"-{b}^{{{k}}}"],
        "base": [f"{b + 1}^{{{k}}}"],
    }
    return Case([f"{b}^{{{k}}}", str(b**k)], same, wrong)


def counted(rng: Random) -> Case:
    """Factorials and binomial coefficients."""
    n = rng.randint(4, 12)
    k = rng.randint(2, n - 2)
    value, name = rng.choice([(factorial(n), f"{n}!"), (comb(n, k), f"\\binom{{{n}}}{{{k}}}")])
    same = [
        name,
        name.replace("\\b", "\\db"),
        str(value),
        grouped(value, ","),
        f"x = {name}",
        f"1 \\cdot {name}",
    ]
    if "binom" in name:
        same += [
            f"\\frac{{{n}!}}{{{k}!{n - k}!}}",
            f"\\frac{{{n}!}}{{{k}! \\cdot {n - k}!}}",
            f"{{{n} \\choose {k}}}",
        ]
    wrong = {
        "one off": [str(value + 1), f"{name}-1"],
        "inverse": [f"\\frac{{1}}{{{name}}}"],
        "entry": [f"{n + 1}!", f"\\binom{{{n + 1}}}{{{k}}}", f"{name}!"],
        "sign": [f"-{name}"],
    }
    return Case([name, str(value)], same, wrong)


NUMBERS = {
    each.__name__: each for each in (integer, decimal, mixed, percentage, money, scientific, thousands, based)
}
NUMBERS |= {"fraction": fractional, "power": power, "factorial": counted}
