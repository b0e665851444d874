"""What a run asks of an inference engine: token ids and logprobs for token ids, and to take new weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from rlvr_cli.core.types import Completion
from rlvr_cli.rollout.text import ResponseText

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(slots=True, kw_only=True)
class Sampling:
    """How completions are drawn."""

    temperature: float
    """0 is greedy."""
    top_p: float
    max_tokens: int
    stop: list[str] = field(default_factory=list)
    logprobs: bool = True
    """Completions carry their logprobs; without, an engine may leave them out to save time."""


@dataclass(slots=True, kw_only=True)
class Request:
    """One prompt and the samples wanted of it."""

    key: int
    tokens: list[int]
    samples: int
    seed: int | None
    """Seed of the first sample; the others are derived. None: unseeded."""
    max_tokens: int | None = None
    """Fewer than the sampling's, where the prompt already holds a part of the response."""

    def limit(self, sampling: Sampling) -> int:
        """Most tokens a sample of this request may have."""
        return sampling.max_tokens if self.max_tokens is None else self.max_tokens


class Generator(Protocol):
    """What answers requests: an engine, or samples that are there already."""

    def generate(self, requests: list[Request], sampling: Sampling) -> Iterator[tuple[int, list[Completion]]]:
        """Yield (request key, its completions) as each request finishes, in any order."""


class Engine(Generator, Protocol):
    """What the loop needs of an inference engine. One per rank, in the trainer's process."""

    text: ResponseText
    """The text of a response's tokens, as completions have it."""

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Replace all weights and forget every cached prefix.

        Raises SyncError when the weights received are not exactly the model's.
        """

    def probe(self, tokens: list[int]) -> list[float]:
        """Logprob (temperature 1) of tokens 1.. of a sequence given those before: compares weights."""

    def sleep(self) -> None:
        """Give accelerator memory back until `wake`."""

    def wake(self) -> None: ...

    def close(self) -> None: ...


class SyncError(RuntimeError):
    """The rollout engine does not hold the trainer's weights; going on would train on wrong data."""
