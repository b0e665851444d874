"""Answers to problems of `reasoning_gym:<task>` sources, judged by their task's scorer (rlvr_cli/gym)."""

from __future__ import annotations

import json
import math
import re
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rlvr_cli import gym
from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.gym.scores import score
from rlvr_cli.verifiers.extract import Extraction, Rejected, extract
from rlvr_cli.verifiers.several_golds import Reads

# Distances to a number that is none come out as full marks in some scorers; 1e999999999 takes hours to read.
_NO_NUMBER = re.compile(r"(?<![a-z])(?:nan|inf|infinity)(?![a-z])|[0-9.]e[-+]?[0-9_]{4}", re.IGNORECASE)


@dataclass(kw_only=True)
class ReasoningGym:
    reads = Reads.no_gold
    name: str = "reasoning_gym"
    weight: float = 1.0
    gate: bool = False
    """Its score multiplies the others' sum and adds nothing."""
    extraction: Extraction | None = Extraction.answer_tags
    """Where the answer stands; null: the whole response is the answer."""
    thinking: bool = False
    """The prompt already opens `<think>`: a response without `</think>` has no answer."""
    strict: bool = True
    """Score 1 for full marks and 0 below; false: the library's score, partial credit included."""
    max_chars: int = 10_000
    """Longer answers are refused."""

    def __post_init__(self) -> None:
        if self.max_chars < 1:
            raise ValueError(f"max_chars is {self.max_chars}; it must be at least 1")

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        entry = extra["entry"]
        try:
            found = self._found(response, entry)
            marks = self._marks(found, entry)
        except Rejected as rejected:
            return rejected.verdict
        reason = Reason.correct if marks == 1 else Reason.wrong
        return Verdict(score=marks, reason=reason, extracted=found[:300])

    def inline(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict | None:
        """No worker is asked about responses without an answer."""
        try:
            self._found(response, extra["entry"])
        except Rejected as rejected:
            return rejected.verdict
        return None

    def warm(self) -> None:
        gym.library()

    def check_gold(self, answer: str, extra: dict[str, Any]) -> str | None:
        entry = extra.get("entry")
        if not isinstance(entry, dict) or entry.get("task") not in gym.TASKS:
            return "its row has no `entry` of a reasoning-gym task"
        return None

    def gold_responses(self, answer: str, extra: dict[str, Any]) -> list[str]:
        if self.extraction is not Extraction.answer_tags or not extra.get("completion"):
            return []
        return ["</think>" * self.thinking + extra["completion"]]

    def mutate(self, answer: str, extra: dict[str, Any]) -> list[str]:
        if not self.strict:  # most scorers have some credit for anything
            return [""]
        opening = "</think>" * self.thinking
        return ["", *(f"{opening}<answer>{text}</answer>" for text in (" ", "nan", "no such thing"))]

    def _found(self, response: str, entry: dict[str, Any]) -> str:
        found = response.strip()
        if self.extraction is not None:
            found = extract(response, self.extraction, self.thinking)
        if not found:
            raise Rejected(Reason.no_answer, "the response is empty")
        if len(found) > self.max_chars:
            raise Rejected(Reason.refused, f"the answer is longer than {self.max_chars} characters")
        if _NO_NUMBER.search(found) and not _NO_NUMBER.search(str(entry["answer"])):
            raise Rejected(Reason.refused, "not a number, or too large", found[:300])
        return found

    def _marks(self, found: str, entry: dict[str, Any]) -> float:
        """In [0, 1]. Whatever a scorer raises on means that it cannot read the answer."""
        scorer = _scorer(entry["task"], json.dumps(entry["options"], sort_keys=True))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                marks = score(scorer, found, entry)
        except MemoryError:
            raise
        except Exception as error:  # model text: a scorer may fail on it in any way
            detail = f"{type(error).__name__}: {error}"[:200]
            raise Rejected(Reason.malformed, detail, found[:300]) from error
        if math.isclose(marks, 1, abs_tol=1e-9):
            return 1.0
        # Above 1 is an error of a scorer too (calendar_arithmetic, where the right answer is -1).
        return marks if 0 < marks < 1 and not self.strict else 0.0


@lru_cache(maxsize=256)
def _scorer(task: str, options: str) -> Any:
    gym.check_task(task)
    return gym.dataset(task, json.loads(options))
