"""Ranks whose numbers mean other images stop before anything is trained."""

from __future__ import annotations

import pytest
from thread_ranks import on_ranks

from rlvr_cli.core import distributed
from rlvr_cli.core.errors import UserError
from rlvr_cli.vision import exact
from rlvr_cli.vision.album import Album, Image
from rlvr_cli.vision.pictures import Scene
from rlvr_cli.vision.processor import Processor

SEES = Processor(7, 2, {"shortest_edge": 196, "longest_edge": 12_544}, pad=9)


def album_of(*shades: int) -> Album:
    made = Album()
    for shade in shades:
        made.add(Image(Scene(f"scene:{shade},1"), 56, 56, 4, 4, (56, 56)))
    return made


class OfRank:
    """Threads have one module, so that each rank's own album is looked up here."""

    def __init__(self, albums: list[Album]) -> None:
        self.albums = albums

    def __len__(self) -> int:
        return len(self.albums[distributed.rank()])

    def fingerprint(self) -> str:
        return self.albums[distributed.rank()].fingerprint()


@pytest.mark.parametrize("other", [(1, 2), (1, 2, 4), (2, 1, 3)])
def test_other_images_on_another_rank(monkeypatch: pytest.MonkeyPatch, other: tuple[int, ...]) -> None:
    albums = OfRank([album_of(1, 2, 3), album_of(1, 2, 3), album_of(*other)])
    monkeypatch.setattr(exact, "album", albums)

    def told(rank: int) -> str | None:
        try:
            exact.demand_same_images(SEES)
        except UserError as error:
            return str(error)
        return None

    said = f"rank 2 has read {len(other)} images where rank 0 has 3, or other ones: "
    assert all(each and each.startswith(said) for each in on_ranks(monkeypatch, 3, told))
    albums.albums[2] = album_of(1, 2, 3)
    assert on_ranks(monkeypatch, 3, told) == [None] * 3
