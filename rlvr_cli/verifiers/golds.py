"""Gold answers -> responses that must score 1, and wrong answers made of them that must score 0.

A wrong answer must be wrong in value and not only in spelling. Of mathematical answers see
mathematics/spellings.py. No verdict of a verifier is asked: it is the verifiers that are tested with these.
"""

from __future__ import annotations

import re
from fractions import Fraction

from rlvr_cli.verifiers.extract import Extraction
from rlvr_cli.verifiers.mathematics.changes_alone import numbers
from rlvr_cli.verifiers.mathematics.reader import read
from rlvr_cli.verifiers.mathematics.values import Number

_FORMS = {
    Extraction.boxed: "The answer is \\boxed{{{}}}.",
    Extraction.answer_line: "That settles it.\nAnswer: {}",
    Extraction.hash: "That settles it.\n#### {}",
    Extraction.last_number: "The answer is {}",
    Extraction.answer_tags: "That settles it.\n<answer>{}</answer>",
    Extraction.choice: "Answer: {}",
}
_SEVERAL = re.compile(r"\\pm|\\cup|\\mid|,|;|(?<![A-Za-z])(?:and|or|either)(?![A-Za-z])")


def wrapped(answer: str, mode: Extraction | None) -> str:
    """A response that gives `answer` where `mode` looks for it."""
    return answer if mode is None else _FORMS[mode].format(answer)


def wrong_numbers(value: Fraction) -> list[Fraction]:
    """Numbers like `value` and not equal to it: one off, sign, factor ten, inverse, two digits swapped."""
    return list(dict.fromkeys(number for found in numbers(value).values() for number in found))


def wrong_strings(text: str) -> list[str]:
    """One edit away: a letter or digit more, less, replaced by the next, two neighbours swapped."""
    if len(text) == 1 and text.isalpha():
        return [
            chr(ord(text) + 1) if text not in "zZ" else "a",
            chr(ord(text) - 1) if text not in "aA" else "z",
        ]
    made = [f"{text}x", text[:-1]]
    for i, letter in enumerate(text):
        if letter.isalnum() and letter.isascii():
            made.append(text[:i] + ("a" if letter in "zZ9" else chr(ord(letter) + 1)) + text[i + 1 :])
            break
    for i in range(len(text) - 1):
        if text[i] != text[i + 1]:
            made.append(text[:i] + text[i + 1] + text[i] + text[i + 2 :])
            break
    return [other for other in dict.fromkeys(made) if other != text]


def hedges(gold: str, wrong: list[str], mode: Extraction | None) -> list[str]:
    """`gold or something else`: an answer to be refused where the gold is one value."""
    if not wrong or _SEVERAL.search(gold) or mode in (None, Extraction.last_number):
        return []
    return [f"{gold} \\text{{ or }} {wrong[0]}"]


def wrong_for(mode: Extraction | None, text: str) -> list[str]:
    """Wrong strings that the extraction does not trim back to the right one."""
    if mode is Extraction.last_number:
        value = read(text)
        return [str(number) for number in wrong_numbers(value.value)] if isinstance(value, Number) else []
    if mode is Extraction.choice:
        return [letter for letter in wrong_strings(text[:1]) if letter.isalpha()] if text else []
    return wrong_strings(text)
