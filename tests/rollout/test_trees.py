"""Trees of responses: what is asked of the engine, and the leaves that come of it."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from f1 import make

from rlvr_cli.core.types import Completion
from rlvr_cli.rollout import Request, Sampling
from rlvr_cli.rollout.engine import OnOneRank, derived_seed, never, nothing_more
from rlvr_cli.rollout.trees import Trees

SAMPLING = Sampling(temperature=1.0, top_p=1.0, max_tokens=6)
END = 99


class Says(OnOneRank):
    """An engine that makes segments of what stands before them and the sample's number, newest first."""

    def __init__(self, say: Callable[[list[int], int], list[int]]) -> None:
        self.say = say
        self.asked: list[Request] = []

    def text(self, tokens: list[int]) -> str:
        return " ".join(map(str, tokens))

    def generate(
        self,
        requests: list[Request],
        sampling: Sampling,
        enough: Any = never,
        more: Callable[[bool], list[Request]] = nothing_more,
    ) -> Iterator[tuple[int, list[Completion]]]:
        waiting = list(requests)
        while waiting or (waiting := more(True)):
            request = waiting.pop()
            self.asked.append(request)
            yield request.key, [self.segment(request, s) for s in range(request.samples)]
            waiting += more(False)

    def segment(self, request: Request, sample: int) -> Completion:
        tokens = self.say(request.tokens, sample)[: request.max_tokens]
        return Completion(
            tokens=np.array(tokens, np.int32),
            logprobs=np.array([-float(t) for t in tokens], np.float32),
            text=self.text(tokens),
            finished=tokens[-1] == END,
        )


def grow(
    say: Callable[[list[int], int], list[int]], *branching: int, tokens: int = 2, **values: Any
) -> tuple[Says, dict[int, list[Completion]]]:
    engine = Says(say)
    shape = make("advantage", "tree", branching=list(branching), tokens=tokens, **values)
    requests = [Request(key=k, tokens=[50 + k], samples=shape.leaves, seed=k) for k in (3, 4)]
    return engine, dict(Trees(engine, shape).generate(requests, SAMPLING))


def own(leaf: Completion) -> list[int]:
    return leaf.tokens[leaf.sampled].tolist()


def numbered(before: list[int], sample: int) -> list[int]:
    """Two tokens that tell the level and the sample; the response ends after six."""
    return [len(before), sample, len(before), sample, END]


def test_each_segment_is_sampled_once_from_its_prefix_and_belongs_to_one_leaf() -> None:
    engine, found = grow(numbered, 2, 2)
    assert sorted((r.tokens, r.samples, r.max_tokens) for r in engine.asked if r.tokens[0] == 53) == [
        ([53], 2, 2),
        ([53, 1, 0], 2, 4),
        ([53, 1, 1], 2, 4),
    ]
    leaves = found[3]
    assert [leaf.tokens[:4].tolist() for leaf in leaves] == [
        [1, 0, 3, 0],
        [1, 0, 3, 1],
        [1, 1, 3, 0],
        [1, 1, 3, 1],
    ]
    assert [len(own(leaf)) for leaf in leaves] == [6, 4, 6, 4]
    assert [leaf.path for leaf in leaves] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert leaves[1].text == "1 0 3 1 3 1" and leaves[1].logprobs.tolist() == [-1, 0, -3, -1, -3, -1]
    assert [leaf.response_length for leaf in leaves] == [6] * 4
    # What trains is what was sampled, token for token.
    assert sum(leaf.length for leaf in leaves) == 2 * 2 + 4 * 4
    assert found.keys() == {3, 4} and found[4][0].tokens.tolist() == leaves[0].tokens.tolist()


def test_seeds_follow_from_the_place_and_the_first_level_is_drawn_as_a_group_is() -> None:
    engine, _ = grow(numbered, 2, 2)
    seeds = {tuple(r.tokens): r.seed for r in engine.asked}
    assert seeds[(53,)] == 3
    assert seeds[(53, 1, 1)] == derived_seed("3:(1,)")
    assert len(set(seeds.values())) == len(seeds)


def test_a_child_that_ends_early_stands_at_all_its_leaves_and_trains_once() -> None:
    def say(before: list[int], sample: int) -> list[int]:
        return [7, END] if len(before) == 1 and sample == 0 else numbered(before, sample)

    engine, found = grow(say, 2, 3)
    leaves = found[3]
    assert [leaf.tokens.tolist() for leaf in leaves[:3]] == [[7, END]] * 3
    assert [own(leaf) for leaf in leaves[:3]] == [[7, END], [], []]
    assert [leaf.path for leaf in leaves] == [(0,)] * 3 + [(1, 0), (1, 1), (1, 2)]
    assert all(leaf.finished for leaf in leaves[:3]) and not leaves[3].finished
    assert len([r for r in engine.asked if r.tokens[0] == 53]) == 2


def test_equal_siblings_are_grown_once_and_both_train() -> None:
    def say(before: list[int], sample: int) -> list[int]:
        return [5, 5] if len(before) == 1 else numbered(before, sample)

    engine, found = grow(say, 2, 2)
    assert [r.tokens for r in engine.asked if r.tokens[0] == 53] == [[53], [53, 5, 5]]
    leaves = found[3]
    assert [own(leaf)[:3] for leaf in leaves] == [[5, 5, 3], [3, 1, 3], [5, 5], []]
    assert [leaf.tokens.tolist() for leaf in leaves[2:]] == [leaf.tokens.tolist() for leaf in leaves[:2]]
    assert sum(leaf.length for leaf in leaves) == 2 * 2 + 2 * 4


def test_a_budget_lowers_the_children_of_a_level() -> None:
    engine, found = grow(numbered, 2, 4, budget=4 + 2 * 2 * 4)
    assert [r.samples for r in engine.asked if r.tokens[0] == 53] == [2, 2, 2]
    leaves = found[3]
    assert [leaf.path for leaf in leaves] == [(c, g) for c in (0, 1) for g in (0, 0, 1, 1)]
    assert [len(own(leaf)) for leaf in leaves] == [6, 0, 4, 0] * 2
    assert sum(leaf.length for leaf in leaves) == 4 + 16


@pytest.mark.parametrize("branching", [(1, 2), (4,)])
def test_levels_of_one_child_and_trees_of_one_level(branching: tuple[int, ...]) -> None:
    _, found = grow(numbered, *branching)
    leaves = found[3]
    assert [leaf.response_length for leaf in leaves] == [6 if len(branching) == 2 else 5] * len(leaves)
    sampled = 2 + 2 * 4 if len(branching) == 2 else 4 * 5
    assert sum(leaf.length for leaf in leaves) == sampled
