"""What a response gives as its answer, by one declared mode.

The modes are never combined: "any candidate may match" rewards a model for listing candidates.
Everything here is linear in the length of the response and bounded in what it looks at closely,
because it runs in the parent on whatever a policy under training produces.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from enum import Enum

from rlvr_cli.core.types import Reason
from rlvr_cli.verifiers.letters import answer_letter
from rlvr_cli.verifiers.rejected import Rejected as Rejected

MAX_BOX = 10_000
"""Characters looked at for the end of a box; a final answer is far shorter."""
MAX_BOXES = 100
"""Boxes looked at, from the last one backwards, for one that holds something."""
BEFORE_BOX = 300
"""Characters of its line looked at before a box without braces."""
ADJACENT = 20
"""Boxes on one line, at most this many characters apart, are read as one answer."""


class Extraction(Enum):
    boxed = "boxed"
    """Content of the last `\\boxed{...}` that holds something."""
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


class Boxes(Enum):
    """What a box before the last one means."""

    last = "last"
    """Nothing: only the last box counts, so another one gains nothing."""
    refuse_hedging = "refuse_hedging"
    """A different answer on the same line, shortly before the last, is `refused`."""


_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BOX = re.compile(r"\\boxed\s{0,3}\{")
_BARE_NUMBER = re.compile(
    r"[ \t]{0,3}((?>[-−+]?(?:[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?|\.[0-9]+)(?:/[0-9]+)?(?: ?\\?%)?))(?![A-Za-z])"
)
_BARE_FORMULA = re.compile(
    r"(?![A-Za-z])[ \t]{0,3}((?:\\[A-Za-z]++|\\[^A-Za-z)\]]|[A-Za-z](?![A-Za-z])|[^A-Za-z\\$\n]){1,300}+)"
    r"(?=\$|\\[)\]])"
)
_SAYS = re.compile(r"[A-Za-z0-9]")
_EMPTY = re.compile(
    r"(?:[\s~{}.…$]|\\[,;:! ]|\\(?:q?quad|text|math(?:rm|bf)|[lc]?dots|square|phantom)(?![A-Za-z]))*+"
)
# [ \t] and not \s: runs of newlines would be rescanned from each of their line starts.
_ANSWER_LINE = re.compile(
    r"^[ \t>#*_]*(?:final[ \t]+)?answer[*_]*[ \t]*[:：][*_]*(.*)$", re.IGNORECASE | re.MULTILINE
)
MAX_BOLD = 4000
"""Stars are taken off lines up to this many characters."""
# A star behind a number or bracket is a product: 2**3**2.
_BOLD = re.compile(r"(?<![\w)\]}*])(\*{2,3})(?=[^\s*])([^*]+)(?<=\S)\1(?!\*)")
_NUMBER = re.compile(
    r"(?:(?<![0-9A-Za-z)}\]])[-−+])?\$?(?:[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?|\.[0-9]+)(?:/[0-9]+)?(?: ?\\?%)?"
)


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
    """Content of the box that begins at `start`, and where it ends; Rejected where it is not closed."""
    opening = _BOX.match(text, start)
    if opening is None:
        return _bare_box(text, start)
    depth = 1
    for token in _BRACE.finditer(text, opening.end(), opening.end() + MAX_BOX):
        if token.group() == "{":
            depth += 1
        elif token.group() == "}":
            depth -= 1
            if depth == 0:
                return text[opening.end() : token.start()], token.end()
    raise Rejected(Reason.malformed, "the last \\boxed{ is not closed")


def _bare_box(text: str, start: int) -> tuple[str, int]:
    """Of a box without braces: the rest of the formula it stands in, or the number behind it.

    Nothing in `inside \\boxed as asked`.
    """
    after = start + len("\\boxed")
    line = text[max(0, start - BEFORE_BOX) : start].rpartition("\n")[2]
    if line.replace("$$", "$").count("$") % 2 or "\\[" in line or "\\(" in line:
        formula = _BARE_FORMULA.match(text, after)
        if formula and formula[1].count("{") == formula[1].count("}") and _SAYS.search(formula[1]):
            return formula[1], formula.end()
    number = _BARE_NUMBER.match(text, after)
    return (number[1], number.end()) if number else ("", start)


def _boxes(text: str) -> Iterator[tuple[str, int]]:
    """(content, start) of the boxes, the last one first."""
    start = len(text)
    for _ in range(MAX_BOXES):
        start = text.rfind("\\boxed", 0, start)
        if start < 0:
            return
        content, end = _box_at(text, start)
        if end > start:
            yield content, start


def boxed(text: str, boxes: Boxes = Boxes.last) -> str:
    """Content of the last box that holds something; empty where none does.

    Rejected: there is no box, one behind it is not closed, or `boxes` refuses what stands before it.
    """
    empty = False
    for content, start in _boxes(text):
        if not _EMPTY.fullmatch(content):
            if boxes is Boxes.refuse_hedging:
                _refuse_second(text, content, start)
            return content
        empty = True
    if empty:
        return ""
    raise Rejected(Reason.no_answer, "no \\boxed{...}")


def _refuse_second(text: str, content: str, start: int) -> None:
    before = text.rfind("\\boxed", max(0, start - 1000), start)
    if before < 0:
        return
    try:
        other, end = _box_at(text, before)
    except Rejected:  # an unclosed earlier box is a slip of the pen, not a second answer
        return
    gap = text[end:start]
    beside = before < end <= start and len(gap) <= ADJACENT and "\n" not in gap
    if beside and other.strip() != content.strip() and not _EMPTY.fullmatch(other):
        raise Rejected(Reason.refused, "several different boxes side by side", f"{other}{gap}{content}")


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


def _unmarked(line: str) -> str:
    """`line` without bold and italics, and without the full stop behind them."""
    line = line.strip()
    if len(line) > MAX_BOLD or "*" not in line:
        return line
    bare = line.rstrip(".。")
    line = bare if bare.endswith("*") else line
    return _BOLD.sub(r"\2", line).strip("* \t")


def _hash(text: str) -> str:
    start = text.rfind("####")
    if start < 0:
        raise Rejected(Reason.no_answer, "no ####")
    end = text.find("\n", start)
    return _unmarked(text[start + 4 : end if end >= 0 else len(text)])


def extract(response: str, mode: Extraction, opened: bool = False, boxes: Boxes = Boxes.last) -> str:
    """The answer in `response`; Rejected where there is none.

    `opened`: the prompt already holds the `<think>`.
    """
    text = after_reasoning(response, opened)
    if mode is Extraction.boxed:
        found = boxed(text, boxes)
    elif mode is Extraction.answer_line:
        found = _unmarked(_last(_ANSWER_LINE, text, "no line beginning with 'Answer:'")).strip("_ \t")
    elif mode is Extraction.hash:
        found = _hash(text)
    elif mode is Extraction.answer_tags:
        found = _tagged(text)
    elif mode is Extraction.last_number:
        found = _last(_NUMBER, text, "no number")
    else:
        found = answer_letter(text)
    if mode in (Extraction.answer_line, Extraction.hash) and "\\boxed" in found:
        found = boxed(found, boxes)
    found = found.strip()
    if not found:
        raise Rejected(Reason.no_answer, "the answer is empty")
    return found
