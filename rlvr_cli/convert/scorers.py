"""verl's own scorers, which it chooses by a row's `data_source`, and our verifiers in their place."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Scorer:
    """A verifier of ours."""

    key: str
    """In `verifiers`."""
    settings: dict[str, Any] = field(default_factory=dict)
    wrong: float = 0.0
    """What verl gives a wrong answer."""
    differs: str = ""
    """How verl's own rule differs."""


GSM8K = Scorer("gsm8k", {"name": "math", "extraction": "hash"}, differs="verl compares the texts behind ####")
MATH = Scorer("math", {"name": "math"}, differs="verl compares normalised texts")
ANSWER_LINE = Scorer(
    "math_answer_line",
    {"name": "math", "extraction": "answer_line"},
    -1.0,
    "verl reads the last 300 characters",
)
CODE = Scorer("code", {"name": "code"}, differs="the sandbox is another one")
SEARCH = Scorer(
    "match",
    {"name": "match", "extraction": "answer_tags", "lower": True},
    differs="verl drops articles and punctuation",
)

SCORERS = {
    "openai/gsm8k": GSM8K,
    "lighteval/MATH": MATH,
    "DigitalLearningGmbH/MATH-lighteval": MATH,
    "HuggingFaceH4/MATH-500": MATH,
    "numina_*": MATH,
    "math": ANSWER_LINE,
    "math_dapo": ANSWER_LINE,
    "math_dapo_reasoning": ANSWER_LINE,
    "aime*": ANSWER_LINE,
    "codecontests": CODE,
    "apps": CODE,
    "codeforces": CODE,
    "taco": CODE,
    "searchR1_*": SEARCH,
}
"""Value of `data_source` (* stands for any rest) -> scorer."""

FILES = {
    "gsm8k": "openai/gsm8k",
    "dapo": "math_dapo",
    "aime": "aime*",
    "math": "DigitalLearningGmbH/MATH-lighteval",
}
"""Part of a file's path -> the `data_source` that verl's own scripts write into such a file."""


def pattern_of(source: str) -> str | None:
    """The key of SCORERS that a data_source falls under."""
    return next((pattern for pattern in SCORERS if fnmatchcase(source, pattern)), None)


def guessed(path: str) -> str | None:
    """The data_source a file probably holds, by its name and its folder's."""
    words = "/".join(Path(path).parts[-2:]).lower()
    return next((source for part, source in FILES.items() if part in words), None)
