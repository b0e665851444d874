"""Parts of what was sent that ranks with one engine have taken, and an engine of one rank."""

from __future__ import annotations

import numpy as np
import pytest

from rlvr_cli.core import distributed
from rlvr_cli.rollout.shards import Place, Taken, incomplete
from rlvr_cli.rollout.tensor_parallel import Ranks


def matrix(*places: Place) -> dict[str, Taken]:
    """Of four rows and two columns."""
    return {"w": Taken(8, {*places})}


UPPER, LOWER = (0, (2, 2), (2, 1)), (4, (2, 2), (2, 1))
LEFT, RIGHT = (0, (4, 1), (2, 1)), (1, (4, 1), (2, 1))
WHOLE = (0, (4, 2), (2, 1))


@pytest.mark.parametrize(
    ("of_ranks", "complete"),
    [
        ([[UPPER], [LOWER]], True),
        ([[LEFT], [RIGHT]], True),
        ([[WHOLE], [WHOLE]], True),
        ([[UPPER], [UPPER], [LOWER], [LOWER]], True),  # fewer key-value heads than ranks
        ([[UPPER], [UPPER]], False),
        ([[UPPER, LOWER], [LOWER]], True),
        ([[WHOLE], [LOWER]], False),
        ([[UPPER], []], True),  # one rank's is not known: the probe alone speaks for it
    ],
)
def test_parts_make_up_the_whole_or_do_not(of_ranks: list[list[Place]], complete: bool) -> None:
    assert incomplete([matrix(*places) for places in of_ranks]) == ([] if complete else ["w"])


def test_ranks_next_to_each_other_have_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: 4)
    monkeypatch.setattr(distributed, "rank", lambda: 3)
    alone = Ranks(1)
    assert alone.share == (3, 4) and alone.leader
    alone.note(np.array([1, 2]))
    assert alone.shared("value") == "value" and alone.agreed(True) and not alone.agreed(False)
