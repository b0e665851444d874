"""What a run asks of an inference engine: token ids and logprobs for token ids, and to take new weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from rlvr_cli.core import distributed
from rlvr_cli.core.types import Completion, Problem
from rlvr_cli.rollout.text import ResponseText

if TYPE_CHECKING:
    from torch import Tensor

    from rlvr_cli.rollout.fingerprints import Receipt
    from rlvr_cli.schema import Bench, Rollout
    from rlvr_cli.vision.processor import Patches

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
    routes: bool = False
    """Completions of a mixture of experts carry the routes of their tokens."""

    @classmethod
    def of(cls, settings: Rollout | Bench, *, logprobs: bool, routes: bool = False) -> Sampling:
        """As a recipe's `rollout` or one of its benches says."""
        return cls(
            temperature=settings.temperature,
            top_p=settings.top_p,
            max_tokens=settings.max_tokens,
            stop=list(settings.stop),
            logprobs=logprobs,
            routes=routes,
        )

    def of_request(self, request: Request) -> Sampling:
        """With the stop strings that the request has besides."""
        return replace(self, stop=[*self.stop, *request.stop]) if request.stop else self


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
    stop: list[str] = field(default_factory=list)
    """Stop strings besides the sampling's."""
    problem: Problem | None = None
    """What it asks, for an engine that plays episodes (episodes/)."""
    begun: list[Completion] = field(default_factory=list)
    """Samples begun earlier, one for each of `samples`, or none: each goes on from the prompt and its own
    tokens with what is left of the limit. Those that are finished or full come back as they are."""

    def limit(self, sampling: Sampling) -> int:
        """Most tokens a sample of this request may have."""
        return sampling.max_tokens if self.max_tokens is None else self.max_tokens

    def left(self, sampling: Sampling, sample: int) -> int:
        """Tokens the engine may still sample for one of the samples; 0: it comes back as it is."""
        if not self.begun:
            return self.limit(sampling)
        begun = self.begun[sample]
        return 0 if begun.finished else max(0, self.limit(sampling) - len(begun.tokens))

    def seed_of(self, sample: int) -> int | None:
        """Seed of one of the samples; what is continued draws from another than what has begun it."""
        if self.seed is None:
            return None
        begun = len(self.begun[sample].tokens) if self.begun else 0
        return self.seed + sample if not begun else derived_seed(f"{self.seed + sample}:{begun}")


def derived_seed(of: str) -> int:
    """A seed made from a text: the same on any rank, in any batch, on any day."""
    return int.from_bytes(hashlib.blake2b(of.encode(), digest_size=7).digest(), "little")


def never() -> bool:
    """Generate all of it: where nobody asks for less, requests need not be kept apart by samples."""
    return False


def nothing_more(idle: bool) -> list[Request]:
    """All requests are there from the beginning."""
    return []


class Generator(Protocol):
    """What answers requests: an engine, or samples that are there already."""

    def generate(
        self,
        requests: list[Request],
        sampling: Sampling,
        enough: Callable[[], bool] = never,
    ) -> Iterator[tuple[int, list[Completion]]]:
        """Yield (request key, its completions) as each request finishes, in any order.

        `enough` is asked whenever a token or a request is done. Once it says yes what is unfinished ends, and
        is yielded as far as it is: with `partial` on the samples of which more would have come.
        """

    @property
    def leader(self) -> bool:
        """Whether what is generated is this rank's to verify and to give on. False: it helps another rank,
        and only goes through what comes."""

    def agreed(self, answer: bool) -> bool:
        """Whether any of the ranks that generate together says yes; all call it, after the same yields."""


class Engine(Generator, Protocol):
    """What the loop needs of an inference engine. Every rank has one, or several have one together."""

    text: ResponseText
    """The text of a response's tokens, as completions have it."""
    beside: bool
    """Whether `generate` may run in a thread of its own while the trainer computes."""

    def generate(
        self,
        requests: list[Request],
        sampling: Sampling,
        enough: Callable[[], bool] = never,
        more: Callable[[bool], list[Request]] = nothing_more,
    ) -> Iterator[tuple[int, list[Completion]]]:
        """As any generator does. `more` is asked for requests to add, with new keys, again and again while
        others run. It is asked with True where none does: it may wait then, and an empty answer is the end.
        """

    @property
    def share(self) -> tuple[int, int]:
        """Number of this rank's engine among all, and how many there are: prompts are dealt to engines."""

    def load(self, weights: Iterable[tuple[str, Tensor]], version: int = 0) -> Receipt:
        """Replace all weights, prove by fingerprints that they are there, and forget every cached prefix.

        `version` stands in `Completion.versions` of what is sampled from then on. Nothing is being generated.
        Of a sleeping engine only the memory of the weights wakes. Raises SyncError when the weights received
        are not exactly the model's, or a parameter holds something else.
        """

    def probe(self, tokens: list[int]) -> list[float]:
        """Logprob (temperature 1) of tokens 1.. of a sequence given those before: compares weights."""

    def image_gap(self, tokens: list[int], ours: Patches) -> float | None:
        """Largest difference of what it makes of the first image of a prompt to the trainer's patches of it;
        None: at most rounding, and not known further. Of models that see. SyncError where it is more."""

    def sleep(self) -> None:
        """Give accelerator memory back, weights included: until `load` and, for the rest, `wake`."""

    def wake(self) -> None:
        """After `load`: what else an engine needs to sample, a KV cache of vLLM's."""

    def close(self) -> None: ...


class OnOneRank:
    """What is generated by one rank alone: an engine of its own, or samples that are there."""

    leader = True

    @property
    def share(self) -> tuple[int, int]:
        return distributed.rank(), distributed.world_size()

    def agreed(self, answer: bool) -> bool:
        return answer


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
    if receipt.homeless:
        raise SyncError(
            f"weight sync: the engine has no place for the adapters of {_listed(receipt.homeless)}; set "
            "rollout.lora=merged"
        )


class Names:
    """Names of the weights an engine is sent: the same at each sync, each once."""

    def __init__(self) -> None:
        self._first: frozenset[str] | None = None

    def check(self, received: list[str]) -> None:
        """SyncError where they are others: vLLM keeps the old tensor, silently, where it is given none."""
        names = frozenset(received)
        first = self._first = names if self._first is None else self._first
        if names != first or len(received) != len(first):
            missing, extra = first - names, names - first
            raise SyncError(
                f"weight sync: {len(missing)} weights missing ({', '.join(sorted(missing)[:3])}), "
                f"{len(extra)} unknown, {len(received) - len(names)} sent twice"
            )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more parameters" if len(names) > 3 else "")
