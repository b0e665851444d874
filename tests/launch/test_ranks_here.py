"""How many ranks a recipe starts on this machine."""

from __future__ import annotations

from typing import Any

import pytest

from rlvr_cli.core.errors import UserError
from rlvr_cli.launch.start import ranks_here
from rlvr_cli.schema import EvalRecipe, Server

SERVED = {"server": Server(url="http://localhost:1/v1")}
AGAIN = {"rescore": {"sums": "sums.json"}}


@pytest.mark.parametrize(
    ("settings", "gpus", "ranks"),
    [
        ({}, 0, 1),
        ({}, 8, 8),
        ({"ranks": 2}, 0, 2),
        ({"ranks": 2}, 8, 2),
        (SERVED, 8, 1),
        (AGAIN, 8, 1),
        ({"ranks": 1} | SERVED, 8, 1),
    ],
)
def test_an_evaluation_has_a_rank_for_each_engine(settings: dict[str, Any], gpus: int, ranks: int) -> None:
    assert ranks_here(EvalRecipe(**settings), gpus) == ranks


def test_ranks_that_an_evaluation_cannot_have() -> None:
    with pytest.raises(UserError, match=r"^ranks=4 but there are 2 GPUs"):
        ranks_here(EvalRecipe(ranks=4), 2)
    with pytest.raises(ValueError, match=r"ranks is 2, but a server samples; raise server.connections"):
        EvalRecipe(ranks=2, **SERVED)
    with pytest.raises(ValueError, match=r"ranks is 2, but nothing is sampled; raise verification.workers"):
        EvalRecipe(ranks=2, **AGAIN)
