"""Receipts on their way from the workers of servers, and several of them as one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rlvr_cli.rollout.fingerprints import Receipt
from rlvr_cli.rollout.shards import Taken, incomplete


def written(receipt: Receipt, *, parts: bool) -> dict[str, Any]:
    """As JSON has it; with `parts` also which of each tensor were taken, for workers that share a model."""
    taken = (
        {name: [each.elements, sorted(each.places)] for name, each in receipt.taken.items()} if parts else {}
    )
    receipt.taken = {}
    return asdict(receipt) | {"taken": taken}


def read(content: Mapping[str, Any]) -> Receipt:
    """What was written."""
    taken = {
        name: Taken(elements, {(offset, tuple(shape), tuple(strides)) for offset, shape, strides in places})
        for name, (elements, places) in content.get("taken", {}).items()
    }
    return Receipt(**{**content, "taken": taken})


def of_one_server(receipts: list[Receipt]) -> Receipt:
    """Of its workers: their parameters add up, and the parts they have taken must make up every tensor."""
    several = _joined(receipts)
    several.compared = sum(each.compared for each in receipts)
    several.sampled = sum(each.sampled for each in receipts)
    if len(receipts) > 1:
        several.wrong += incomplete(each.taken for each in receipts)
    return several


def of_servers(receipts: list[Receipt]) -> Receipt:
    """Each has the same parameters: numbers are those of the server of which least is known."""
    several = _joined(receipts)
    several.compared = min((each.compared for each in receipts), default=0)
    several.sampled = min((each.sampled for each in receipts), default=0)
    return several


def _joined(receipts: list[Receipt]) -> Receipt:
    return Receipt(
        untold={name: size for each in receipts for name, size in each.untold.items()},
        wrong=_together([each.wrong for each in receipts]),
        unsent=_together([each.unsent for each in receipts]),
        partial=_together([each.partial for each in receipts]),
        homeless=_together([each.homeless for each in receipts]),
    )


def _together(lists: list[list[str]]) -> list[str]:
    return list(dict.fromkeys(name for each in lists for name in each))
