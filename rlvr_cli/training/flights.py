"""Prompts in flight on this rank: taken from the sampler, and not yet trained on or rejected."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from rlvr_cli.core.types import Completion, Group, Problem
from rlvr_cli.vision.exact import digests
from rlvr_cli.vision.processor import Processor


@dataclass(slots=True, kw_only=True)
class Flight:
    """A prompt and what there is of its samples."""

    index: int
    """Position of the prompt in the sampler's order."""
    problem: Problem
    begun: list[Completion] = field(default_factory=list)
    """Its samples so far; none before the engine has had it."""
    group: Group | None = None
    """Once it is finished and verified."""
    judged: int | None = None
    """The step whose verifiers judged it: some go by the progress of the run."""
    since: int | None = None
    """Version at which the engine had it, where it goes on across versions and nobody knows how far it is."""

    def came(self, completions: list[Completion]) -> None:
        """From the engine, finished or as far as they are."""
        self.begun, self.since = completions, None

    @property
    def finished(self) -> bool:
        return bool(self.begun) and not any(c.partial for c in self.begun)

    @property
    def tokens(self) -> int:
        """Sampled so far."""
        return sum(len(c.tokens) for c in self.begun)

    def oldest(self, version: int) -> int:
        """Version of its oldest token; `version`, that of the coming tokens, where there is none."""
        coming = version if self.since is None else self.since
        return min((int(c.versions.min()) for c in self.begun if len(c.versions)), default=coming)


class Flights:
    """This rank's prompts in flight by index; a checkpoint holds them with every token so far."""

    def __init__(self) -> None:
        self._by_index: dict[int, Flight] = {}

    def __len__(self) -> int:
        return len(self._by_index)

    def __iter__(self) -> Iterator[Flight]:
        """In the order of the prompts."""
        return iter([self._by_index[index] for index in sorted(self._by_index)])

    def __getitem__(self, index: int) -> Flight:
        return self._by_index[index]

    def add(self, flights: Iterable[Flight]) -> None:
        self._by_index |= {flight.index: flight for flight in flights}

    def remove(self, indices: Collection[int]) -> list[Flight]:
        """Those of the given prompts that are here."""
        return [self._by_index.pop(index) for index in sorted(indices) if index in self._by_index]

    def begin_anew(self) -> int:
        """Forget what was sampled, keep the prompts; tokens forgotten."""
        tokens = sum(flight.tokens for flight in self)
        self.add(Flight(index=flight.index, problem=flight.problem) for flight in list(self))
        return tokens

    def state(self, processor: Processor | None = None) -> list[dict[str, Any]]:
        """What is in flight as tensors and plain values. Verdicts are left out: they are found again.

        Of images, which are read again with their problems, it has what tells whether they are the same.
        """
        return [_packed(flight, digests(flight.problem.tokens, processor)) for flight in self]


def _packed(flight: Flight, images: list[str]) -> dict[str, Any]:
    numbers = {
        name: torch.from_numpy(np.concatenate([getattr(c, name) for c in flight.begun] or [np.zeros(0)]))
        for name in ("tokens", "logprobs", "versions")
    }
    return (
        {
            "index": flight.index,
            "source": flight.problem.source,
            "problem": flight.problem.id,
            "judged": flight.judged,
            "samples": [(len(c.tokens), c.finished, c.partial) for c in flight.begun],
        }
        | ({"images": images} if images else {})
        | numbers
    )


def unpacked(saved: dict[str, Any], problem: Problem, text: Callable[[list[int]], str]) -> Flight:
    """A flight from its `state`."""
    begun, start = [], 0
    numbers = {name: saved[name].numpy() for name in ("tokens", "logprobs", "versions")}
    for length, finished, partial in saved["samples"]:
        part = {name: values[start : start + length] for name, values in numbers.items()}
        start += length
        said = "" if partial else text(part["tokens"].tolist())
        begun.append(Completion(**part, text=said, finished=finished, partial=partial))
    return Flight(index=saved["index"], problem=problem, begun=begun, judged=saved.get("judged"))


def share_of(saved: list[list[dict[str, Any]]], leaders: list[bool], rank: int) -> list[dict[str, Any]]:
    """What a rank takes of the `state` that each rank of then has saved; `leaders`: who has an engine now.

    Each takes its own again: dealt anew, engines would wait for other groups than in a run that was not
    interrupted. Where there are other ranks or engines than then, they are dealt in the order of the prompts.
    """
    if len(saved) == len(leaders) and all(
        leads or not rows for leads, rows in zip(leaders, saved, strict=True)
    ):
        return saved[rank]
    if not leaders[rank]:
        return []
    rows = sorted((row for share in saved for row in share), key=lambda row: row["index"])
    return rows[sum(leaders[:rank]) :: sum(leaders)]
