"""Overlap with a benchmark: the probes are a short cut and miss nothing."""

from __future__ import annotations

import pytest

from rlvr_cli.data.hygiene import Checker
from rlvr_cli.schema import Hygiene


@pytest.mark.parametrize("n", [2, 3, 5, 8, 13])
def test_a_shared_ngram_is_found_wherever_it_stands(n: int) -> None:
    shared = [f"shared{i}" for i in range(n)]
    checker = Checker(Hygiene(ngram=n))
    checker.bench("b", [{"id": "1", "prompt": " ".join(shared)}])
    for place in range(2 * n):
        ahead = [f"own{i}" for i in range(place)]
        assert checker.overlap(" ".join([*ahead, *shared, "end"])) == tuple(shared), place
        assert checker.overlap(" ".join([*ahead, "end", *shared[1:], "end"])) is None, place


@pytest.mark.parametrize("n", [2, 3, 5, 8, 13])
def test_an_ngram_is_found_wherever_it_stands_in_the_benchmark(n: int) -> None:
    shared = [f"shared{i}" for i in range(n)]
    for place in range(2 * n):
        checker = Checker(Hygiene(ngram=n))
        ahead = [f"its{i}" for i in range(place)]
        checker.bench("b", [{"id": "1", "prompt": " ".join([*ahead, *shared, "after"])}])
        assert checker.overlap(" ".join(["own", *shared, "end"])) == tuple(shared), place
