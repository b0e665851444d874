"""Whether all ranks have read the same images: what one rank calls -5 must be -5 to all."""

from __future__ import annotations

from rlvr_cli.core import distributed
from rlvr_cli.core.errors import UserError
from rlvr_cli.vision.album import album


def demand_same_images() -> None:
    """UserError, on all ranks, where they have not; all must call it."""
    found = distributed.gather((len(album), album.fingerprint()))
    others = [n for n, each in enumerate(found) if each != found[0]]
    if others:
        raise UserError(
            f"rank {others[0]} has read {found[others[0]][0]} images where rank 0 has {found[0][0]}, or "
            "other ones: each must find the same files; put them where all machines see them, and start again"
        )
