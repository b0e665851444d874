"""A judge that compares: every pair in both orders, and the share of comparisons won as score."""

from __future__ import annotations

import re
from typing import Any

import pytest
from model_servers import Server, server

from rlvr_cli.core.types import Reason
from rlvr_cli.schema import Verification
from rlvr_cli.verifiers.answer import Unreachable
from rlvr_cli.verifiers.match import Match
from rlvr_cli.verifiers.pairwise import Pairwise, pairs
from rlvr_cli.verifiers.pool import Pool

__all__ = ["server"]  # a fixture, which pytest finds by its name

TEMPLATE = "{question}|{first}|{second}"


def pairwise(server: Server, **options: Any) -> Pairwise:
    settings = {"timeout_s": 5.0, "retries": 0, "template": TEMPLATE, **options}
    return Pairwise(base_url=server.url, model="grader", **settings)


def larger(prompt: str) -> tuple[int, str, dict[str, str]]:
    """A judge that prefers the larger number."""
    first, second = (int(part) for part in prompt.split("|")[1:])
    return 200, f"Winner: {'A' if first > second else 'B' if second > first else 'tie'}", {}


def test_the_score_is_the_share_of_comparisons_won(server: Server) -> None:
    """Of 3, 1, 2, 2: 3 beats all, 1 none, and the two equal ones beat 1, lose to 3 and tie: 1.5 of 3."""
    server.says = larger
    found = pairwise(server).verify_together(["3", "<think>9</think>1", "2", "2"], "", {"prompt": "q"})
    assert [v.score for v in found] == [1.0, 0.0, 0.5, 0.5]
    assert [v.reason for v in found] == [Reason.correct, Reason.wrong, Reason.correct, Reason.correct]
    assert {v.more["order_disagreement"] for v in found} == {0.0}
    prompts = [body["messages"][0]["content"] for body in server.bodies]
    assert len(prompts) == 12 and {"q|3|1", "q|1|3"} <= set(prompts)


def test_a_judge_that_likes_the_first_place_says_nothing(server: Server) -> None:
    server.answers = [(200, "Winner: A", {})]
    found = pairwise(server).verify_together(["x", "y", "z"], "", {})
    assert [(v.score, v.more["order_disagreement"]) for v in found] == [(0.5, 1.0)] * 3


def test_pairs_are_all_or_those_that_follow_in_a_circle() -> None:
    assert list(pairs(4, None)) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert list(pairs(4, 1)) == [(0, 1), (1, 2), (2, 3), (0, 3)]
    assert list(pairs(1, None)) == list(pairs(0, None)) == [] and list(pairs(2, 5)) == [(0, 1)]
    for count in range(2, 8):  # everybody has as many opponents
        met = [n for pair in pairs(count, 2) for n in pair]
        assert len({met.count(n) for n in range(count)}) == 1


def test_a_response_without_an_answer_loses_and_is_not_asked_about(server: Server) -> None:
    server.says = larger
    found = pairwise(server).verify_together(["3", "<think>9", "2"], "", {})
    assert [v.score for v in found] == [1.0, 0.0, 0.5] and found[1].reason is Reason.no_answer
    assert len(server.bodies) == 2


def test_alone_it_has_no_say(server: Server) -> None:
    assert pairwise(server).verify("3", "", {}).reason is Reason.no_say and not server.bodies


def test_no_winner_is_a_tie_and_counted(server: Server) -> None:
    server.says = lambda prompt: larger(prompt) if "9" in prompt else (200, "both are fine", {})
    found = pairwise(server).verify_together(["9", "1", "2"], "", {})
    assert [v.score for v in found] == [1.0, 0.25, 0.25]
    assert [v.more["undecided_fraction"] for v in found] == [0.0, 0.5, 0.5]


def test_of_two_that_the_judge_refuses_the_longer_one_loses(server: Server) -> None:
    """Else it would pay to write what the judge cannot read."""
    server.says = lambda prompt: (413, "too long", {}) if "9999" in prompt else larger(prompt)
    found = pairwise(server).verify_together(["9999", "1", "2"], "", {})
    assert [v.score for v in found] == [0.0, 0.5, 1.0]


def test_a_judge_that_refuses_everything_is_no_verdict_and_one_that_is_down_is_waited_for(
    server: Server,
) -> None:
    server.answers = [(400, "no such setting", {})]
    assert {v.reason for v in pairwise(server).verify_together(["1", "2"], "", {})} == {Reason.crash}
    server.answers = [(401, "wrong key", {})]
    assert {v.reason for v in pairwise(server).verify_together(["1", "2"], "", {})} == {Reason.crash}
    with pytest.raises(Unreachable, match="the judge at"):
        Pairwise(base_url="http://127.0.0.1:9/v1", model="m", retries=0).verify_together(["1", "2"], "", {})


def test_against_a_reference_a_response_is_alone(server: Server) -> None:
    """Both orders against the row's own answer: 1 above it, 0 below, one half where the orders disagree."""
    server.says = larger
    judge = pairwise(server, reference="best")
    found = [
        judge.verify(text, "", {"prompt": "q", "best": " 2 "}) for text in ("3", "<think>5</think>1", "2")
    ]
    assert [(v.score, v.reason) for v in found] == [
        (1.0, Reason.correct), (0.0, Reason.wrong), (0.5, Reason.correct)
    ]  # fmt: skip
    assert [b["messages"][0]["content"] for b in server.bodies[:2]] == ["q|3|2", "q|2|3"]
    assert not judge.whole_groups and pairwise(server).whole_groups
    assert pairwise(server, reference="answer").verify("3", "4", {}).score == 0.0
    server.answers, server.says = [(200, "Winner: A", {})], None
    even = judge.verify("3", "", {"best": "2"})
    assert (even.score, even.more["order_disagreement"]) == (0.5, 1.0)
    server.answers = [(200, "Winner: A", {}), (200, "who knows", {})]
    assert (unsure := judge.verify("3", "", {"best": "2"})).score == 0.75
    assert unsure.more == {"order_disagreement": 0.0, "undecided_fraction": 0.5} | unsure.more


def test_a_reference_that_is_not_there_and_a_response_that_a_judge_refuses(server: Server) -> None:
    judge = pairwise(server, reference="best")
    assert judge.check_gold("", {"best": "2"}) is None and pairwise(server).check_gold("", {}) is None
    assert judge.check_gold("4", {}) == "the row has no text in 'best' to compare with"
    assert judge.verify("<think>9", "", {"best": "2"}).reason is Reason.no_answer and not server.bodies
    server.says = lambda prompt: (413, "too long", {}) if "9999" in prompt else (200, "Winner: A", {})
    assert judge.verify("9999", "", {"best": "2"}).reason is Reason.refused
    server.says = lambda prompt: (400, "no such setting", {})
    assert judge.verify("3", "", {"best": "2"}).reason is Reason.crash


@pytest.mark.slow
def test_a_worker_gets_the_whole_group_and_requests_run_side_by_side(server: Server) -> None:
    server.says, server.delay_s = larger, 0.1
    verifiers = {"pairs": pairwise(server, concurrency=3), "match": Match()}
    with Pool(verifiers, Verification(workers=1)) as pool:
        futures = pool.submit_group("pairs", ["3", "1", "2"], [""], {"prompt": "q"})
        assert [future.result(60).score for future in futures] == [1.0, 0.0, 0.5]
        assert pool.submit("pairs", "3", "", {}).result(60).reason is Reason.no_say
    assert server.most_at_once == 3


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"template": "{first}"}, "lacks {second}"),
        ({"opponents": 0}, "opponents is 0"),
        ({"pattern": "Winner"}, "has 0 groups"),
        ({"group_s": 0}, "group_s is 0"),
        ({"opponents": 2, "reference": "best"}, "compares with a fixed answer; leave one out"),
    ],
)
def test_impossible_options(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Pairwise(**{"base_url": "http://x", "model": "m", **settings})
