"""Rewards that are not correctness: wrong answers, and the majority of a group."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from rlvr_cli.core.types import Completion, Group, Problem, Reason
from rlvr_cli.schema import Verification
from rlvr_cli.verifiers.extract import Extraction
from rlvr_cli.verifiers.incorrect import Incorrect
from rlvr_cli.verifiers.majority import Majority
from rlvr_cli.verifiers.match import Match
from rlvr_cli.verifiers.pool import Pool
from rlvr_cli.verifiers.random import Random
from rlvr_cli.verifiers.user_code.case import Surroundings


def scores(*answers: str) -> list[float]:
    responses = [f"so \\boxed{{{answer}}}" if answer else "so" for answer in answers]
    return [verdict.score for verdict in Majority().verify_group(responses, "unused", {})]


def test_incorrect_is_the_inverse_where_there_is_an_answer() -> None:
    verifier = Incorrect()
    assert verifier.verify("\\boxed{7}", "8", {}).score == 1 == verifier.inline("\\boxed{7}", "8", {}).score
    assert verifier.verify("\\boxed{8}", "8", {}).score == 0
    assert verifier.verify("\\boxed{\\sqrt{8}}", "2\\sqrt{2}", {}).score == 0  # by math-verify
    assert verifier.verify("\\boxed{\\sqrt{7}}", "2\\sqrt{2}", {}).score == 1
    assert verifier.inline("\\boxed{\\sqrt{7}}", "2\\sqrt{2}", {}) is None
    assert verifier.verify("seven", "8", {}).reason is Reason.no_answer
    assert verifier.verify("seven", "8", {}).score == 0
    line = Incorrect(extraction=Extraction.answer_line)
    assert line.verify("Answer: 7", "8", {}).score == 1 and line.verify("\\boxed{7}", "8", {}).score == 0
    assert Incorrect(thinking=True).verify("\\boxed{7}", "8", {}).score == 0
    with pytest.raises(ValueError, match="max_chars is 0"):
        Incorrect(max_chars=0)


def test_majority_counts_values_not_spellings() -> None:
    assert scores("12", "12", "7", "12.0") == [1, 1, 0, 1]
    assert scores("1/2", "3", "0.5", "\\frac{1}{2}", "3") == [1, 0, 1, 1, 0]
    assert scores("\\text{Evelyn}", "evelyn", "Anna") == [1, 1, 0]


def test_a_tie_goes_to_the_answer_given_first() -> None:
    assert scores("3", "5", "5", "3") == [1, 0, 0, 1]
    assert scores("5", "3") == [1, 0]


def test_responses_without_an_answer_have_no_vote() -> None:
    assert scores("", "", "", "4") == [0, 0, 0, 1]
    assert scores("", "") == [0, 0]
    verdicts = Majority(max_chars=3).verify_group(["\\boxed{12345}", "\\boxed{5 or 6}", "\\boxed{1}"], "", {})
    assert [verdict.reason for verdict in verdicts] == [Reason.refused, Reason.refused, Reason.correct]
    assert verdicts[2].detail == "1 of 3 votes"


def test_majority_reads_where_it_is_told_to() -> None:
    verifier = Majority(extraction=Extraction.hash)
    assert [v.score for v in verifier.verify_group(["#### 4", "\\boxed{5}"], "", {})] == [1, 0]
    assert Majority(thinking=True).verify("\\boxed{4}", "", {}).reason is Reason.no_answer


def test_groups_in_the_pool() -> None:
    with Pool({"vote": Majority(), "wrong": Incorrect()}, Verification(workers=1)) as pool:
        responses = ["\\boxed{3}", "\\boxed{5}", "\\boxed{5}"]
        votes = [future.result(60).score for future in pool.submit_group("vote", responses, "3", {})]
        wrong = [future.result(60).score for future in pool.submit_group("wrong", responses, "3", {})]
    assert votes == [0, 1, 1] and wrong == [0, 1, 1]


def test_outside_a_group_each_response_is_one() -> None:
    with Pool({"vote": Majority(), "noise": Random(p=0.5)}, Verification(workers=1)) as pool:
        found = [
            pool.submit("vote", text, "3", {}).result(60) for text in ("\\boxed{3}", "\\boxed{5}", "none")
        ]
        drawn = [pool.submit("noise", str(n // 2), "", {}).result(60).score for n in range(400)]
    assert [(each.score, each.detail) for each in found[:2]] == [(1, "1 of 1 votes")] * 2
    assert found[2].reason is Reason.no_answer
    assert drawn[::2] == drawn[1::2] and 60 < sum(drawn[::2]) < 140  # by the text, since that is all there is


def test_random_draws_for_every_sample_by_itself() -> None:
    """Equal answers with one shared draw would be a signal: noise must average out over them."""
    drawn = [v.score for v in Random(p=0.5).verify_group(["\\boxed{7}"] * 2000, "7", {})]
    assert 0.45 < sum(drawn) / len(drawn) < 0.55
    assert drawn == [v.score for v in Random(p=0.5).verify_group(["\\boxed{7}"] * 2000, "7", {})]
    assert drawn[:8] != [v.score for v in Random(p=0.5).verify_group(["\\boxed{7}"] * 8, "8", {})]


def group(index: int, *texts: str, source: str = "train") -> Group:
    problem = Problem(id="1", prompt="", tokens=[1], answer="7", source=source, verifiers=["noise"])
    nothing = np.zeros(0, np.int32), np.zeros(0, np.float32)
    samples = [Completion(tokens=nothing[0], logprobs=nothing[1], text=text, finished=True) for text in texts]
    return Group(problem=problem, index=index, completions=samples)


def test_in_a_run_random_draws_by_place_and_not_by_text() -> None:
    """A policy that only says a or b has the same group again and again: its reward must not be fixed."""

    def drawn(index: int, *texts: str, seed: int = 0, source: str = "train") -> list[float]:
        with_seed = group(index, *texts, source=source)
        return [verdict.score for verdict in Random(p=0.5).of_group(with_seed, seed)]

    same = [drawn(index, "a", "b") for index in range(4000)]
    a, b = (sum(each) / len(same) for each in zip(*same, strict=True))
    both = sum(x * y for x, y in same) / len(same)
    # Four standard deviations of a coin over 4000 draws are 0.032.
    assert abs(a - 0.5) < 0.032 and abs(b - 0.5) < 0.032 and abs(both - 0.25) < 0.032
    after = sum(one[0] * two[0] for one, two in pairwise(same)) / (len(same) - 1)
    assert abs(after - 0.25) < 0.032  # and one group says nothing of the next
    assert drawn(5, "a", "b") == drawn(5, "c", "d")  # resumed: the same place draws the same
    eight = tuple("abcdefgh")
    assert len({tuple(drawn(3, *eight, seed=seed)) for seed in range(4)}) > 1
    assert drawn(3, *eight) != drawn(3, *eight, source="other")


def test_the_pool_asks_random_by_place() -> None:
    noise, pool_seed = Random(p=0.5), 3
    with Pool({"noise": noise}, Verification(workers=1), around=Surroundings(seed=pool_seed)) as pool:
        found = group(9, *"aaaaaaaa")
        texts = [each.text for each in found.completions]
        drawn = [future.result(60).score for future in pool.submit_group("noise", texts, "7", {}, found)]
    assert drawn == [verdict.score for verdict in noise.of_group(found, pool_seed)]
    assert drawn != [verdict.score for verdict in noise.of_group(found, 0)]


def test_match_refuses_what_it_would_ignore() -> None:
    assert Match(strip=False).verify("7 ", "7", {}).score == 0
    with pytest.raises(ValueError, match="strip is false"):
        Match(extraction=Extraction.boxed, strip=False)
