"""Runs a program against tests, in a sandbox, and compares here what comes out."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from textwrap import dedent
from time import monotonic
from typing import Any, Protocol

from rlvr_cli.verifiers.code_tests import Call, Check, Script, Tests
from rlvr_cli.verifiers.sandbox import Program, Sandbox
from rlvr_cli.verifiers.sandbox.received import same, shown
from rlvr_cli.verifiers.sandbox.running import parse

SYNTAX = ("SyntaxError", "IndentationError", "TabError")


class Unjudgeable(Exception):
    """The test cannot be run at all: says nothing about the program."""


class Settings(Protocol):
    timeout_s: float
    total_s: float
    scoring: Any


def run(sandbox: Sandbox, source: str, tests: Tests, settings: Settings) -> tuple[int, str, bool]:
    """(tests passed, the first failure or "", whether nothing counts: no syntax, or total time up).

    With scoring `all`, the first failure ends it.
    """
    end = monotonic() + settings.total_s
    passed, failure = 0, ""
    source = with_prefix(source, tests)
    for number, case in enumerate(tests.cases, 1):
        deadline = min(end, monotonic() + settings.timeout_s)
        fault = _one(sandbox, source, tests, case, deadline)
        passed += not fault
        if fault and not failure:
            failure = f"test {number} of {len(tests.cases)}: {fault}"
        if fault and (fault.startswith(SYNTAX) or settings.scoring.value == "all"):
            return passed, failure, fault.startswith(SYNTAX)
        if monotonic() >= end and number < len(tests.cases):
            return passed, f"no time left after test {number} of {len(tests.cases)} (total_s)", True
    return passed, failure, False


def with_prefix(source: str, tests: Tests) -> str:
    """The whole program: HumanEval's prompt is a beginning that some responses continue."""
    indented = source.lstrip("\n")[:1] in (" ", "\t")
    if tests.entry and indented and not _defines(source, tests.entry):
        return tests.prompt + source
    source = dedent(source) if indented else source
    return f"{tests.prefix}\n{source}" if tests.prefix.strip() else source


def _defines(source: str, entry: str) -> bool:
    """Whether the entry (`f`, or `Solution().f`) is a function of the source."""
    name = re.findall(r"\w+", entry)[-1:]
    return bool(name) and re.search(rf"^\s*(?:async\s+)?def\s+{name[0]}\b", source, re.MULTILINE) is not None


def _one(sandbox: Sandbox, source: str, tests: Tests, case: Script | Call | Check, deadline: float) -> str:
    """What is wrong, or nothing."""
    if isinstance(case, Script):
        return _script(sandbox, source, case, deadline)
    if isinstance(case, Call):
        try:
            value = sandbox.call(source, case.name, case.arguments, deadline - monotonic())
        except ValueError as error:
            return _said(str(error))
        return "" if _equals(value, case.values) else f"wrong value {shown(value)}"
    with sandbox.open({"mode": "serve", "source": source}) as candidate:
        loaded = candidate.receive(deadline)
        if loaded is None:
            return _ended(candidate, deadline)
        if raised := parse(loaded).get("raised"):
            return _said(": ".join(map(str, raised)) if isinstance(raised, list) else "it raised")
        job = {"mode": "test", "setup": tests.setup, "test": case.source, "entry": tests.entry}
        with sandbox.open(job) as test:
            return _relay(candidate, test, deadline)


def _script(sandbox: Sandbox, source: str, case: Script, deadline: float) -> str:
    outcome = sandbox.script(source, case.stdin, deadline - monotonic())
    if not outcome.clean:
        return _said(outcome.error or _REASONS.get(outcome.stopped) or f"it ended with code {outcome.code}")
    stdout = outcome.stdout.decode(errors="replace")
    return "" if same_output(stdout, case.stdout) else f"wrong output {stdout.strip()[:100]!r:.100}"


def _relay(candidate: Program, test: Program, deadline: float) -> str:
    """Calls of the test go to the candidate, its answers back, unread; the test has the last word."""
    while (line := test.receive(deadline)) is not None:
        if not line.startswith(b'{"do"'):
            message = parse(line)
            if "unsupported" in message:
                raise Unjudgeable(f"this test cannot be run: {message['unsupported']}")
            return "" if message.get("passed") is True else _said(str(message.get("detail", "failed")))
        candidate.send(line + b"\n", deadline)
        answer = candidate.receive(deadline)
        if answer is None:
            return _ended(candidate, deadline)
        test.send(answer + b"\n", deadline)
    return _ended(test, deadline)


_REASONS = {
    "time": "no answer in time",
    "output": "too much output",
    "message": "a value too large to be sent",
}


def _ended(program: Program, deadline: float) -> str:
    outcome = program.finish(deadline)
    return _said(outcome.error or _REASONS.get(outcome.stopped) or f"it ended with code {outcome.code}")


def _said(text: str) -> str:
    """The program's own words on one line, never empty."""
    return " ".join(_REASONS.get(text, text).split())[:200] or "failed"


def _equals(value: Any, right: list[Any]) -> bool:
    try:
        return any(same(value, meant) for meant in right)
    except RecursionError:  # what is expected is never that deep
        return False


def same_output(said: str, meant: str) -> bool:
    """As LiveCodeBench defines it: equal stripped lines, or else equal numbers, token by token."""
    said, meant = said.strip(), meant.strip()
    if said == meant:
        return True
    if said.count("\n") != meant.count("\n"):  # the work below is bounded by what is expected
        return False
    return all(map(_same_line, said.split("\n"), meant.split("\n")))


def _same_line(said: str, meant: str) -> bool:
    said, meant = said.strip(), meant.strip()
    if said == meant:
        return True
    try:
        golds = [Decimal(word) for word in meant.split()]
        words = said.split(maxsplit=len(golds))
        return len(words) == len(golds) and all(map(_equal_number, words, golds))
    except (InvalidOperation, ValueError):
        return False


def _equal_number(word: str, gold: Decimal) -> bool:
    return Decimal(word) == gold
