"""Golds of another row are told from hard problems, and from chance."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest

from rlvr_cli.core.types import Completion, Group, Problem, Reason, Verdict
from rlvr_cli.preflight.golds import OFFSETS, answered, neighbours, shift_of

ROWS = 200


def problems(golds: list[str], source: str = "train") -> list[Problem]:
    return [
        Problem(id=f"{source}-{n}", prompt="", tokens=[1], answer=gold, source=source, verifiers=["math"])
        for n, gold in enumerate(golds)
    ]


def group(problem: Problem, read: list[str | None]) -> Group:
    right = [text in problem.golds for text in read]
    return Group(
        problem=problem,
        index=0,
        completions=[
            Completion(tokens=np.zeros(1, np.int32), logprobs=np.zeros(1, np.float32), text="", finished=True)
            for _ in read
        ],
        verdicts=[
            {"math": Verdict(score=float(r), reason=Reason.correct if r else Reason.wrong, extracted=text)}
            for r, text in zip(right, read, strict=True)
        ],
        scores=[float(r) for r in right],
        correct=[float(r) for r in right],
    )


def sampled(offset: int, skill: float, seed: int, kinds: int = 180) -> tuple[list[list[int]], list[bool]]:
    """32 of 200 problems with 8 responses each, right so often and else near; the golds are those of so many
    rows on."""
    random = Random(seed)
    truth = [random.randrange(kinds) for _ in range(ROWS)]
    items = {"train": problems([str(truth[(n + offset) % ROWS]) for n in range(ROWS)])}
    near, answers, right = neighbours(items), [], []
    for place in random.sample(range(ROWS), 32):
        said: list[str | None] = [
            str(truth[place] if random.random() < skill else truth[place] + random.choice((-10, -1, 1, 10)))
            for _ in range(8)
        ]
        found = group(items["train"][place], said)
        answers.append(answered(found, near))
        right.append(any(found.correct))
    return answers, right


@pytest.mark.parametrize("offset", [-2, -1, 1, 2])
def test_golds_of_a_neighbour_are_found_with_their_side(offset: int) -> None:
    found = shift_of(*sampled(offset, skill=0.25, seed=0))
    assert found is not None and found.offset == -offset
    assert found.of == 32 and found.prompts >= 20 and found.own <= 4


def test_neither_good_golds_nor_hopeless_models_nor_few_answers_are_a_shift() -> None:
    """200 samples of each: a model that knows, one that guesses, and problems that share ten answers."""
    for seed in range(200):
        assert shift_of(*sampled(0, skill=0.25, seed=seed)) is None
        assert shift_of(*sampled(0, skill=0.0, seed=seed)) is None
        assert shift_of(*sampled(60, skill=0.3, seed=seed, kinds=10)) is None  # shuffled: of no neighbour


def test_neighbours_are_rows_of_the_same_source_and_have_another_gold() -> None:
    items = {"a": problems(["1", "2", "2", "3"], "a"), "b": problems(["9"], "b")}
    near = neighbours(items)
    assert near(items["a"][1]) == {-1: {"1"}, 1: set(), 2: {"3"}}
    assert near(items["b"][0]) == {} and near(problems(["5"], "c")[0]) == {}
    assert answered(group(items["a"][1], ["3", None, " 1 "]), near) == [-1, 2]
    solved = {"a": problems(["1", "so it is \\boxed{4}"], "a")}  # golds may be worked solutions
    assert answered(group(solved["a"][0], ["4"]), neighbours(solved)) == [1]


def test_it_takes_six_prompts_and_four_times_as_many_as_any_other_way() -> None:
    def counted(at: int, own: int, other: int = 0, of: int = 32) -> Any:
        answers = [[OFFSETS[2]] * (n < at) + [OFFSETS[4]] * (n < other) for n in range(of)]
        return shift_of(answers, [n < own for n in range(of)])

    assert counted(6, 1, 1) is not None
    assert counted(5, 0) is None and counted(7, 2) is None and counted(8, 2) is not None
    assert counted(11, 0, 3) is None and counted(12, 0, 3) is not None
    assert counted(15, 0, of=101) is None and counted(16, 0, of=101) is not None
