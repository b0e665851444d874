"""Words, names, letters, times and ratios, rightly and wrongly."""

from __future__ import annotations

from random import Random

from math_rows.spelling import Case, swapped

WORDS = [
    "Evelyn",
    "yes",
    "no",
    "None",
    "Tuesday",
    "odd",
    "even",
    "parabola",
    "ellipse",
    "east",
    "Simpson",
    "red",
]
WORDS += ["true", "False", "neither", "convergent", "rectangle", "Navin", "up", "Sam", "tangent", "acute"]
SENTENCES = ["no solution", "does not exist", "infinitely many", "all real numbers", "circle with a hole"]


def word(rng: Random) -> Case:
    text = rng.choice(WORDS)
    same = [text, f"\\text{{{text}}}", f"\\text{{ {text} }}", text.lower(), text.upper(), text.capitalize()]
    same += [f"\\mathrm{{{text}}}", f"\\textbf{{{text}}}", f"\\text{{{text.lower()}}}", f"\\text{{{text}}}."]
    other = rng.choice([each for each in WORDS if each.lower() != text.lower()])
    mixed_up = text[:-2] + text[-1] + text[-2]
    wrong = {
        "another": [other, f"\\text{{{other}}}"],
        "letter dropped": [text[:-1], f"\\text{{{text[:-1]}}}", f"\\text{{{text[1:]}}}"],
        "letter added": [f"{text}s", f"\\text{{{text}x}}", f"\\text{{not {text}}}"],
        "letters swapped": [mixed_up, f"\\text{{{mixed_up}}}"] if mixed_up.lower() != text.lower() else [],
        "several": [f"{text} or {other}", f"\\text{{{text}}}, \\text{{{other}}}"],
    }
    return Case([text, f"\\text{{{text}}}"], same, wrong, prose=True)


def sentence(rng: Random) -> Case:
    text = rng.choice(SENTENCES)
    same = [text, f"\\text{{{text}}}", text.capitalize(), f"\\text{{{text.upper()}}}", f"\\textit{{{text}}}"]
    same.append(text.replace(" ", "  ", 1))
    first, *rest = text.split(" ")
    wrong = {
        "word dropped": [" ".join(rest), f"\\text{{{first}}}"],
        "words swapped": [f"\\text{{{' '.join([*rest, first])}}}"],
        "another": [f"\\text{{{rng.choice([each for each in SENTENCES if each != text])}}}"],
    }
    return Case([text, f"\\text{{{text}}}"], same, wrong, prose=True)


def name(rng: Random) -> Case:
    """Points, sides, angles, outcomes: letters in an order that matters."""
    letters = "".join(rng.sample("ABCDEFGHKLMNPQRST", rng.randint(2, 4)))
    form = rng.choice(["{}", "{}", "\\angle {}", "\\triangle {}", "\\overline{{{}}}"])
    if form == "\\angle {}" or form == "\\triangle {}":
        letters = (letters + "XYZ")[:3]
    spellings = {
        "{}": ["{}", "\\text{{{}}}", "\\mathrm{{{}}}", " {} "],
        "\\angle {}": ["\\angle {}", "\\angle{{{}}}", "\\angle \\, {}", "\\angle{{ {} }}"],
        "\\triangle {}": ["\\triangle {}", "\\triangle{{{}}}", "\\triangle \\text{{{}}}"],
        "\\overline{{{}}}": ["\\overline{{{}}}", "\\overline {{{}}}", "\\overline{{ {} }}"],
    }[form]
    turned, dropped = (
        letters[1] + letters[0] + letters[2:],
        letters[:-1] if len(letters) > 2 else letters + "X",
    )
    wrong = {
        "letter dropped or added": [form.format(dropped), form.format(letters + "Z")],
        "letter": [form.format("W" + letters[1:])],
        "letter case": [form.format(letters.lower()), form.format(letters[0].lower() + letters[1:])],
    }
    if len(letters) > 2 and form in ("{}", "\\angle {}"):  # AB and BA may be one segment
        wrong["letters swapped"] = [
            form.format(turned),
            spellings[-1].format(turned),
            spellings[1].format(turned),
        ]
    return Case([form.format(letters)], [each.format(letters) for each in spellings], wrong)


def choice(rng: Random) -> Case:
    letter = rng.choice("ABCDEFG")
    same = [letter, f"({letter})", f"\\text{{{letter}}}", f"\\text{{({letter})}}", f"\\textbf{{({letter})}}"]
    same += [
        f"\\mathbf{{{letter}}}",
        f"\\mathrm{{{letter}}}",
        f"(\\text{{{letter}}})",
        f"\\textbf{{{letter}}}",
    ]
    same += [f"\\textbf{{({letter}) }}", f"\\left({letter}\\right)"]
    other = rng.choice("HJKLM")
    wrong = {
        "another": [other, f"({other})", f"\\text{{{other}}}", f"\\textbf{{({other})}}"],
        "several": [f"{letter} or {other}", f"{letter}, {other}", f"{letter}{other}", f"({letter})({other})"],
        "letter added": [f"{letter}_1", f"2{letter}"],
    }
    return Case([letter, f"\\text{{({letter})}}"], same, wrong)


def subscript(rng: Random) -> Case:
    base, n = rng.choice("ESTVabx"), rng.randint(1, 9)
    same = [f"{base}_{n}", f"{base}_{{{n}}}", f"{base} _ {n}", f"{{{base}}}_{n}", f"{base}_{{ {n} }}"]
    wrong = {
        "index": [f"{base}_{n + 1}", f"{base}_{{{n}{n}}}", base, f"{base}^{n}"],
        "letter": [f"W_{n}"],
        "letter case": [f"{base.swapcase()}_{n}"],
    }
    return Case(same[:2], same, wrong)


def time(rng: Random) -> Case:
    hour, minute = rng.randint(1, 12), rng.randint(10, 59)
    half, other = rng.choice([("p.m.", "a.m."), ("a.m.", "p.m.")])
    text, short = f"{hour}:{minute}", half.replace(".", "")
    same = [
        f"{text} \\text{{ {half}}}",
        f"{text} {short}",
        f"{text}\\text{{ {short.upper()}}}",
        f"{text} {half}",
    ]
    same += [f"{text}\\,\\text{{{short}}}", f"{hour:02d}:{minute} {short}"]
    wrong = {
        "half of the day": [f"{text} {other}", f"{text}\\text{{ {other}}}"],
        "entry": [
            f"{hour}:{minute - 1} {half}",
            f"{hour % 12 + 1}:{minute} {half}",
            f"{minute} {half}",
            f"{hour} {half}",
        ],
    }
    if changed := swapped(f"00{minute}"):
        wrong["digits swapped"] = [f"{hour}:{changed[-2:]} {half}"]
    return Case(same[:2], same, wrong, prose=True)


def ratio(rng: Random) -> Case:
    a, b, c = rng.sample(range(2, 60), 3)
    three = rng.random() < 0.4
    text = f"{a}:{b}" + (f":{c}" if three else "")
    same = [
        text,
        text.replace(":", " : "),
        text.replace(":", "\\colon "),
        text.replace(":", "\\,:\\,"),
        text.replace(":", "{:}"),
    ]
    wrong = {
        "swapped": [f"{b}:{a}" + (f":{c}" if three else "")],
        "entry": [f"{a + 1}" + text[len(str(a)) :], text + ":61", f"{a}"],
        "quotient": [f"\\frac{{{a}}}{{{b}}}", f"{a}/{b}"],
    }
    return Case([text, text.replace(":", " : ")], same, wrong)


def empty(rng: Random) -> Case:
    same = ["\\emptyset", "\\varnothing", "\\{\\}", "\\{ \\}", "∅", "\\left\\{\\right\\}"]
    wrong = {"not empty": ["\\{0\\}", "0", "\\{\\emptyset\\}", "\\{\\varnothing\\}", "1", "\\emptyset, 1"]}
    return Case(same[:3], same, wrong)


WORDING = {each.__name__: each for each in (word, sentence, name, choice, subscript, time, ratio, empty)}
