"""Samples that were begun earlier: what is asked of them, and the whole that comes of both parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rlvr_cli.core.types import Completion
from rlvr_cli.rollout.engine import Request
from rlvr_cli.rollout.text import ResponseText

WIDEST = 4
"""Tokens that one character may take: bytes of UTF-8."""


def stamps(length: int, version: int | None) -> np.ndarray:
    """`Completion.versions` of tokens that one version has sampled; None: nobody asks."""
    return np.full(0 if version is None else length, version or 0, np.int32)


def prompt_of(request: Request, sample: int) -> list[int]:
    """Prompt and the sample's tokens so far."""
    begun = request.begun[sample].tokens.tolist() if request.begun else []
    return [*request.tokens, *begun]


def as_it_is(request: Request, sample: int, text: ResponseText) -> Completion:
    """A sample that is finished or full already."""
    begun = request.begun[sample]
    return replace(begun, text=begun.text or text(begun.tokens.tolist()), partial=False)


def joined(
    request: Request, sample: int, rest: Completion, text: ResponseText, stop: Sequence[str]
) -> Completion:
    """What was begun and what has come now. A stop string that lies across the seam ends it too."""
    if not request.begun or not len(request.begun[sample].tokens):
        return rest
    begun = request.begun[sample]
    whole = Completion(
        tokens=np.concatenate([begun.tokens, rest.tokens]),
        logprobs=np.concatenate([begun.logprobs, rest.logprobs]),
        versions=np.concatenate([begun.versions, rest.versions]),
        text="",
        finished=rest.finished,
        partial=rest.partial,
    )
    seam, reach = len(begun.tokens), WIDEST * max(map(len, stop), default=0)
    for length in range(seam + 1, min(len(whole.tokens), seam + reach) + 1):
        if any(string in text(whole.tokens[:length].tolist()) for string in stop):
            whole = cut(whole, length)
            break
    return whole if whole.partial else replace(whole, text=text(whole.tokens.tolist()))


def cut(whole: Completion, length: int) -> Completion:
    """The sample as it ends at this token."""
    return replace(
        whole,
        tokens=whole.tokens[:length],
        logprobs=whole.logprobs[:length],
        versions=whole.versions[:length],
        finished=True,
        partial=False,
    )
