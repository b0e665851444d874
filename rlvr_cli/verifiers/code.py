"""The response is a program: its last fenced block, run in a sandbox against tests.

The gold answer holds the tests as JSON (code_tests.py has the formats). What the program says is
compared here, as data; expected outputs are never where the program runs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers.code_judge import run
from rlvr_cli.verifiers.code_tests import Malformed, parse
from rlvr_cli.verifiers.extract import Rejected, after_reasoning
from rlvr_cli.verifiers.sandbox import Isolation, Limits, Sandbox, choose, numpy_folders, shared

TAG = re.compile(r"[{.\s]*(?:python|py)[0-9.]*(?![\w+#-])", re.IGNORECASE)
"""At the start of what stands behind a fence: `python`, `py3`, `python3.11 title="a.py"`, `{.python .x}`."""
FENCE = re.compile(r"([ \t]*)(`{3,}|~{3,})([^`]*)$")
EXITS = "import os\nos._exit(0)"


class Scoring(Enum):
    all = "all"
    """1 if every test passes, else 0."""
    fraction = "fraction"
    """The share of tests that pass; 0 where the program does not compile or the total time is up."""


@dataclass(kw_only=True)
class Code:
    name: str = "code"
    weight: float = 1.0
    gate: bool = False
    """Its score multiplies the others' sum and adds nothing."""
    thinking: bool = False
    """The prompt already opens `<think>`: a response without `</think>` has no answer."""
    timeout_s: float = 3.0
    """Seconds of one test, by the clock, as the HumanEval harness has it."""
    total_s: float = 4.0
    """Seconds of all tests of a response; a second less than the pool's alarm, see `needs_s`."""
    memory_mb: int = 512
    """Address space of the program, without numpy's own."""
    numpy: bool = True
    """Programs and tests may import the numpy that is installed here. false: tests have a few names of it."""
    isolation: Isolation = Isolation.auto
    """auto takes bwrap, else userns, else stops; rlimit builds no box and must be named."""
    scoring: Scoring = Scoring.all
    """What is said of a program that passes some of its tests."""
    max_tests: int | None = None
    """Run that many tests, evenly spaced over those there are; null: all."""
    max_chars: int = 100_000
    """Longer programs are refused."""

    def __post_init__(self) -> None:
        for name in ("timeout_s", "total_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name):g}; it must be above 0")
        for name, least in (("memory_mb", 64), ("max_chars", 1), ("max_tests", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} is {value}; it must be at least {least}")

    @property
    def needs_s(self) -> float:
        """What verification.timeout_s must be at least, for an honest verdict instead of an alarm."""
        return max(self.total_s + 2.0, self.total_s * 4 / 3)

    def sandbox(self, numpy: bool = False) -> Sandbox:
        """This thread's, with numpy or without. UserError where the isolation asked for does not work."""
        return shared(self.isolation, Limits(memory_mb=self.memory_mb, numpy=numpy))

    def ready(self) -> None:
        choose(self.isolation)
        if self.numpy and not numpy_folders():
            raise UserError("verifier code: numpy is not installed here; install it, or set numpy: false")

    def warm(self) -> None:
        self.sandbox().prepare(1)

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        try:
            source = program(response, self.thinking, self.max_chars)
        except Rejected as rejected:
            return rejected.verdict
        tests = parse(answer, extra, self.max_tests)
        # numpy makes starting a program slower: it is there for those who name it.
        numpy = self.numpy and any("numpy" in text for text in (source, *tests.programs()))
        sandbox = self.sandbox(numpy)
        sandbox.prepare(2 if tests.programs() else 1)
        passed, failure, void = run(sandbox, source, tests, self)
        score = passed / len(tests.cases)
        if void or (self.scoring is Scoring.all and score < 1):
            score = 0.0
        reason = Reason.correct if passed == len(tests.cases) else Reason.wrong
        detail = failure or f"{passed} of {len(tests.cases)} tests"
        return Verdict(score=score, reason=reason, extracted=source[:300], detail=detail[:300])

    def inline(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict | None:
        """Only that there is no program."""
        try:
            program(response, self.thinking, self.max_chars)
        except Rejected as rejected:
            return rejected.verdict
        return None

    def key(self, response: str, answer: str, extra: dict[str, Any]) -> tuple[str, str, str]:
        other = {name: extra.get(name) for name in ("metadata", "public_test_cases", "test_setup_code")}
        return program(response, self.thinking, self.max_chars), answer, repr(other)

    def check_gold(self, answer: str, extra: dict[str, Any]) -> str | None:
        try:
            parse(answer, extra, self.max_tests)
        except Malformed as error:
            return str(error)
        return None

    def gold_responses(self, answer: str, extra: dict[str, Any]) -> list[str]:
        """The row's own solution, where it has one."""
        for column in ("code", "canonical_solution", "solution", "reference"):
            if isinstance(known := extra.get(column), str) and known.strip():
                return [known if "```" in known else f"```python\n{known}\n```"]
        return []

    def mutate(self, answer: str, extra: dict[str, Any]) -> list[str]:
        """Programs that leave before they have done anything, in the ways harnesses have fallen for."""
        wrong = ("", EXITS, "raise SystemExit(0)", "def broken(:")
        return ["no program", *(f"```python\n{source}\n```" for source in wrong)]


def program(response: str, thinking: bool, max_chars: int) -> str:
    """The last block fenced as Python, or the last one without a language. Rejected where there is none."""
    found, plain, open_block = None, None, None
    for line in after_reasoning(response, thinking).split("\n"):
        fence = FENCE.match(line)
        if open_block is not None and not (fence and open_block.ends(*fence.groups())):
            open_block.lines.append(line)
        elif open_block is not None and not (fence and TAG.match(fence[3])):
            if open_block.python:
                found = open_block.text()
            elif not open_block.tagged:
                plain = open_block.text()
            open_block = None
        elif fence:  # also within a block that nobody closed, or around which another one stands
            open_block = Block(*fence.groups())
    if open_block is not None:
        raise Rejected(Reason.malformed, "the last code block is not closed")
    source = plain if found is None else found
    if source is None or not source.strip():
        raise Rejected(Reason.no_answer, "no block fenced as ```python")
    if len(source) > max_chars:
        raise Rejected(Reason.refused, f"the program is longer than {max_chars} characters")
    return source


class Block:
    """A fenced block, in the making."""

    def __init__(self, indent: str, fence: str, tag: str) -> None:
        self._indent, self._fence = indent, fence
        self.tagged, self.python = bool(tag.strip()), TAG.match(tag) is not None
        self.lines: list[str] = []

    def ends(self, indent: str, fence: str, tag: str) -> bool:
        """A fence further in belongs to the program: it stands in a docstring."""
        return len(indent) <= len(self._indent) + 3 and fence.startswith(self._fence)

    def text(self) -> str:
        """Its lines, without the indentation that the fence has itself (in an item of a list)."""
        return "\n".join(map(self._moved, self.lines))

    def _moved(self, line: str) -> str:
        shift = len(line) - len(line.lstrip(" \t"))
        return line[min(shift, len(self._indent)) :]
