"""What tells whether an image is the one it was: a digest of its pixels as the model sees them."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from rlvr_cli.core import distributed
from rlvr_cli.core.errors import UserError
from rlvr_cli.vision.album import album
from rlvr_cli.vision.processor import Processor

_digests: dict[int, str] = {}
"""Of this process's album by number, each made once."""


def digests(tokens: Sequence[int], processor: Processor | None) -> list[str]:
    """Of the images of a row of tokens, in order; [] where it has none, or the model reads text alone.

    A path names its image however often the file is written anew; this does not. UserError where one cannot
    be opened any more.
    """
    if processor is None:
        return []
    found = album.numbers(tokens)
    for number in found:
        if number not in _digests:
            pixels = processor.seen(number)
            _digests[number] = sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest()[:32]
    return [_digests[number] for number in found]


def demand_same_images(processor: Processor | None) -> None:
    """UserError unless the numbers of all ranks' albums mean the same images; all ranks call it. Where the
    model reads text alone there is nothing to compare."""
    if processor is None:
        return
    found = distributed.gather((len(album), album.fingerprint()))
    others = [n for n, each in enumerate(found) if each != found[0]]
    if others:
        raise UserError(
            f"rank {others[0]} has read {found[others[0]][0]} images where rank 0 has {found[0][0]}, or "
            "other ones: each must find the same files (data.<name>.images); put them where all machines see "
            "them, and start again"
        )
