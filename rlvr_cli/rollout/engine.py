"""What a run asks of an inference engine: token ids and logprobs for token ids, and to take new weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from rlvr_cli.core.types import Completion
from rlvr_cli.rollout.text import ResponseText

if TYPE_CHECKING:
    from torch import Tensor

    from rlvr_cli.rollout.fingerprints import Receipt
    from rlvr_cli.schema import Bench, Rollout

CPU_SEQUENCES = 256
"""Sequences decoded at once where `rollout.max_num_seqs` is null and there is no GPU, or no vLLM."""


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

    @classmethod
    def of(cls, settings: Rollout | Bench, *, logprobs: bool) -> Sampling:
        """As a recipe's `rollout` or one of its benches says."""
        return cls(
            temperature=settings.temperature,
            top_p=settings.top_p,
            max_tokens=settings.max_tokens,
            stop=list(settings.stop),
            logprobs=logprobs,
        )


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
    messages: list[dict[str, str]] = field(default_factory=list)
    """The prompt for a server that takes no tokens."""

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

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> Receipt:
        """Replace all weights, prove by fingerprints that they are there, and forget every cached prefix.

        Of a sleeping engine only the memory of the weights wakes. Raises SyncError when the weights received
        are not exactly the model's, or a parameter holds something else.
        """

    def probe(self, tokens: list[int]) -> list[float]:
        """Logprob (temperature 1) of tokens 1.. of a sequence given those before: compares weights."""

    def sleep(self) -> None:
        """Give accelerator memory back, weights included: until `load` and, for the rest, `wake`."""

    def wake(self) -> None:
        """After `load`: what else an engine needs to sample, a KV cache of vLLM's."""

    def close(self) -> None: ...


class SyncError(RuntimeError):
    """The rollout engine does not hold the trainer's weights; going on would train on wrong data."""


def demand(receipt: Receipt) -> None:
    """SyncError unless all that was sent arrived, and everything the engine has was sent."""
    if receipt.wrong:
        found = _listed(receipt.wrong)
        raise SyncError(f"weight sync: the engine holds other numbers than were sent in {found}")
    if receipt.unsent:
        raise SyncError(
            f"weight sync: the trainer does not send {_listed(receipt.unsent)}, which the engine has; its "
            "model is not the trainer's: take rollout=hf, or a model folder without these weights"
        )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more parameters" if len(names) > 3 else "")
