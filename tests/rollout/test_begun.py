"""Samples that are continued: what is asked of them, and what both parts become together."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from rlvr_cli.core.types import Completion
from rlvr_cli.rollout import Request, Sampling
from rlvr_cli.rollout.begun import as_it_is, joined, prompt_of, stamps
from rlvr_cli.rollout.text import ResponseText

LETTERS = ResponseText(SimpleNamespace(decode=lambda ids: "".join(chr(96 + i) for i in ids)))
SAMPLING = Sampling(temperature=1.0, top_p=1.0, max_tokens=6)


def some(*tokens: int, version: int = 0, **more: Any) -> Completion:
    return Completion(
        tokens=np.array(tokens, np.int32),
        logprobs=-np.array(tokens, np.float32),
        versions=stamps(len(tokens), version),
        **{"text": "", "finished": False, "partial": True} | more,
    )


def request(*begun: Completion) -> Request:
    return Request(key=0, tokens=[50, 51], samples=len(begun) or 2, seed=7, begun=list(begun))


def test_what_is_left_and_what_it_is_continued_from() -> None:
    asked = request(some(1, 2), some(3, finished=True, partial=False), some(*range(1, 9)))
    assert [asked.left(SAMPLING, s) for s in range(3)] == [4, 0, 0]
    assert prompt_of(asked, 0) == [50, 51, 1, 2]
    assert [request().left(SAMPLING, s) for s in range(2)] == [6, 6] and prompt_of(request(), 1) == [50, 51]


def test_a_continuation_draws_from_a_seed_of_its_own() -> None:
    """The seed that has begun a sample would draw the same numbers again."""
    seeds = [request(some(), some(1), some(1, 2), some(9, 9)).seed_of(s) for s in range(4)]
    assert seeds[0] == 7 and len({*seeds, 8, 9, 10}) == 7
    assert seeds[2] == request(some(), some(1), some(5, 5)).seed_of(2), "the tokens' number counts alone"
    assert [request().seed_of(s) for s in range(2)] == [7, 8]


def test_both_parts_together() -> None:
    whole = joined(
        request(some(1, 2, version=3)), 0, some(4, 5, version=5, finished=True, partial=False), LETTERS, []
    )
    assert whole.tokens.tolist() == [1, 2, 4, 5] and whole.logprobs.tolist() == [-1, -2, -4, -5]
    assert whole.versions.tolist() == [3, 3, 5, 5] and whole.text == "abde"
    assert whole.finished and not whole.partial
    again = joined(request(some(1)), 0, some(2), LETTERS, [])
    assert again.partial and not again.finished and again.tokens.tolist() == [1, 2]


def test_a_stop_string_across_the_seam_ends_the_sample() -> None:
    """'bc' in 'ab' + 'cde': an engine that continues sees only 'cde'."""
    whole = joined(request(some(1, 2)), 0, some(3, 4, 5), LETTERS, ["bc"])
    assert whole.text == "abc" and whole.finished and not whole.partial
    assert len(whole.logprobs) == len(whole.versions) == 3


def test_a_full_sample_comes_back_whole() -> None:
    found = as_it_is(request(some(1, 2, 3)), 0, LETTERS)
    assert found.text == "abc" and not found.partial and not found.finished
