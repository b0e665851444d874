"""Which rank is given which sequences, and what it makes of its own."""

from __future__ import annotations

import numpy as np
import pytest
from thread_ranks import on_ranks

from rlvr_cli.core.types import elsewhere
from rlvr_cli.engine.pack import Bundle
from rlvr_cli.engine.shares import owners_of, share_of

LENGTHS = [40, 8, 8, 8, 8, 8, 30, 30, 9, 9]
"""Two updates: one sequence as long as all others of its update together, and two pairs."""
UPDATES = [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9]]
PROMPT = 3


def test_every_update_is_balanced_over_the_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(rank: int) -> list[int]:
        return owners_of(UPDATES, LENGTHS, tokens_per_microbatch=100)

    first, second = on_ranks(monkeypatch, 2, work)
    assert first == second
    for members, wanted in zip(UPDATES, ([40, 40], [39, 39]), strict=True):
        assert [sum(LENGTHS[i] for i in members if first[i] == rank) for rank in (0, 1)] == wanted


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("owners", [[0, 1] * 5, [1] * 10, [0] * 9 + [1]])
def test_a_rank_cuts_what_it_has_and_none_has_fewer_micro_batches(
    owners: list[int], padded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rank may have nothing at all; the tokens of others are never looked at."""

    def work(rank: int) -> list[list[Bundle]]:
        sequences = [
            np.full(n, i, np.int32) if owners[i] == rank else elsewhere(n) for i, n in enumerate(LENGTHS)
        ]
        masks = [np.arange(n) >= PROMPT for n in LENGTHS]
        return share_of(
            sequences, masks, owners, tokens_per_microbatch=50, padded=padded, share_prompts=not padded
        )

    both = on_ranks(monkeypatch, 2, work)
    assert len(both[0]) == len(both[1]) == max(sum(map(bool, share)) for share in both)
    for rank, share in enumerate(both):
        bundles = [bundle for micro in share for bundle in micro]
        found = {i: n for bundle in bundles for i, n in zip(bundle.members, bundle.lengths, strict=True)}
        assert found == {i: n for i, n in enumerate(LENGTHS) if owners[i] == rank}
        for micro in share:
            size = len(micro) * max((b.tokens for b in micro), default=0)
            assert (size if padded else sum(b.cost for b in micro)) <= 50


def test_ranks_that_share_rows_have_the_same_micro_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dealt where every rank has all, or as the owners say, who are the first of each group."""
    sequences = [np.full(n, i, np.int32) for i, n in enumerate(LENGTHS)]
    masks = [np.arange(n) >= PROMPT for n in LENGTHS]

    def work(rank: int) -> tuple[list[int], list[list[Bundle]], list[list[Bundle]]]:
        owners = owners_of(UPDATES, LENGTHS, tokens_per_microbatch=50, together=2)
        here = [
            s if o == rank // 2 * 2 else elsewhere(len(s)) for s, o in zip(sequences, owners, strict=True)
        ]
        dealt, handed = (
            share_of(
                at_hand, masks, given, tokens_per_microbatch=50, padded=False, share_prompts=False, together=2
            )
            for at_hand, given in ((sequences, None), (here, owners))
        )
        return owners, dealt, handed

    found = on_ranks(monkeypatch, 4, work)
    assert set(found[0][0]) == {0, 2} and all(owners == found[0][0] for owners, *_ in found)
    for one, other in ((0, 1), (2, 3)):
        assert found[one][1:] == found[other][1:]
    for shares in ((found[0][1], found[2][1]), (found[0][2], found[2][2])):
        members = [i for share in shares for micro in share for bundle in micro for i in bundle.members]
        assert sorted(members) == list(range(10)) and len(shares[0]) == len(shares[1])
