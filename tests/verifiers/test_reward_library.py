"""Rewards of the R1 reproductions: tags, steps, repetition, Logic-RL's rules, and how all are gamed."""

from __future__ import annotations

import pytest

from rlvr_cli.core.types import Reason
from rlvr_cli.verifiers.contains import Contains
from rlvr_cli.verifiers.logic_rl import LogicRl
from rlvr_cli.verifiers.reasoning_steps import ReasoningSteps
from rlvr_cli.verifiers.repetition import Repetition
from rlvr_cli.verifiers.tag_count import TagCount

GOLD = "Zoey is a knight, and Oliver is a knave."
RIGHT = "<think>Hm.</think><answer>(1) Zoey is a knight (2) Oliver is a knave</answer>"

HACKS = [
    (RIGHT, 3.0),
    ("<think>Hm.</think>\n<answer>\n(1) Oliver is a knave\n(2) zoey is a Knight\n</answer>\n", 3.0),
    ("<think>Hm.</think><answer>Zoey is a knave, Oliver is a knave</answer>", -0.5),
    ("<think>Hm.</think><answer>Zoey is a knight</answer>", -1.0),  # nobody may be left out
    ("<think>Hm.</think><answer>I am not sure.</answer>", -1.0),
    ("<think>Hm.</think><answer>Zoey is a knight, Oliver is a knave, Oliver is a knight</answer>", -0.5),
    ("<answer>Zoey is a knight, Oliver is a knave</answer>", -3.0),  # no thought
    ("<think></think><answer>Zoey is a knight, Oliver is a knave</answer>", -3.0),
    ("<think>Zoey is a knight, Oliver is a knave</think>", -3.0),  # the answer within the thought
    ("<think>Hm.<answer>Zoey is a knight, Oliver is a knave</answer></think>", -3.0),
    (RIGHT + RIGHT, -3.0),
    (RIGHT + "<answer>Zoey is a knave, Oliver is a knave</answer>", -3.0),
    ("<think>Hm.</think><think>Hm.</think>" + RIGHT.removeprefix("<think>Hm.</think>"), -3.0),
    ("<answer>Zoey is a knight, Oliver is a knave</answer><think>Hm.</think>", -3.0),
    ("So. " + RIGHT, -3.0),
    (RIGHT + " I am not sure.", -3.0),
    ("", -3.0),
]


@pytest.mark.parametrize(("response", "value"), HACKS)
def test_logic_rl(response: str, value: float) -> None:
    verdict = LogicRl().verify(response, GOLD, {})
    assert verdict.score == value and verdict.raw
    assert (verdict.reason is Reason.correct) == (value == 3) == (verdict.judged == 1)
    assert (verdict.reason is Reason.malformed) == (value == -3)


def test_logic_rl_behind_an_opened_thought() -> None:
    assert LogicRl(opened=True).verify(RIGHT.removeprefix("<think>"), GOLD, {}).score == 3
    assert LogicRl(opened=True).verify(RIGHT, GOLD, {}).score == -3
    assert LogicRl().check_gold(GOLD, {}) is None
    assert "says of nobody" in str(LogicRl().check_gold("5", {}))
    with pytest.raises(ValueError, match="set gate=false"):
        LogicRl(gate=True)


def test_tag_count() -> None:
    whole = "<think>\nHm.\n</think>\n\n<answer>\n5\n</answer>"
    assert TagCount().verify(whole, "", {}).score == 1.0
    assert TagCount().verify(whole.replace("<answer>\n", "<answer>"), "", {}).score == 0.75
    assert TagCount().verify("<think>\nHm.", "", {}).score == 0.25
    assert TagCount().verify(whole + "\n</answer>", "", {}).score == 0.75  # twice is not once
    assert TagCount().verify("", "", {}).score == 0.0
    assert TagCount(strings=["<a>", "</a>"]).verify("<a>5", "", {}).score == 0.5
    with pytest.raises(ValueError, match="different texts"):
        TagCount(strings=["<a>", "<a>"])


@pytest.mark.parametrize(
    ("response", "score"),
    [
        ("It is 5.", 0.0),
        ("First, add. Then say 5.", 1 / 3),
        ("First, add.\n- carry\nFinally, 5.", 1.0),
        ("Step 1: a\nStep 2: b\nStep 3: c\nStep 4: d", 1.0),  # more is not more
        ("1. a\n2. b\n3. c", 1 / 3),  # a number counts at the very beginning alone, as in Open-R1
        ("1. a\n* b", 2 / 3),
    ],
)
def test_reasoning_steps(response: str, score: float) -> None:
    assert ReasoningSteps().verify(response, "", {}).score == pytest.approx(score)


def test_repetition() -> None:
    """`a b c a b c` has 4 trigrams, 3 of them different: a quarter of the most."""
    assert Repetition().verify("a b c a b c", "", {}).score == 0.75
    assert Repetition().verify("A b c a B c", "", {}).score == 0.75
    assert Repetition().verify("a b c d", "", {}).score == 1.0
    assert Repetition().verify("a b", "", {}).score == 1.0  # shorter than a trigram
    assert Repetition().verify("x " * 102, "", {}).score == pytest.approx(0.01)
    assert Repetition(ngram=1).verify("a a", "", {}).score == 0.5
    assert Repetition(correct_from=0.7).verify("a b c a b c", "", {}).reason is Reason.correct


def test_python_and_not() -> None:
    assert Contains().verify("Use Python:", "", {}).score == 1.0
    assert Contains().verify("Use it:", "", {}).score == 0.0
    assert Contains(absent=True).verify("Use Python:", "", {}).score == 0.0
    assert Contains(absent=True).verify("", "", {}).score == 1.0
    with pytest.raises(ValueError, match="in every response"):
        Contains(text="")
