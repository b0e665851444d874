"""One episode's tokens: what was sampled, what the environment said, and under which weights."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from rlvr_cli.core.types import Completion


@dataclass(slots=True, kw_only=True)
class Transcript:
    """Grows at its end only: each prompt begins with all that was there and was sampled before it."""

    prompt: list[int]
    """Ids before the first sampled token."""
    tokens: list[int] = field(default_factory=list)
    """What came after: sampled, or said by the environment."""
    sampled: list[bool] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    """0 where the environment spoke."""
    versions: list[int] = field(default_factory=list)
    """Of the weights, where the engine stamps them; those of the token before where the environment spoke."""
    spans: list[tuple[int, int]] = field(default_factory=list)
    """Where in `tokens` each turn of the policy begins and ends."""
    closed: int = 0
    """Turns that were cut off, whose end was put in."""
    given: list[tuple[int, int]] = field(default_factory=list)
    """Length and checksum of what the engine was given for each turn."""

    @property
    def ids(self) -> list[int]:
        """All of it."""
        return [*self.prompt, *self.tokens]

    def ask(self) -> list[int]:
        """The prompt of the next turn, which the engine is about to be given."""
        ids = self.ids
        self.given.append((len(ids), _checksum(ids)))
        return ids

    def model(self, completion: Completion) -> None:
        """A turn of the policy, with the token that ended it."""
        begin, count = len(self.tokens), len(completion.tokens)
        self.tokens += completion.tokens.tolist()
        self.sampled += [True] * count
        self.logprobs += completion.logprobs.tolist() if len(completion.logprobs) else [0.0] * count
        self.versions += completion.versions.tolist()
        self.spans.append((begin, begin + count))

    def closing(self, stops: Collection[int], end: int) -> list[int]:
        """What has to be put behind a turn before messages can follow: nothing where it ended by itself; else
        the template's own token for it, which nobody has sampled."""
        return [] if self.tokens and self.tokens[-1] in stops else [end]

    def world(self, tokens: Sequence[int]) -> None:
        """What the environment has put behind the policy's turn."""
        self.tokens += tokens
        self.sampled += [False] * len(tokens)
        self.logprobs += [0.0] * len(tokens)
        if self.versions:
            self.versions += [self.versions[-1]] * len(tokens)

    def violations(self) -> int:
        """Turns for which the engine was given something else than what trains before them."""
        ids, found, at = self.ids, 0, 0
        for (length, checksum), (begin, _) in zip(self.given, self.spans, strict=False):
            at = len(self.prompt) + begin
            found += length != at or _checksum(ids[:at]) != checksum
        return found

    def completion(self, text: str, *, finished: bool, logprobs: bool) -> Completion:
        """The episode as the trainer takes it."""
        return Completion(
            tokens=np.asarray(self.tokens, np.int32),
            logprobs=np.asarray(self.logprobs if logprobs else [], np.float32),
            text=text,
            finished=finished,
            versions=np.asarray(self.versions, np.int32),
            sampled=np.asarray(self.sampled, bool),
        )


def _checksum(ids: Sequence[int]) -> int:
    return zlib.crc32(np.asarray(ids, np.int64).tobytes())
