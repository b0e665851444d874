"""What a server answers to a group's request: a frame for each sample, as soon as that is done.

A frame is a line of JSON and after it the numbers it counts, little-endian: no logprob is written as text and
read again, so that also one that is no number arrives as it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

INTEGER, REAL = np.dtype("<i4"), np.dtype("<f4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One sample, without what had been begun of it."""

    number: int
    """Which of the group's."""
    tokens: np.ndarray
    """[length], int32."""
    logprobs: np.ndarray
    """Of the tokens, float32; empty where none were asked for."""
    prompt_logprobs: np.ndarray
    """Of the prompt's tokens after the first, float32; empty where none were asked for."""
    finish: str
    """As vLLM says: `stop`, `length` or `abort`."""
    versions: list[tuple[str, int, int]]
    """(name of the weights, first token, token after the last)."""


def frame(
    *,
    number: int,
    tokens: Sequence[int],
    logprobs: Sequence[float],
    prompt_logprobs: Sequence[float],
    finish: str,
    versions: list[tuple[str, int, int]],
) -> bytes:
    """An `Answer` on its way."""
    counts = [len(tokens), len(logprobs), len(prompt_logprobs)]
    head = {"number": number, "counts": counts, "finish": finish, "versions": versions}
    parts = (np.asarray(tokens, INTEGER), np.asarray(logprobs, REAL), np.asarray(prompt_logprobs, REAL))
    return json.dumps(head).encode() + b"\n" + b"".join(part.tobytes() for part in parts)


class Frames:
    """Takes an answer apart, in whatever pieces it comes."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Answer]:
        """The samples that are whole with this piece."""
        self._rest += data
        while (end := self._rest.find(b"\n") + 1) > 0:
            head = json.loads(self._rest[:end])
            size = INTEGER.itemsize * sum(head["counts"])
            if len(self._rest) < end + size:
                return
            body, self._rest = self._rest[end : end + size], self._rest[end + size :]
            yield _answer(head, body)


def _answer(head: dict[str, Any], body: bytes) -> Answer:
    numbers, start = [], 0
    for count, kind in zip(head["counts"], (INTEGER, REAL, REAL), strict=True):
        numbers.append(np.frombuffer(body, kind, count, start))
        start += numbers[-1].nbytes
    tokens, logprobs, prompt_logprobs = numbers
    return Answer(
        number=head["number"],
        tokens=tokens,
        logprobs=logprobs,
        prompt_logprobs=prompt_logprobs,
        finish=head["finish"],
        versions=head["versions"],
    )
