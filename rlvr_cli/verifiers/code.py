"""The response is a program: its last fenced block, run in a sandbox against tests.

The gold answer holds the tests as JSON (code_tests.py has the formats). What the program says is
compared here, as data; expected outputs are never where the program runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers.code_judge import run
from rlvr_cli.verifiers.code_tests import Malformed, parse
from rlvr_cli.verifiers.extract import Rejected, after_reasoning
from rlvr_cli.verifiers.sandbox import Isolation, Limits, Sandbox, choose, shared

TAGS = ("python", "py", "python3")
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
    timeout_s: float = 2.0
    """Seconds of one test, by the clock."""
    total_s: float = 4.0
    """Seconds of all tests of a response; a second less than the pool's alarm, see `needs_s`."""
    memory_mb: int = 512
    """Address space of the program."""
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

    def sandbox(self) -> Sandbox:
        """This thread's. UserError where the isolation asked for does not work."""
        return shared(self.isolation, Limits(memory_mb=self.memory_mb))

    def ready(self) -> None:
        choose(self.isolation)

    def warm(self) -> None:
        self.sandbox().script("", b"", 30.0)

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        try:
            source = program(response, self.thinking, self.max_chars)
        except Rejected as rejected:
            return rejected.verdict
        tests = parse(answer, extra, self.max_tests)
        passed, failure, void = run(self.sandbox(), source, tests, self)
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
    block: list[str] | None = None
    tag, found, plain = "", None, None
    for line in after_reasoning(response, thinking).split("\n"):
        if not line.lstrip(" ").startswith("```"):
            if block is not None:
                block.append(line)
        elif block is None:
            tag, block = line.strip().strip("`").strip().lower(), []
        else:
            if tag in TAGS:
                found = "\n".join(block)
            elif not tag:
                plain = "\n".join(block)
            block = None
    if block is not None:
        raise Rejected(Reason.malformed, "the last code block is not closed")
    source = plain if found is None else found
    if source is None or not source.strip():
        raise Rejected(Reason.no_answer, "no block fenced as ```python")
    if len(source) > max_chars:
        raise Rejected(Reason.refused, f"the program is longer than {max_chars} characters")
    return source
