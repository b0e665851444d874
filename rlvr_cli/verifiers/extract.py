"""What a response gives as its answer, by one declared mode.

The modes are never combined: "any candidate may match" rewards a model for listing candidates.
Everything here is linear in the length of the response and bounded in what it looks at closely,
because it runs in the parent on whatever a policy under training produces.
"""

from __future__ import annotations

import re
from collections import deque
from enum import Enum

from rlvr_cli.core.types import Reason, Verdict

MAX_BOX = 10_000
"""Characters looked at for the end of a box; a final answer is far shorter."""
ADJACENT = 20
"""Boxes on one line, at most this many characters apart, are read as one answer."""


class Extraction(Enum):
    boxed = "boxed"
    """Content of the last `\\boxed{...}`."""
    answer_line = "answer_line"
    """Rest of the last line that begins with `Answer:`."""
    hash = "hash"
    """Rest of the line after the last `####`."""
    last_number = "last_number"
    """The last number in the text."""
    answer_tags = "answer_tags"
    """Content of the last `<answer>...</answer>`."""
    choice = "choice"
    """The letter after the last `Answer:` or `answer is`; several letters are refused."""


class Rejected(Exception):
    """The response has no answer that could be compared; carries the verdict's reason."""

    def __init__(self, reason: Reason, detail: str, extracted: str | None = None) -> None:
        super().__init__(detail)
        self.verdict = Verdict(score=0.0, reason=reason, detail=detail, extracted=extracted)


_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BOX = re.compile(r"\\boxed\s{0,3}\{")
# [ \t] and not \s: runs of newlines would be rescanned from each of their line starts.
_ANSWER_LINE = re.compile(
    r"^[ \t>#*_]*(?:final[ \t]+)?answer[*_]*[ \t]*:[*_]*(.*)$", re.IGNORECASE | re.MULTILINE
)
_NUMBER = re.compile(
    r"(?:(?<![0-9A-Za-z)}\]])[-−+])?\$?(?:[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?|\.[0-9]+)(?:/[0-9]+)?(?: ?\\?%)?"
)

MAX_LINE = 300
"""Characters read of a line that gives a letter."""
_MARK = re.compile(r"answer[*_]{0,3}(?:[ \t]{1,3}is(?![A-Za-z])[ \t]{0,3}:?|[ \t]{0,3}:)", re.IGNORECASE)
_CLUTTER = re.compile(r"\\boxed|\\text(?:bf)?|\\mathrm|\\mathbf|\\[()]|[*_${}]")
_FIRST = re.compile(r"[\s:]*(?:option|choice)?\s*\(?\[?([A-Z])(?![A-Za-z0-9'’])[\])]?", re.IGNORECASE)
_OTHER = re.compile(
    r"\s*(?:,|/|&|;|\|)?\s*(?:or|and|and/or|maybe|perhaps|possibly|also)?\s*(?:option\s*|choice\s*)?[(\[]?([A-Jb-hj]|a(?=\W*$))"
    r"(?![A-Za-z0-9'’])"
)
_EITHER = re.compile(r"\s*(?:either|both|any of|one of)\b", re.IGNORECASE)
_WORD_AFTER = re.compile(r"\s+(?!is\b|because\b|since\b|as\b|or\b|and\b)[a-z]")


def after_reasoning(response: str, opened: bool = False) -> str:
    """The text after the last `</think>`. `opened`: the prompt already holds the `<think>`."""
    end = response.rfind("</think>")
    if end >= 0:
        response = response[end + len("</think>") :]
    elif opened:
        raise Rejected(Reason.no_answer, "the reasoning is not closed by </think>")
    if "<think>" in response:
        raise Rejected(Reason.no_answer, "<think> is opened and not closed")
    return response


def _box_at(text: str, start: int) -> tuple[str, int]:
    """Content of the box that begins at `start`, and where it ends."""
    opening = _BOX.match(text, start)
    if opening is None:
        raise Rejected(Reason.malformed, "the last \\boxed has no braces")
    depth = 1
    for token in _BRACE.finditer(text, opening.end(), opening.end() + MAX_BOX):
        if token.group() == "{":
            depth += 1
        elif token.group() == "}":
            depth -= 1
            if depth == 0:
                return text[opening.end() : token.start()], token.end()
    raise Rejected(Reason.malformed, "the last \\boxed{ is not closed")


def boxed(text: str) -> str:
    start = text.rfind("\\boxed")
    if start < 0:
        raise Rejected(Reason.no_answer, "no \\boxed{...}")
    content, _ = _box_at(text, start)
    before = text.rfind("\\boxed", max(0, start - 1000), start)
    if before >= 0:
        try:
            other, end = _box_at(text, before)
        except Rejected:  # an unclosed earlier box is a slip of the pen, not a second answer
            return content
        gap = text[end:start]
        if end <= start and len(gap) <= ADJACENT and "\n" not in gap and other.strip() != content.strip():
            raise Rejected(Reason.refused, "several different boxes side by side", f"{other}{gap}{content}")
    return content


def _last(pattern: re.Pattern[str], text: str, missing: str) -> str:
    last = deque(pattern.finditer(text), maxlen=1)
    if not last:
        raise Rejected(Reason.no_answer, missing)
    return last[0].group(last[0].lastindex or 0)


def _tagged(text: str) -> str:
    start = text.rfind("<answer>")
    if start < 0:
        raise Rejected(Reason.no_answer, "no <answer>...</answer>")
    end = text.find("</answer>", start)
    if end < 0:
        raise Rejected(Reason.malformed, "the last <answer> is not closed")
    return text[start + len("<answer>") : end]


def _hash(text: str) -> str:
    start = text.rfind("####")
    if start < 0:
        raise Rejected(Reason.no_answer, "no ####")
    end = text.find("\n", start)
    return text[start + 4 : end if end >= 0 else len(text)]


def answer_letter(text: str) -> str:
    """The letter after the last `Answer:` or `answer is`, on its line or the next."""
    last = deque(_MARK.finditer(text), maxlen=1)
    if not last:
        raise Rejected(Reason.no_answer, "no 'Answer:' and no 'answer is'")
    rest = text[last[0].end() :][:MAX_LINE].lstrip("*_ \t\r\n")
    return first_letter(rest.partition("\n")[0])


def first_letter(text: str) -> str:
    """The letter that `text` begins with. Rejected: several letters, or none."""
    text = _CLUTTER.sub(" ", text[:MAX_LINE])
    if _EITHER.match(text):
        raise Rejected(Reason.refused, "several options", text.strip()[:80])
    first = _FIRST.match(text)
    # `I think` and `A triangle` are words; `i` and `a` as well, but `b` and `(a)` are letters.
    if first is None or (first[1].upper() in "AI" and _WORD_AFTER.match(text, first.end())):
        raise Rejected(Reason.no_answer, "no letter where the answer is expected", text.strip()[:80] or None)
    other = _OTHER.match(text, first.end())
    if other and other[1].upper() != first[1].upper():
        raise Rejected(Reason.refused, "several options", text.strip()[:80])
    return first[1].upper()


def extract(response: str, mode: Extraction, opened: bool = False) -> str:
    """The answer in `response`; Rejected where there is none."""
    text = after_reasoning(response, opened)
    if mode is Extraction.boxed:
        found = boxed(text)
    elif mode is Extraction.answer_line:
        found = _last(_ANSWER_LINE, text, "no line beginning with 'Answer:'").strip("*_ \t")
        if "\\boxed" in found:
            found = boxed(found)
    elif mode is Extraction.hash:
        found = _hash(text)
    elif mode is Extraction.answer_tags:
        found = _tagged(text)
    elif mode is Extraction.last_number:
        found = _last(_NUMBER, text, "no number")
    else:
        found = answer_letter(text)
    found = found.strip()
    if not found:
        raise Rejected(Reason.no_answer, "the answer is empty")
    return found
