"""The length of a response: bounds or a target, with a ramp (L1, Aggarwal and Welleck 2025, 2503.04697)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers.several_golds import Reads


class Unit(Enum):
    tokens = "tokens"
    words = "words"
    """Separated by white space."""
    chars = "chars"


class Part(Enum):
    response = "response"
    """All of it."""
    reasoning = "reasoning"
    """What comes before the last `</think>`; nothing where there is none."""
    answer = "answer"
    """What comes after the last `</think>`; the response where there is none."""


@dataclass(kw_only=True)
class Length:
    reads = Reads.no_gold
    by_nature = "a length"
    name: str = "length"
    weight: float = 1.0
    gate: bool = False
    """Its score multiplies the others' sum and adds nothing."""
    unit: Unit = Unit.words
    """tokens, words or chars."""
    minimum: int = 0
    """Fewest units that score 1."""
    maximum: int | None = None
    """Most units that score 1; null: no bound."""
    target: str | None = None
    """Column that holds a problem's own length, in the place of minimum and maximum."""
    ramp: int = 0
    """Outside the bounds the score falls from 1 to 0 over so many units; 0: at once."""
    part: Part = Part.response
    """What is measured: response, reasoning or answer."""
    tokenizer: str | None = None
    """For tokens: a model folder, a tokenizer.json or a Hugging Face id."""

    def __post_init__(self) -> None:
        if self.minimum < 0 or self.ramp < 0:
            raise ValueError(f"minimum is {self.minimum} and ramp is {self.ramp}; both must be at least 0")
        if self.maximum is not None and self.maximum < self.minimum:
            raise ValueError(f"maximum is {self.maximum}; it must be at least minimum ({self.minimum})")
        if self.target is None and self.minimum == 0 and self.maximum is None:
            raise ValueError("maximum is null; set minimum, maximum or target, or every length is right")
        if self.target is not None and (self.minimum or self.maximum is not None):
            raise ValueError(f"target is '{self.target}'; it takes the place of minimum and maximum")
        if (self.unit is Unit.tokens) != (self.tokenizer is not None):
            raise ValueError(f"tokenizer is {self.tokenizer}; it is needed for unit=tokens, and only there")

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        low, high = self._bounds(extra)
        found = self._measure(response)
        outside = max(low - found, 0 if high is None else found - high, 0)
        score = max(0.0, 1 - outside / self.ramp) if self.ramp else float(outside == 0)
        return Verdict(
            score=score,
            reason=Reason.wrong if outside else Reason.correct,
            extracted=f"{found} {self.unit.value}",
        )

    def inline(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict | None:
        return None if self.unit is Unit.tokens else self.verify(response, answer, extra)

    def warm(self) -> None:
        if self.tokenizer is not None:
            _tokenizer(self.tokenizer)

    def check_gold(self, answer: str, extra: dict[str, Any]) -> str | None:
        try:
            self._bounds(extra)
        except ValueError as error:
            return str(error)
        return None

    def _bounds(self, extra: dict[str, Any]) -> tuple[int, int | None]:
        if self.target is None:
            return self.minimum, self.maximum
        value = extra.get(self.target)
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or value != value:
            raise ValueError(f"column '{self.target}' is {value!r}; it must be the wanted length")
        return int(value), int(value)

    def _measure(self, response: str) -> int:
        reasoning, closed, rest = response.rpartition("</think>")
        text = {Part.reasoning: reasoning, Part.answer: rest if closed else response}.get(self.part, response)
        if self.unit is Unit.chars:
            return len(text)
        if self.unit is Unit.words:
            return len(text.split())
        assert self.tokenizer is not None
        return len(_tokenizer(self.tokenizer).encode(text, add_special_tokens=False).ids)


@cache
def _tokenizer(path: str) -> Any:
    """The tokenizer alone, without transformers and torch: a worker has little memory."""
    from tokenizers import Tokenizer

    file = Path(path) / "tokenizer.json" if Path(path).is_dir() else Path(path)
    try:
        return Tokenizer.from_file(str(file)) if file.exists() else Tokenizer.from_pretrained(path)
    except Exception as error:  # the library raises Exception itself
        raise UserError(f"tokenizer: '{path}' has no tokenizer.json that can be read: {error}") from error
