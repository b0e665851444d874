"""What a micro-batch's budget of tokens says of the patches that the tower has at once."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from rlvr_cli.engine.pack import collate, plan, prompts_of
from rlvr_cli.vision.album import Image, album
from rlvr_cli.vision.pictures import Scene
from rlvr_cli.vision.processor import Processor
from rlvr_cli.vision.shown import show

BUDGET = 120


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("padded", [True, False])
def test_the_tower_has_at_most_four_patches_for_each_token_of_the_budget(shared: bool, padded: bool) -> None:
    """Each image of a micro-batch once; one prompt alone is larger than the budget, by its image."""
    rng = Random(0)
    processor = Processor(7, 2, {"shortest_edge": 196, "longest_edge": 10**6}, pad=9)
    sides = [(rng.randint(1, 7), rng.randint(1, 7)) for _ in range(11)] + [(13, 13)]
    numbers = [
        album.add(Image(Scene(f"scene:240,{900 + n}"), 14 * w, 14 * h, h, w, (56, 56)))
        for n, (h, w) in enumerate(sides)
    ]
    patches = {number: 4 * album[number].tokens for number in numbers}
    processor.patches = lambda number: (  # type: ignore[method-assign]
        np.zeros((patches[number], 1), np.float32),
        (1, 2 * album[number].rows, 2 * album[number].columns),
    )
    prompts = [[1, *[number] * album[number].tokens, 2] for number in numbers]
    prompts.append([1, *prompts[0][1:-1], *prompts[1][1:-1], 2])  # of two images
    sequences = [np.array([*p, *range(3, 3 + n)], np.int32) for p in prompts for n in (2, 5, 9)]
    trained = [
        np.arange(len(s)) >= len(p)
        for s, p in zip(sequences, [p for p in prompts for _ in range(3)], strict=True)
    ]
    beginnings = prompts_of(sequences, trained) if shared and not padded else None
    lengths = [len(s) for s in sequences]
    [share] = plan(lengths, ranks=1, tokens_per_microbatch=BUDGET, padded=padded, prompts=beginnings)
    seen = []
    for bundles in share:
        micro = collate(bundles, sequences, trained, np.zeros(len(sequences), np.int64), padded=padded)
        shown = show(micro.input_ids, micro.position_ids, processor)[2]
        assert shown is not None and shown.grid_I3.prod(1).sum() == len(shown.pixels)
        seen.append(len(shown.pixels))
        assert len(shown.pixels) <= 4 * max(BUDGET, sum(bundle.tokens for bundle in bundles))
        if sum(bundle.tokens for bundle in bundles) <= BUDGET:
            assert len(shown.pixels) <= 4 * BUDGET
    assert max(seen) >= 4 * 13 * 13 > 4 * BUDGET  # an image that is larger than the budget is not cut
    assert sum(count > 4 * BUDGET for count in seen) <= 3
