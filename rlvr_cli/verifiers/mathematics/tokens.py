r"""Text of an answer -> tokens: LaTeX, plain text and Unicode spellings of a thing become one token.

One pass, one pattern, linear in the length. Spacing is no token: it is remembered by the token behind it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from rlvr_cli.verifiers.mathematics.synonyms import BARE, MONEY, NOTHING, SAME, SPACES, TEXTS, tidy


class Token(NamedTuple):
    kind: str
    """number, letter, run (several bare letters), text (`\\text{...}`), command, symbol or money."""
    text: str
    spaced: bool = False
    """Space stands before it."""


class Unreadable(Exception):
    """The text follows no grammar that is known here."""


_GROUP = r"(?:\{,\}(?:\\!)?[ ]?|,\\![ ]?|\\,|\\ |~)"
_NUMBER = (
    rf"[0-9]{{1,3}}(?:{_GROUP}[0-9]{{3}})+(?![0-9])(?:\.[0-9]+)?"
    r"|[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?"
    r"|(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)[eE][-+]?[0-9]+(?![0-9A-Za-z]|\.[0-9])"
    r"|[0-9]+(?:\.[0-9]+|\.(?=\s*\\(?:overline|dot|bar)(?![A-Za-z])))?"
    r"|\.[0-9]+|\.(?=\s*\\(?:overline|dot)\s*\{[0-9])"
)
_TOKEN = re.compile(
    rf"(?P<number>{_NUMBER})"
    r"|(?P<command>\\[A-Za-z]+|\\[^A-Za-z0-9\s])"
    r"|(?P<run>[A-Za-z]+)"
    r"|(?P<space>(?:\s|~|\\\s)+)"
    r"|(?P<symbol>.)",
    re.DOTALL,
)
_UNIT_VECTOR = re.compile(r"(\{ )?\\?([ijk])(?:math)? (?(1)\} )")
_OPEN, _CLOSE = {"(": 1, "[": 1, r"\{": 1}, {")": 1, "]": 1, r"\}": 1}


def braced(text: str, start: int) -> int:
    """The index behind the `}` that closes the `{` at `start`. Unreadable where there is none."""
    depth = 0
    for i in range(start, len(text)):
        if text[i] == "\\":
            continue
        if text[i] in "{}" and text[i - 1] != "\\":
            depth += 1 if text[i] == "{" else -1
            if depth == 0:
                return i + 1
    raise Unreadable("unbalanced braces")


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[Token] = []
        self.spaced = False
        self.depth = 0
        self.at = 0

    def add(self, kind: str, text: str) -> None:
        self.tokens.append(Token(kind, text, self.spaced))
        self.spaced = False

    def scan(self) -> list[Token]:
        while self.at < len(self.text):
            found = _TOKEN.match(self.text, self.at)
            assert found is not None  # the last alternative takes any character
            self.at = found.end()
            written = found.group()
            match found.lastgroup:
                case "space":
                    self.spaced = True
                case "number":
                    self.number(written)
                case "command":
                    self.command(written)
                case "run":
                    self.run(written)
                case _:
                    self.symbol(written)
        return _fractions(_joined(self.tokens))

    def number(self, written: str) -> None:
        plain = re.sub(r"[^0-9.eE+-]", "", written)
        if "," in written and self.depth and _only_commas(written):
            # A comma within brackets separates: (1,234) is a point.
            for i, part in enumerate(written.split(",")):
                if i:
                    self.add("symbol", ",")
                self.add("number", part)
        else:
            self.add("number", plain)

    def run(self, written: str) -> None:
        if written in BARE:
            self.add("command", BARE[written])
        else:
            self.add("letter" if len(written) == 1 else "run", written)

    def symbol(self, written: str) -> None:
        self.depth += _OPEN.get(written, 0) - _CLOSE.get(written, 0)
        if written in MONEY:
            self.add("money", MONEY[written])
        elif written == "$":
            if self.text.count("$") % 2 and self.text[self.at : self.at + 1].isdigit():
                self.add("money", "$")
        elif written >= " ":
            self.add("symbol", written)

    def command(self, written: str) -> None:
        if written in SPACES:
            self.spaced = True
            if written in (r"\hspace", r"\hskip"):
                self.argument()
        elif written in NOTHING:
            if written in (r"\color", r"\textcolor"):
                self.argument()
            if written in (r"\left", r"\right") and self.text[self.at : self.at + 1] == ".":
                self.at += 1
        elif written in TEXTS:
            self.texts(written)
        elif written == r"\begin" or written == r"\end":
            self.add("command", f"{written}{{{self.argument().strip()}}}")
        elif written == "\\\\":
            size = re.compile(r"\s*\[\s*-?[0-9.]+\s*(?:pt|em|ex|mm|cm|in)\s*\]").match(self.text, self.at)
            self.at = size.end() if size else self.at
            self.add("command", written)
        elif written in MONEY:
            self.add("money", MONEY[written])
        else:
            same = SAME.get(written, written)
            self.depth += _OPEN.get(same, 0) - _CLOSE.get(same, 0)
            self.add("command" if same[0] == "\\" else "symbol", same)

    def argument(self) -> str:
        """What stands in the braces that follow, or nothing."""
        while self.text[self.at : self.at + 1].isspace():
            self.at += 1
        if self.text[self.at : self.at + 1] != "{":
            return ""
        end = braced(self.text, self.at)
        inner, self.at = self.text[self.at + 1 : end - 1], end
        return inner

    def texts(self, command: str) -> None:
        inner = self.argument()
        plain = re.sub(r"\\[,;: ]|~|\s+|\\quad", " ", inner.replace("$", ""))
        while (nested := re.fullmatch(r"\s*\\[a-z]+\s*\{([^{}]*)\}\s*", plain)) is not None:
            plain = nested[1]
        if re.search(r"[0-9\\^_{}=+]", plain) and not re.fullmatch(
            r"[A-Za-z ./^0-9{}-]*\^[-{}0-9]+", plain.strip()
        ):
            # Mathematics set in text: \text{(C)}, \mathrm{10}, \text{ cm}^2 within.
            inside = tokens(inner)
            if inside:
                self.tokens.append(inside[0]._replace(spaced=self.spaced))
                self.tokens += inside[1:]
                self.spaced = False
            return
        word = plain.strip()
        if re.fullmatch(r"\([A-Za-z]\)", word):
            self.tokens += tokens(word)
            return
        if command in (r"\mathbf", r"\boldsymbol", r"\bm") and word in ("i", "j", "k"):
            self.add("command", f"\\hat{word}")
        elif not word:
            self.spaced = True
        else:
            self.add("text", word)


def _only_commas(written: str) -> bool:
    return "{" not in written and "\\" not in written


def _argument(before: list[Token]) -> bool:
    """Whether a brace behind these tokens opens an argument."""
    return bool(before) and (before[-1].text in "^_}" or before[-1].kind == "command")


def _fractions(tokens: list[Token]) -> list[Token]:
    """`a \\over b` as `\\frac{a}{b}`, `n \\choose k` as `\\binom{n}{k}`, within their braces."""
    found = [i for i, token in enumerate(tokens) if token.text in (r"\over", r"\choose")]
    if len(found) != 1:
        return tokens
    start, end, depth = found[0], found[0], 0
    while start and depth >= 0:
        start -= 1
        depth += {"}": 1, "{": -1}.get(tokens[start].text, 0)
    start += depth < 0
    depth = 0
    while end < len(tokens) - 1 and depth >= 0:
        end += 1
        depth += {"{": 1, "}": -1}.get(tokens[end].text, 0)
    end += depth >= 0
    while end == len(tokens) and tokens[end - 1].text == ".":
        tokens = tokens[:-1]
        end -= 1
    top, bottom = tokens[start : found[0]], tokens[found[0] + 1 : end]
    name = {r"\over": r"\frac", r"\choose": r"\binom"}[tokens[found[0]].text]
    opened, closed = Token("symbol", "{"), Token("symbol", "}")
    made = [Token("command", name), opened, *top, closed, opened, *bottom, closed]
    return [*tokens[:start], *made, *tokens[end:]]


def _joined(tokens: list[Token]) -> list[Token]:
    r"""`^\circ`, `^{\circ}`, `^\prime` and `\hat i` become one token each."""
    made: list[Token] = []
    i = 0
    while i < len(tokens):
        here = tokens[i]
        names = [token.text for token in tokens[i : i + 4]]
        if names[:2] == ["^", r"\circ"] or names[:2] == ["^", r"\degree"]:
            made.append(Token("command", r"\degree", here.spaced))
            i += 2
        elif names in (["^", "{", r"\circ", "}"], ["^", "{", r"\degree", "}"]):
            made.append(Token("command", r"\degree", here.spaced))
            i += 4
        elif names[:2] == ["^", "'"]:
            made.append(Token("symbol", "'", here.spaced))
            i += 2
        elif names[:2] == ["^", "{"] and len(names) == 4 and names[2] == "'" and names[3] in ("}", "'"):
            end = i + 2
            while end < len(tokens) and tokens[end].text == "'":
                made.append(Token("symbol", "'", here.spaced and end == i + 2))
                end += 1
            i = end + 1
        elif (
            here.text == "{"
            and names[2:3] == ["}"]
            and tokens[i + 1].kind == "symbol"
            and names[1] in ":=+-*/,<>"
        ):
            made.append(tokens[i + 1])  # 2{:}3
            i += 3
        elif (
            here.text == "{"
            and names[2:] == ["}", "_"]
            and tokens[i + 1].kind == "letter"
            and not _argument(made)
        ):
            made.append(tokens[i + 1]._replace(spaced=here.spaced))  # {x}_2
            i += 3
        elif here.text == r"\not" and names[1:2] in (["="], [r"\in"]):
            made.append(Token("command", {"=": r"\ne", r"\in": r"\notin"}[names[1]], here.spaced))
            i += 2
        elif here.text == r"\hat" and (vector := _UNIT_VECTOR.match(" ".join(names[1:]) + " ")):
            made.append(Token("command", f"\\hat{vector[2]}", here.spaced))
            i += 4 if vector[1] else 2
        elif here.text == "x" and i and tokens[i - 1].kind == "number" and names[1:3] == ["10", "^"]:
            made.append(Token("symbol", "*", here.spaced))  # 4.5x10^33
            i += 1
        else:
            made.append(here)
            i += 1
    return made


def tokens(text: str) -> list[Token]:
    """Unreadable where braces do not close."""
    return _Scanner(tidy(text)).scan()
