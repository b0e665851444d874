"""Words, sentences and the language of a text."""

from __future__ import annotations

import re

_WORD = re.compile(r"\w+")
# Possessive, and only at the start of a run: a page of exclamation marks is read once.
_END = re.compile(r"(?<![.!?])[.!?]++[\"'”’)\]}*_]*+(?=\s|\Z)")
_TOKEN = re.compile(r"[^\s,:;@#$%&?!()\[\]{}<>\"“”`]+")
_CONTRACTION = re.compile(r"(?<=\w)(n't|'(?:s|m|d|ll|re|ve))$", re.IGNORECASE)

_BEFORE_NAMES = "mr mrs ms dr prof st gen rep sen gov lt col capt sgt rev hon mt e.g i.e vs fig"
BEFORE_NAMES = frozenset(_BEFORE_NAMES.split())
"""Abbreviations that end no sentence, whatever follows."""
_ABBREVIATIONS = "etc inc ltd co corp jr sr dept est approx a.m p.m u.s u.k d.c ph.d"
ABBREVIATIONS = frozenset(_ABBREVIATIONS.split())
"""Abbreviations that end a sentence where a capital letter follows."""


def words(text: str) -> int:
    """Runs of letters, digits and underscores: a hyphenated word is two."""
    return sum(1 for _ in _WORD.finditer(text))


def sentences(text: str) -> int:
    """Sentences, by rules in place of NLTK's trained splitter.

    One ends at `.`, `!` or `?` before white space, except after an initial or an abbreviation, and after
    an ellipsis only where a capital letter follows. The item `1.` of a list is a sentence, as in NLTK.
    """
    text, found, begin = text.strip(), 0, 0
    for end in _END.finditer(text):
        if _ends(text, begin, end):
            found, begin = found + 1, end.end()
    return found + bool(text[begin:].strip())


def _ends(text: str, begin: int, end: re.Match[str]) -> bool:
    marks = end.group().rstrip("\"'”’)]}*_")
    if marks.strip("."):
        return True
    following = text[end.end() : end.end() + 50].lstrip("\n\t \"'“‘(*_")[:1]
    if len(marks) > 1:
        return following.isupper()
    # The word before, at most 20 characters back: hostile text must not be scanned again and again.
    before = (text[max(begin, end.start() - 20) : end.start()].split() or [""])[-1].lstrip("\"'“‘([*_")
    if len(before) == 1 and before.isupper() and before != "I":
        return False
    if before.lower() in BEFORE_NAMES:
        return False
    return before.lower() not in ABBREVIATIONS or following.isupper()


def capital_words(text: str) -> int:
    """Tokens in capital letters, cut as Penn Treebank does: IT'S and DON'T are two, A-B is one."""
    found = 0
    for token in _TOKEN.findall(text):
        stem = _CONTRACTION.sub("", token)
        found += stem.isupper() + (stem != token and token[len(stem) :].isupper())
    return found


def language(text: str) -> str | None:
    """ISO 639-1 code (zh-cn and zh-tw for Chinese); None for text without a letter.

    langdetect is what the reference uses. It draws random numbers: the seed makes it a function of the text.
    """
    from langdetect import DetectorFactory, LangDetectException, detect

    DetectorFactory.seed = 0
    try:
        return str(detect(text))
    except LangDetectException:
        return None
