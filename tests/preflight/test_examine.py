"""A preflight leaves no trace in what training goes on from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small_parts import Counts, recipe, small_parts

from rlvr_cli.core import rng
from rlvr_cli.core.types import Completion
from rlvr_cli.preflight.examine import measure
from rlvr_cli.rollout import Request, Sampling
from rlvr_cli.schema import Preflight


class Unseeded(Counts):
    """Draws from the global generator, and breaks where it is asked to."""

    def __init__(self, breaks: bool) -> None:
        super().__init__()
        self.breaks = breaks

    def generate(self, requests: list[Request], sampling: Sampling) -> Iterator[tuple[int, list[Completion]]]:
        torch.rand(len(requests))
        yield from super().generate(requests, sampling)
        if self.breaks:
            raise RuntimeError("engine")


@pytest.mark.parametrize("breaks", [False, True])
def test_sampler_and_generators_are_put_back(breaks: bool, tmp_path: Path) -> None:
    """Also after an error, which a user's own code may go on from."""
    engine = Unseeded(breaks)
    parts: Any = small_parts(recipe(preflight=Preflight(prompts=6)), engine=engine, out=tmp_path)
    parts.sampler.take(3)
    start, before = parts.sampler.state(), rng.state()
    try:
        if breaks:
            with pytest.raises(RuntimeError, match="engine"):
                measure(parts)
        else:
            assert measure(parts).prompts == 6
        assert len(engine.asked) == 6
        assert parts.sampler.state() == start
        assert [index for index, _ in parts.sampler.take(2)] == [3, 4]
        assert torch.equal(rng.state()["torch"], before["torch"])
    finally:
        rng.load(before)
