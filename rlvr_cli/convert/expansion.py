"""What a word of a shell script stands for, as far as assignments tell; no program is run."""

from __future__ import annotations

import os
import posixpath
import re
from dataclasses import dataclass, field
from pathlib import Path

from rlvr_cli.convert import arithmetic
from rlvr_cli.convert.shell import Part, Word, quoted_parts, tokens

ENVIRONMENT = ("HOME", "PWD", "USER")
"""What is taken from here; any other variable must be set in the script."""
UNKNOWN = re.compile("\0([^\0]*)\0")
REFERENCE = re.compile(r"(\w+|[@*#?$!-])(\[[@*]\]|\[\d+\])?(.*)", re.DOTALL)
PARAMETERS = ("@", "*", "#")
"""Arguments of the script: it is read as called without any."""

EMPTY = Part("text", "", quoted=True)
"""What opens double quotes: a word of its own where nothing else is in it, as in `""`."""

Value = str | list[str]


def unknown(text: str) -> str:
    """A mark in the place of what cannot be known without running the script."""
    return f"\0{text}\0"


def shown(text: str) -> str:
    """A value for a reader, with what is not known as it is written in the script."""
    return UNKNOWN.sub(r"\1", text)


@dataclass
class Variables:
    """The variables of a script, and words in their terms."""

    script: Path
    known: dict[str, Value] = field(default_factory=dict)

    def fields(self, word: Word) -> list[str]:
        """The words that a word becomes: none for an empty variable, several for an array."""
        found: list[str] = []
        open_word = False
        parts = [part for part in word.parts if part != EMPTY]
        for part in parts or word.parts:
            if part.kind == "text":
                pieces = [part.text]
            else:
                value = self.value(part)
                whole = value if isinstance(value, list) else [value]
                pieces = whole if part.quoted else [piece for each in whole for piece in _split(each)]
                if not pieces:
                    continue
            if open_word:
                found[-1] += pieces[0]
                found += pieces[1:]
            else:
                found += pieces
            open_word = True
        return found

    def joined(self, parts: tuple[Part, ...]) -> str:
        """The text of an assignment's right side: never split."""
        return "".join(part.text if part.kind == "text" else self._line(self.value(part)) for part in parts)

    def value(self, part: Part) -> Value:
        if part.kind == "arithmetic":
            result = arithmetic.evaluate(re.sub(r"\$\{?(\w+)\}?", r"\1", part.text), self.number)
            return unknown(f"$(({part.text}))") if result is None else str(result)
        if part.kind == "command":
            return self._command(part.text)
        return self._variable(part)

    def number(self, name: str) -> int | None:
        value = self.known.get(name)
        return int(value) if isinstance(value, str) and re.fullmatch(r"\s*-?\d+\s*", value) else None

    def _variable(self, part: Part) -> Value:
        found = REFERENCE.fullmatch(part.text)
        if found is None:
            return unknown(f"${{{part.text}}}")
        name, index, rest = found[1], found[2] or "", found[3]
        if name in PARAMETERS:
            return []
        value = self._named(name)
        if index and value is not None:
            items = value if isinstance(value, list) else [value]
            value = items if index in ("[@]", "[*]") else _item(items, int(index[1:-1]))
        elif isinstance(value, list):
            value = value[0] if value else ""  # $A is the first item
        return self._changed(name, value, rest, part)

    def _named(self, name: str) -> Value | None:
        if name == "0":
            return str(self.script)
        if name.isdigit():
            return None
        return self.known.get(name, os.environ.get(name) if name in ENVIRONMENT else None)

    def _changed(self, name: str, value: Value | None, rest: str, part: Part) -> Value:
        """`${X:-default}` and its relatives; what else there is stays unknown."""
        written = unknown(f"${{{part.text}}}")
        if found := re.match(r":?([-=])", rest):
            if value not in (None, "", []) or (value == "" and not rest.startswith(":")):
                return value if value is not None else ""
            default = self._default(rest[found.end() :], part.quoted)
            if found[1] == "=":
                self.known[name] = default
            return default
        if found := re.match(r":?\+", rest):
            return self._default(rest[found.end() :], part.quoted) if value else ""
        if value is None:
            return written
        if rest in ("", ",,", "^^") or rest.startswith(":?"):
            change = {",,": str.lower, "^^": str.upper}.get(rest, str)
            return [change(each) for each in value] if isinstance(value, list) else change(value)
        if rest == "##*/" and isinstance(value, str):
            return value.rpartition("/")[2]
        return written

    def _default(self, text: str, quoted: bool) -> str:
        if quoted:
            return self.joined(quoted_parts(text.strip('"')))
        words = [field for token in tokens(text) if isinstance(token, Word) for field in self.fields(token)]
        return " ".join(words)

    def _command(self, text: str) -> str:
        """The few programs whose answer follows from their words."""
        words = [token for token in tokens(text) if token != "\n"]
        named = [self.joined(word.parts) if isinstance(word, Word) else str(word) for word in words]
        match named:
            case ["basename", path, *suffix] if len(suffix) < 2:
                name = path.rstrip("/").rpartition("/")[2]
                return name.removesuffix(suffix[0]) if suffix else name
            case ["dirname", path]:
                return posixpath.dirname(path) or "."
            case ["pwd"]:
                return os.getcwd()
            case ["cd", path, "&&", "pwd"] if not UNKNOWN.search(path):
                return os.path.abspath(path)
            case ["realpath", path] if not UNKNOWN.search(path):
                return os.path.abspath(path)
        return unknown(f"$({text})")

    @staticmethod
    def _line(value: Value) -> str:
        return " ".join(value) if isinstance(value, list) else value


def _item(items: list[str], index: int) -> str | None:
    return items[index] if index < len(items) else None


def _split(text: str) -> list[str]:
    """At white space, but not within the mark of an unknown value."""
    return re.findall("(?:\0[^\0]*\0|[^\\s\0])+", text)
