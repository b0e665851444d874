"""Mathematical answers: exact arithmetic first, math-verify for what is not a rational number.

The exact path decides integers, decimals, fractions, percentages and words in microseconds and in
the parent. Only what is left (roots, sets, intervals, matrices, polynomials, ...) goes to
math-verify, in a worker. Percent signs never reach it: its parser fails on every one of them
with the antlr 4.9.3 that hydra-core requires, and calls the answer wrong.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers.exact import approximates, places
from rlvr_cli.verifiers.extract import Extraction, Rejected, boxed, extract
from rlvr_cli.verifiers.golds import hedges, wrapped, wrong_math
from rlvr_cli.verifiers.normalise import Answer, read, refuse, refuse_costly

# Powers and factorials are exact too, but big numbers take milliseconds: not in the parent.
_NOT_INLINE = re.compile(r"(?<!\\)!|\\[dt]?binom|\^(?!\s*\{?\s*\\circ)")
_SIDE_BY_SIDE = re.compile(r"[0-9]\s+[0-9]")


@dataclass(kw_only=True)
class Math:
    name: str = "math"
    weight: float = 1.0
    """Share in the reward when a problem has several verifiers."""
    gate: bool = False
    """Its score multiplies the others' sum and adds nothing."""
    extraction: Extraction = Extraction.boxed
    """Where the answer stands: boxed, answer_line, hash, last_number, answer_tags or choice."""
    thinking: bool = False
    """The prompt already opens `<think>`: a response without `</think>` has no answer."""
    max_chars: int = 300
    """Longer answers are refused."""

    def __post_init__(self) -> None:
        if not 1 <= self.max_chars <= 4000:  # Python reads no integer of more than 4300 digits
            raise ValueError(f"max_chars is {self.max_chars}; it must be from 1 to 4000")

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        return self._judge(response, answer, inline=False) or _verdict(False, None)

    def inline(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict | None:
        return self._judge(response, answer, inline=True)

    def key(self, response: str, answer: str, extra: dict[str, Any]) -> tuple[str, str]:
        """Only asked where `inline` found an answer, so extraction succeeds."""
        return extract(response, self.extraction, self.thinking), answer

    def warm(self) -> None:
        _symbolic(Answer(text="x+1"), Answer(text="1+x"))

    def check_gold(self, answer: str, extra: dict[str, Any]) -> str | None:
        try:
            gold = gold_of(answer)
            if not gold:
                return "it is empty"
            if len(gold) > self.max_chars:
                return f"it has {len(gold)} characters, more than max_chars={self.max_chars}"
            refuse(gold, gold)
            refuse_costly(gold)
            word = read(gold).word
            if self.extraction is Extraction.choice and (word is None or len(word) > 1):
                return "it is not one capital letter"
        except Rejected as rejected:
            return rejected.verdict.detail
        return None

    def gold_responses(self, answer: str, extra: dict[str, Any]) -> list[str]:
        plain = wrapped(gold_of(answer), self.extraction)
        closed = f"Step by step.</think>\n{plain}"
        return [closed] if self.thinking else [plain, f"<think>{closed}"]

    def mutate(self, answer: str, extra: dict[str, Any]) -> list[str]:
        gold = gold_of(answer)
        wrong = wrong_math(gold)
        wrong += hedges(gold, wrong, self.extraction)
        opening = "</think>\n" if self.thinking else ""
        return ["", *(opening + wrapped(text, self.extraction) for text in wrong)]

    def _judge(self, response: str, answer: str, inline: bool) -> Verdict | None:
        """The verdict; None if `inline` and a worker must find it."""
        found = None
        try:
            found = extract(response, self.extraction, self.thinking)
            if len(found) > self.max_chars:
                found = found[: self.max_chars] + "..."
                raise Rejected(Reason.refused, f"the answer is longer than {self.max_chars} characters")
            gold = gold_of(answer)
            if found == gold:
                return _verdict(True, found)
            refuse(found, gold)
            if inline and (needs_worker(found) or needs_worker(gold)):
                return None
            said, meant = read(found), read(gold)
            decided = _exact(said, meant)
            if decided is not None:
                return _verdict(decided, found)
            refuse_costly(said.text)
            return None if inline else _verdict(_symbolic(said, meant), found)
        except Rejected as rejected:
            return replace(rejected.verdict, extracted=rejected.verdict.extracted or found)


def needs_worker(written: str) -> bool:
    """Whether reading it may compute a big number, which is not for the parent."""
    return _NOT_INLINE.search(written) is not None


def gold_of(answer: str) -> str:
    """The gold answer itself: after `####` (GSM8K solutions), in its box (MATH solutions)."""
    answer = answer.rpartition("####")[2].strip()
    return boxed(answer).strip() if "\\boxed" in answer else answer


def _verdict(correct: bool, found: str | None) -> Verdict:
    return Verdict(score=float(correct), reason=Reason.correct if correct else Reason.wrong, extracted=found)


def _exact(said: Answer, meant: Answer) -> bool | None:
    """Whether two answers agree, where that takes no algebra; else None."""
    if said.variable and meant.variable and said.variable != meant.variable:
        return False
    if said.text == meant.text:
        return True
    if said.word is not None or meant.word is not None:
        return said.word == meant.word
    if said.value is not None and meant.value is not None:
        return _same_number(said, meant)
    if (":" in said.text) != (":" in meant.text):  # math-verify reads the ratio 2:3 as the number 2/3
        return False
    return None


def _same_number(said: Answer, meant: Answer) -> bool:
    """50% is 50 and is 0.5; without the sign, 50 and 0.5 differ."""
    assert said.value is not None and meant.value is not None
    if said.percent and not meant.percent and meant.value == said.value / 100:
        return True
    if meant.percent and not said.percent and said.value == meant.value / 100:
        return True
    return (
        said.value == meant.value
        or approximates(said.value, places(said.text), meant.value)
        or approximates(meant.value, places(meant.text), said.value)
    )


def _expression(answer: Answer, other: Answer) -> str:
    """An equation stays one only if it is compared with another."""
    return f"{answer.variable}={answer.text}" if answer.variable and "=" in other.text else answer.text


def _symbolic(said: Answer, meant: Answer) -> bool:
    """math-verify's verdict. Rejected where the answer is no expression. Slow, hungry, may hang."""
    from math_verify import verify

    if _SIDE_BY_SIDE.search(said.text):  # read as a sum: `5 6` would be 11
        raise Rejected(Reason.malformed, "two numbers side by side")
    try:
        parsed = _parse(_expression(said, meant))
    except MemoryError:
        raise
    except Exception as error:  # model text: whatever the parser makes of it, it is no expression
        raise Rejected(Reason.malformed, "not an expression math-verify can read") from error
    try:
        gold = _parse(_expression(meant, said))
        # No deadlines of its own: the worker has one, and signals work in main threads only.
        if verify(gold, parsed, timeout_seconds=None, raise_on_error=True):
            return True
        if said.percent == meant.percent:
            return False
        pair = (gold, parsed / 100) if said.percent else (gold / 100, parsed)
        return verify(*pair, timeout_seconds=None, raise_on_error=True)
    except MemoryError:
        raise
    except Exception:  # two readable expressions of kinds that cannot be compared
        return False


def _parse(latex: str) -> Any:
    # The parser alone and not math_verify.parse: that one searches for answers by itself and hands
    # text without LaTeX to sympy's parse_expr, which evaluates it as Python.
    from latex2sympy2_extended.latex2sympy2 import NormalizationConfig, normalize_latex
    from math_verify.parser import parse_latex_cached

    config = NormalizationConfig(
        basic_latex=True, units=True, malformed_operators=True, nits=True, boxed="none", equations=False
    )
    return parse_latex_cached(normalize_latex(latex, config=config))
