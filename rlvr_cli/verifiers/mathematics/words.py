"""Which answers are words and names, and not products of letters."""

from __future__ import annotations

import re

from rlvr_cli.verifiers.mathematics.synonyms import names
from rlvr_cli.verifiers.mathematics.tokens import Token
from rlvr_cli.verifiers.mathematics.values import Letter, Union, Word

SHORT = names(r"""
yes no true odd even all any none one two six ten red blue pink tan cat dog bat hat car bus sun mon tue
wed thu fri sat may jun jul jan feb mar apr aug sep oct nov dec tom sam ben ann amy joe jim tim bob sue
dan eve meg kim lee ray roy ted pat abe ada ian leo zoe east west up down left both dne up out new old
top hot low is not neither dad mom boy girl man son day win won lose lost draw tie heads tails spade club
ace king queen jack apple pear ham pie box bag pen cup fox owl pig cow hen ant bee rat
""")
"""Short words that are no products of letters, in lower case."""
LONGEST_NAME = 5
"""Letters of a name in capitals; with vowels, longer ones are words: `EVELYN`."""
JOINED = frozenset(("and", "or"))
_REALS = frozenset(("all real numbers", "all reals", "the real numbers", "all real values"))
_MARKS = {
    r"\angle": "∠",
    r"\triangle": "△",
    r"\overline": "",
    r"\overrightarrow": "→",
    r"\measuredangle": "∠",
}
_MARKS |= {r"\overleftrightarrow": "↔", r"\widehat": "⌒"}


def wordlike(run: str) -> bool:
    """Whether a bare run of letters is a word: by its length, its capital or a list."""
    if run.lower() in SHORT:
        return True
    return len(run) >= 4 or (len(run) == 3 and run[0].isupper() and run[1:].islower())


def named(tokens: list[Token]) -> Word | None:
    """`\\angle ABC`, `\\overline{AB}`: a name with a mark."""
    mark = _MARKS.get(tokens[0].text) if len(tokens) > 1 else None
    if mark is None:
        return None
    rest = [token for token in tokens[1:] if token.text not in "{}"]
    letters = "".join(token.text for token in rest)
    if (
        not letters.isalpha()
        or not letters.isascii()
        or (not mark and not (letters.isupper() and letters[1:]))
    ):
        return None  # \\overline{AB} is a segment, \\overline{x} another symbol than x
    return Word(mark + letters, name=True)


def word(tokens: list[Token]) -> Word | Letter | Union | None:
    """A word, a name, one capital letter or all real numbers; None where the tokens are mathematics."""
    if (
        len(tokens) == 1
        and len(tokens[0].text) == 1
        and tokens[0].text.isalpha()
        and tokens[0].text.isascii()
    ):
        return Letter(tokens[0].text) if tokens[0].text.isupper() else None
    marked = named(tokens)
    if marked is not None:
        return marked
    if any(
        token.kind not in ("text", "run", "letter") and token.text not in ("-", "'", ".") for token in tokens
    ):
        return None
    letters = "".join(token.text for token in tokens)
    if re.fullmatch(r"[A-Z]{2,}", letters):
        short = len(letters) <= LONGEST_NAME or not re.search("[AEIOUY]", letters)
        return Word(letters, name=short and letters.lower() not in SHORT)
    runs = [token.text for token in tokens if token.kind in ("text", "run")]
    if not any(token.kind == "text" and len(token.text) > 1 for token in tokens) and not any(
        map(wordlike, runs)
    ):
        return None
    if any(token.text == "-" for token in tokens) and not re.fullmatch(r"[A-Za-z]+(-[A-Za-z]+)+", letters):
        return None
    text = spelled(tokens)
    return Union((Word("R", name=True),)) if text.lower() in _REALS else Word(text)


def spelled(tokens: list[Token]) -> str:
    """The text of the tokens with one space where there was space or a new word began."""
    made = ""
    for token in tokens:
        glue = " " if made and (token.spaced or token.kind == "text" or made[-1:].isspace()) else ""
        made += glue + token.text
    return re.sub(r"\s+", " ", made).strip()


def prose(tokens: list[Token]) -> Word | None:
    """A sentence, date or the like, which no grammar reads: compared as text."""
    if any(token.kind in ("command", "money") or token.text in "^_{}=<>+*" for token in tokens):
        return None
    if not any(token.kind in ("text", "run") and len(token.text) > 2 for token in tokens):
        return None
    return Word(re.sub(r" (?=[.,;:!?'])", "", spelled(tokens)))
