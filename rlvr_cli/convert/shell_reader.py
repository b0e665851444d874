"""The commands of a shell script with their words expanded, by following its assignments and branches."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from rlvr_cli.convert.expansion import UNKNOWN, Variables, unknown
from rlvr_cli.convert.shell import ASSIGNMENT, Array, Token, Word, tokens

ENDS = {"if": "fi", "for": "done", "while": "done", "until": "done", "select": "done", "case": "esac"}
SEPARATORS = ("\n", ";", "&", "&&", "||", "|", "|&", ";;", "(", ")")
TESTS = ("[", "[[", "test")
DECLARE = ("export", "declare", "local", "readonly", "typeset")
OPENERS = ("then", "do", "else", "{", "}", "!", "time", "exec")
"""Words that a command may stand behind."""

Tokens = list[Token]


@dataclass(frozen=True)
class Command:
    words: tuple[str, ...]
    """Expanded; what cannot be known without running the script is marked (`expansion.unknown`)."""
    line: int


DOCUMENT = re.compile(
    r"^[ \t]*read(?:[ \t]+-\w+)*[ \t]+-\w*d[ \t]*(?:''|\"\")[ \t]+(\w+)[ \t]*<<-?[ \t]*(\w+)[ \t]*\n"
    r"(.*?)\n[ \t]*\2[ \t]*$",
    re.DOTALL | re.MULTILINE,
)
"""`read -r -d '' NAME <<EOF`, by which OpenRLHF's scripts put a command into a variable."""


def commands(text: str, script: Path, given: dict[str, str] | None = None) -> list[Command]:
    """Every command in its order, those in branches that may not be taken included."""
    reader = _Reader(Variables(script, dict(given or {})), frozenset(given or {}))
    reader.run(tokens(DOCUMENT.sub(_as_assignment, text)))
    return reader.found


def _as_assignment(found: re.Match[str]) -> str:
    """The document in double quotes, on as many lines as before."""
    quoted = found[3].replace('"', '\\"')
    return f'{found[1]}="{quoted}"\n'


class _Reader:
    def __init__(self, variables: Variables, fixed: frozenset[str]) -> None:
        self.variables, self.fixed = variables, fixed
        self.found: list[Command] = []

    def run(self, script: Tokens) -> None:
        at = 0
        runs: bool | None = True
        while at < len(script):
            end, first = _statement(script, at)
            statement = script[at:end]
            if runs is None:
                self._maybe(statement)
            elif runs and first in ENDS:
                self._branch(first, statement)
            elif runs:
                self._simple(statement)
            runs = self._next_runs(statement, first, script[end] if end < len(script) else "\n")
            at = end + 1

    def _next_runs(self, statement: Tokens, first: str, operator: Token) -> bool | None:
        """Of what stands behind `[ a = b ] &&` or `||`; behind any other command it is taken to run."""
        if operator not in ("&&", "||") or first not in TESTS:
            return True
        holds = self._holds(statement)
        return holds if operator == "&&" or holds is None else not holds

    def _simple(self, statement: Tokens) -> None:
        words = [token for token in _without_redirections(statement) if not isinstance(token, str)]
        while words and (first := _plain(words[0])) in (*OPENERS, *DECLARE):
            words = words[1:]
            if first in DECLARE:  # what is no assignment among them is an option or a name
                words = [word for word in words if _assigns(word)]
        ahead = 0
        while ahead < len(words) and _assigns(words[ahead]):
            ahead += 1
        if ahead == len(words):
            for word in words:
                self._assign(word)
            return
        expanded = [field for w in words[ahead:] if isinstance(w, Word) for field in self.variables.fields(w)]
        if expanded:
            line = next(word.line for word in words if isinstance(word, Word))
            self.found.append(Command(tuple(expanded), line))

    def _assign(self, token: Token) -> None:
        known = self.variables.known
        if isinstance(token, Array):
            items = [field for word in token.words for field in self.variables.fields(word)]
            before = known.get(token.name, []) if token.more else []
            value: str | list[str] = [*(before if isinstance(before, list) else [before]), *items]
            name = token.name
        elif isinstance(token, Word) and (found := ASSIGNMENT.match(token.parts[0].text)):
            name = found[1]
            text = token.parts[0].text[found.end() :]
            value = text + self.variables.joined(token.parts[1:])
            value = str(known.get(name, "")) + value if found[2] else value
        else:
            return
        if name not in self.fixed:
            known[name] = value

    def _branch(self, kind: str, block: Tokens) -> None:
        """The branch that is taken; where that cannot be told, what any of them sets is unknown."""
        if kind != "if":
            self._maybe(block[1:])
            return
        clauses = list(_clauses(block))
        for number, (condition, body) in enumerate(clauses):
            holds = True if condition is None else self._holds(condition)
            if holds:
                self.run(body)
                return
            if holds is None:
                for _, rest in clauses[number:]:
                    self._maybe(rest)
                return

    def _maybe(self, body: Tokens) -> None:
        before = dict(self.variables.known)
        start = next((i + 1 for i, token in enumerate(body) if _plain(token) in ("do", "in")), 0)
        for name in _assigned(body[:start]):
            self.variables.known[name] = unknown(f"${{{name}}}")
        self.run(body[start:])
        after = self.variables.known
        changed = {name for name in after if after[name] != before.get(name)} - self.fixed
        self.variables.known = before | {name: unknown(f"${{{name}}}") for name in changed}

    def _holds(self, condition: Tokens) -> bool | None:
        """Of `[ a = b ]`, `[ -z a ]` and the like; None where it takes running the script."""
        if any(isinstance(token, str) and token not in ("\n", ";") for token in condition):
            return None
        words = [self.variables.joined(token.parts) for token in condition if isinstance(token, Word)]
        words = [word for word in words if word not in (*TESTS, "]", "]]")]
        if any(UNKNOWN.search(word) for word in words):
            return None
        match words:
            case [left, "=" | "==", right]:
                return left == right
            case [left, "!=", right]:
                return left != right
            case ["-z", text]:
                return text == ""
            case ["-n", text]:
                return text != ""
        return None


def _plain(token: Token) -> str:
    return token.plain if isinstance(token, Word) else ""


def _assigns(token: Token) -> bool:
    if isinstance(token, Array):
        return True
    if not isinstance(token, Word) or not token.parts:
        return False
    first = token.parts[0]
    return first.kind == "text" and not first.quoted and bool(ASSIGNMENT.match(first.text))


def _assigned(head: Tokens) -> list[str]:
    """The variable of a loop: `for NAME in`."""
    return [_plain(head[0])] if head and re.fullmatch(r"[A-Za-z_]\w*", _plain(head[0])) else []


def _without_redirections(statement: Tokens) -> Tokens:
    """Without `> file`, `2>&1` and `<<< text`."""
    kept: Tokens = []
    skip = False
    for token in statement:
        if isinstance(token, str):
            skip = token in (">", ">>", "<", "<<<", "&>", "&>>", ">&")
            if skip and kept and _plain(kept[-1]).isdigit():
                kept.pop()
        elif not skip:
            kept.append(token)
        else:
            skip = False
    return kept


def _statement(script: Tokens, at: int) -> tuple[int, str]:
    """Where the statement that begins at `at` ends, and its first word; of a block, behind its last word."""
    first = _plain(script[at])
    if first not in ENDS:
        end = next((i for i in range(at, len(script)) if script[i] in SEPARATORS), len(script))
        return end, first
    closing: list[str] = []
    begins = True
    for index in range(at, len(script)):
        word = _plain(script[index])
        if begins and word in ENDS:
            closing.append(ENDS[word])
        elif begins and closing and word == closing[-1]:
            closing.pop()
            if not closing:
                return index + 1, first
        begins = script[index] in SEPARATORS or (begins and word in OPENERS) or word in OPENERS
    return len(script), first


def _clauses(block: Tokens) -> Iterator[tuple[Tokens | None, Tokens]]:
    """(condition, body) of an `if`; the condition of `else` is None."""
    marks = [(0, "if")]
    depth = 0
    begins = True
    for index, token in enumerate(block):
        word = _plain(token)
        if begins and word in ENDS:
            depth += 1
        elif begins and word in ENDS.values():
            depth -= 1
            if depth == 0:
                marks.append((index, "fi"))
        elif begins and depth == 1 and word in ("then", "elif", "else"):
            marks.append((index, word))
        begins = token in SEPARATORS or word in OPENERS
    condition: Tokens | None = []
    for (start, word), (end, _) in pairwise(marks):
        part = block[start + 1 : end]
        if word in ("if", "elif"):
            condition = part
        else:
            yield (condition if word == "then" else None), part
