"""The letter that a text gives as its answer."""

from __future__ import annotations

import re
from collections import deque

from rlvr_cli.core.types import Reason
from rlvr_cli.verifiers.rejected import Rejected

MAX_LINE = 300
"""Characters read of a line that gives a letter."""
MAX_MARKS = 20
"""Times that a response may speak of its answer after giving it."""
_MARK = re.compile(
    r"answer[*_]{0,3}(?:[ \t]{1,3}is(?![A-Za-z])(?:[ \t]{0,3}[:：]|(?P<prose>))|[ \t]{0,3}[:：])",
    re.IGNORECASE,
)
_CLUTTER = re.compile(
    r"\\(?:boxed|text(?:bf|it|rm|sf)?|math(?:rm|bf|it|sf)|left|right|displaystyle|q?quad)(?![A-Za-z])"
    r"|\\[()\[\],;:! ]|[*_${}`\"“”]"
)
_QUOTED = re.compile(r"(?<!\w)['‘]([A-Za-z])['’](?!\w)")
# `e.g.` and `x = 2` give no letter.
_FIRST = re.compile(
    r"[ :]*(?:(?i:option|choice) ?)?[(（]? ?\[? ?"
    r"([A-Z]|[a-j](?! ?[=+^<>]|\.[a-z]))(?![A-Za-z0-9'’])(?: ?[\])）])?"
)
_OTHER = re.compile(
    r" ?[,/&;|]? ?(?:or|and|and/or|maybe|perhaps|possibly|also)? ?(?:(?:option|choice) ?)?"
    r"[(\[（]? ?([A-Jb-hj]|a(?=\W*$))(?![A-Za-z0-9'’])"
)
_EITHER = re.compile(r" ?(?:either|both|any of|one of)\b", re.IGNORECASE)
_WORD_AFTER = re.compile(r" (?!is\b|because\b|since\b|as\b|or\b|and\b)[a-z]")


def answer_letter(text: str) -> str:
    """The letter after the last `Answer:` or `answer is`, on its line or the next.

    An `answer is` without a letter, as in `the answer is obvious`, is prose and looked behind.
    """
    nothing = Rejected(Reason.no_answer, "no 'Answer:' and no 'answer is'")
    for seen, mark in enumerate(reversed(deque(_MARK.finditer(text), maxlen=MAX_MARKS))):
        rest = _CLUTTER.sub(" ", text[mark.end() : mark.end() + MAX_LINE]).lstrip()
        try:
            return first_letter(rest.partition("\n")[0])
        except Rejected as rejected:
            nothing = nothing if seen else rejected
            if rejected.verdict.reason is not Reason.no_answer or mark["prose"] is None:
                break
    raise nothing


def first_letter(text: str) -> str:
    """The letter that `text` begins with. Rejected: several letters, or none."""
    text = " ".join(_QUOTED.sub(r"\1", _CLUTTER.sub(" ", text[:MAX_LINE])).split())
    if _EITHER.match(text):
        raise Rejected(Reason.refused, "several options", text[:80])
    first = _FIRST.match(text)
    # `I think` and `A triangle` are words; `i` and `a` as well, but `b` and `(a)` are letters.
    if first is None or (first[1].upper() in "AI" and _WORD_AFTER.match(text, first.end())):
        raise Rejected(Reason.no_answer, "no letter where the answer is expected", text[:80] or None)
    other = _OTHER.match(text, first.end())
    if other and other[1].upper() != first[1].upper():
        raise Rejected(Reason.refused, "several options", text[:80])
    return first[1].upper()


_WHOLE = re.compile(
    r"(?i:option|choice)?\s*[(\[（]?\s*([A-Ja-j])\s*(?:[)\]）.:]\s*(.*)|[)\]）]?\.?)", re.DOTALL
)


def whole_letter(text: str, options: list[str]) -> str:
    """The letter that `text` as a whole gives: `B`, `(b)`, `B.`, `B) its text`, or an option's text alone.

    Rejected: it gives none, or a letter and the text of another option.
    """
    text = " ".join(_CLUTTER.sub(" ", text[:MAX_LINE]).split())
    plain = [" ".join(_CLUTTER.sub(" ", option).split()).casefold() for option in options]
    if text and plain.count(text.rstrip(".").casefold()) == 1:
        return chr(ord("A") + plain.index(text.rstrip(".").casefold()))
    found = _WHOLE.fullmatch(text)
    if found is None:
        raise Rejected(Reason.no_answer, "the answer is no letter", text[:80] or None)
    letter, rest = found[1].upper(), (found[2] or "").rstrip(".").casefold()
    if (
        rest
        and rest not in plain[ord(letter) - ord("A") :][:1]
        and (plain or _OTHER.match(" " + rest.upper()))
    ):
        raise Rejected(Reason.refused, "a letter and something else", text[:80])
    return letter
