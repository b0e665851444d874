"""What a tree of responses cannot be grown with is refused in one line."""

from typing import Any

import pytest
from f1 import algorithm

from rlvr_cli.compose.trees import check_trees
from rlvr_cli.schema import Placement, Recipe, Rollout, Source


def recipe(source: Source | None = None, **rollout: Any) -> Recipe:
    return Recipe(
        name="small",
        algorithm=algorithm(advantage="tree"),
        data={"train": source or Source(path="here")},
        rollout=Rollout(**rollout),
    )


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (recipe(max_staleness=1), r"rollout\.max_staleness is 1, .*set rollout\.max_staleness=0"),
        (recipe(stop=["###"]), r"rollout\.stop ends responses at a string, .*leave it out"),
        (recipe(tensor_parallel=2), r"tensor_parallel=2 .*set rollout\.placement=servers"),
        (recipe(Source(path="here", environment="game")), r"data\.train\.environment: .*another advantage"),
    ],
)
def test_refused(found: Recipe, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        check_trees(found)
    assert "\n" not in str(caught.value)


def test_what_goes_with_trees() -> None:
    check_trees(recipe())
    check_trees(recipe(tensor_parallel=2, placement=Placement.servers))
