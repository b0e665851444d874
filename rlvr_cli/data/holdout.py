"""Which prompts of a source are held out of training: their text decides, whatever the seed and the order of
the rows.

A share holds a prompt out by the hash of its text alone, so that a file which grows moves none to the other
side. A
number holds out those with the lowest hashes. Rows with the same prompt, case and white space aside, are on
one side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from hashlib import sha256
from typing import Any

from rlvr_cli import schema
from rlvr_cli.core.errors import UserError
from rlvr_cli.data.hygiene import text_of
from rlvr_cli.data.image_columns import identity

SALT = b"holdout/"
"""The families of data/synthetic.py cut their splits by the bare hash: without it, all of a split were on
one side."""
BITS = 64

Prompt = str | list[dict[str, str]]
Row = dict[str, Any]


def place_of(row: Row) -> int:
    """`place` of its prompt and images."""
    return place(row["prompt"], identity(row))


def place(prompt: Prompt, images: str = "") -> int:
    """Where the text of a prompt lies in [0, 2^64), evenly over all texts. `images`: what tells it from
    others with this text."""
    text = " ".join(text_of(prompt).lower().split()) + images
    return int.from_bytes(sha256(SALT + text.encode("utf-8", "surrogatepass")).digest()[: BITS // 8])


def side(
    source: schema.Source, rows: Callable[[], Iterator[Row]], apart: Set[int] = frozenset()
) -> Callable[[Row], bool]:
    """Row -> whether it is of the side that `source` asks for. `rows`: all of the source, for a number of
    them.

    `apart`: places of prompts that other sources hold out; they are on no training side.
    """
    if source.holdout is None:
        return lambda row: not apart or place_of(row) not in apart
    below = _below(source, rows)

    def asked(row: Row) -> bool:
        found = place_of(row)
        return (found < below) is source.held_out and found not in apart

    return asked


def _below(source: schema.Source, rows: Callable[[], Iterator[Row]]) -> int:
    """Places below it are held out."""
    assert source.holdout is not None
    if source.holdout < 1:
        return int(source.holdout * 2**BITS)
    wanted, seen, counted = int(source.holdout), set[int](), 0
    for row in rows():
        found = place_of(row)
        counted += not (source.deduplicate and found in seen)
        seen.add(found)
        if counted == source.limit:
            break
    if wanted >= len(seen):
        raise UserError(
            f"holdout is {wanted}, and '{source.path}' has {len(seen)} different prompts: none would be left "
            "to train "
            "on; lower it"
        )
    return sorted(seen)[wanted]
