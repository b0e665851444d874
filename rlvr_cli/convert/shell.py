"""The words of a shell script, quotes and expansions told apart; nothing is expanded here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from rlvr_cli.core.errors import UserError

OPERATORS = (
    "&&",
    "||",
    ";;",
    "&>>",
    "&>",
    ">&",
    ">>",
    "<<<",
    "<<-",
    "<<",
    "|&",
    ";",
    "&",
    "|",
    "<",
    ">",
    "(",
    ")",
)
ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)(\+?)=")
CLOSING = {"(": ")", "{": "}"}


@dataclass(frozen=True)
class Part:
    """A piece of a word."""

    kind: Literal["text", "variable", "arithmetic", "command"]
    text: str
    """As written, without `$`, braces and quotes around it."""
    quoted: bool = False


@dataclass(frozen=True)
class Word:
    parts: tuple[Part, ...]
    line: int

    @property
    def plain(self) -> str:
        """Its text where it is nothing but unquoted text, else empty."""
        return "".join(part.text for part in self.parts) if all(_bare(part) for part in self.parts) else ""


@dataclass(frozen=True)
class Array:
    """`NAME=(word ...)` or, with `more`, `NAME+=(word ...)`."""

    name: str
    more: bool
    words: tuple[Word, ...]


Token = Word | Array | str
"""A string is an operator; a newline is one of them."""


def tokens(text: str) -> list[Token]:
    """All of a script; UserError for a quote or bracket that is not closed."""
    return list(_Scanner(text).tokens())


def quoted_parts(text: str) -> tuple[Part, ...]:
    """What stands between double quotes."""
    return tuple(_Scanner(text).quoted(len(text)))


def _bare(part: Part) -> bool:
    return part.kind == "text" and not part.quoted


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.here: list[str] = []
        """Delimiters of here-documents whose text begins with the next line."""

    def tokens(self, until: str = "") -> Iterator[Token]:
        """Up to an unquoted `until` at the start of a word, or to the end."""
        while self.at < len(self.text):
            char = self.text[self.at]
            if char in " \t\r":
                self.at += 1
            elif self.text.startswith("\\\n", self.at):
                self.at += 2
            elif char == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            elif char == "\n":
                self.at += 1
                yield "\n"
                self._skip_documents()
            elif until and char == until:
                self.at += 1
                return
            elif operator := next((o for o in OPERATORS if self.text.startswith(o, self.at)), None):
                self.at += len(operator)
                if operator in ("<<", "<<-"):
                    self.here.append("".join(part.text for part in self._parts()))
                yield operator
            else:
                yield self._word()
        if until:
            raise UserError(f"a {until} is missing at the end")

    def _word(self) -> Token:
        line = self.text.count("\n", 0, self.at) + 1
        parts = tuple(self._parts())
        word = Word(parts, line)
        found = ASSIGNMENT.fullmatch(word.plain)
        if found and self.text.startswith("(", self.at):
            self.at += 1
            inner = tuple(token for token in self.tokens(")") if isinstance(token, Word))
            return Array(found[1], bool(found[2]), inner)
        return word

    def _parts(self) -> Iterator[Part]:
        while self.at < len(self.text):
            char = self.text[self.at]
            if char in " \t\r\n" or char in ";&|()<>":
                return
            if char == "'":
                yield Part("text", self._up_to("'"), quoted=True)
            elif char == '"':
                self.at += 1
                yield Part("text", "", quoted=True)  # "" is a word, though an empty one
                yield from self.quoted(None)
            elif self.text.startswith("\\\n", self.at):
                self.at += 2
            elif char == "\\":
                yield Part("text", self.text[self.at + 1 : self.at + 2], quoted=True)
                self.at += 2
            elif char in "$`":
                yield self._expansion(quoted=False)
            else:
                end = re.compile(r"[\s;&|()<>'\"\\$`]").search(self.text, self.at)
                stop = end.start() if end else len(self.text)
                yield Part("text", self.text[self.at : stop])
                self.at = stop

    def quoted(self, end: int | None) -> Iterator[Part]:
        """The parts up to the closing quote, or without quotes to `end`."""
        text = ""
        while self.at < len(self.text):
            char = self.text[self.at]
            if char == '"' and end is None:
                self.at += 1
                break
            if char == "\\" and self.text[self.at + 1 : self.at + 2] in ('"', "\\", "$", "`", "\n"):
                text += self.text[self.at + 1].replace("\n", "")
                self.at += 2
            elif char in "$`":
                if text:
                    yield Part("text", text, quoted=True)
                    text = ""
                yield self._expansion(quoted=True)
            else:
                text += char
                self.at += 1
        else:
            if end is None:
                raise UserError('a " is missing at the end')
        if text:
            yield Part("text", text, quoted=True)

    def _expansion(self, quoted: bool) -> Part:
        rest = self.text[self.at :]
        if rest.startswith("`"):
            return Part("command", self._up_to("`"), quoted)
        if rest.startswith("$((") and (inner := self._bracketed(1)) is not None:
            return Part("arithmetic", inner[1:-1], quoted)
        if rest.startswith(("$(", "${")) and (inner := self._bracketed(1)) is not None:
            return Part("command" if rest[1] == "(" else "variable", inner, quoted)
        if rest.startswith("$'") and not quoted:
            self.at += 1
            return Part("text", self._up_to("'"), quoted=True)
        name = re.match(r"\$(\w+|[@*#?$!-])", rest)
        self.at += len(name[0]) if name else 1
        return Part("variable", name[1], quoted) if name else Part("text", "$", quoted)

    def _bracketed(self, skip: int) -> str | None:
        """What stands in the brackets that open `skip` characters from here, of which it moves behind."""
        start = self.at + skip
        opening = self.text[start]
        depth = 0
        for index in range(start, len(self.text)):
            depth += (self.text[index] == opening) - (self.text[index] == CLOSING[opening])
            if depth == 0:
                self.at = index + 1
                return self.text[start + 1 : index]
        raise UserError(f"a {CLOSING[opening]} is missing at the end")

    def _up_to(self, mark: str) -> str:
        end = self.text.find(mark, self.at + 1)
        if end < 0:
            raise UserError(f"a {mark} is missing at the end")
        found = self.text[self.at + 1 : end]
        self.at = end + 1
        return found

    def _skip_documents(self) -> None:
        while self.here:
            mark = self.here.pop(0)
            end = re.compile(rf"^\t*{re.escape(mark)}$", re.MULTILINE).search(self.text, self.at)
            self.at = end.end() if end else len(self.text)
