"""Countdown: TinyZero's scores, and the game that is played with them."""

from __future__ import annotations

import re
from random import Random

import pytest
from played import played, task

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Reason
from rlvr_cli.data.synthetic import generate
from rlvr_cli.environments import find
from rlvr_cli.environments.countdown import Countdown
from rlvr_cli.environments.environment import Step, Turn
from rlvr_cli.gym.countdown import Puzzle, drawn, fault_of, puzzle, solution, value_of
from rlvr_cli.verifiers.countdown import Countdown as Scorer

WANTED = Puzzle(nums=(3, 5, 7), target=22)
ROW = {"nums": [3, 5, 7], "target": 22}


def upstream(response: str, nums: list[int], target: int) -> float:
    """What TinyZero's rules give, of equations that are safe to run."""
    found = [m[1] for m in re.finditer(r"<answer>(.*?)</answer>", response.split("\n")[-1])]
    if not found:
        return 0.0
    text = found[-1].strip()
    if sorted(map(int, re.findall(r"\d+", text))) != sorted(nums):
        return 0.1
    if not re.match(r"^[\d+\-*/().\s]+$", text):
        return 0.1
    try:
        return 1.0 if abs(eval(text, {"__builtins__": None}, {}) - target) < 1e-5 else 0.1
    except Exception:
        return 0.1


RESPONSES = [
    ("<answer>3*5+7</answer>", 1.0),
    ("<answer>3*5</answer>", 0.1),
    ("<answer>22</answer>", 0.1),
    ("3*5+7", 0.0),
    ("<answer>3*5+7</answer>\nThat is it.", 0.0),  # the last line has none
    ("<answer>3*5+7</answer>\n", 0.0),
    ("I think\n<answer> (3 * 5) + 7 </answer>", 1.0),
    ("<answer>1</answer> or <answer>3*5+7</answer>", 1.0),
    ("<answer>3*5+7</answer> or <answer>1</answer>", 0.1),
    ("<answer>3*5+7</answer> <answer>", 1.0),
    ("<answer><answer>3*5+7</answer>", 0.1),
    ("<answer></answer>", 0.1),
    ("<answer>3*5+7+0*3</answer>", 0.1),
    ("<answer>3*5+7.</answer>", 1.0),
    ("<answer>7--5*3</answer>", 1.0),
    ("<answer>+7+5*3</answer>", 1.0),
    ("<answer>3*5+7=22</answer>", 0.1),
    ("<answer>3*5+07</answer>", 0.1),
    ("<answer>3*5+(7</answer>", 0.1),
    ("<answer>3(5)+7</answer>", 0.1),
    ("<answer>3*5+٧</answer>", 0.1),  # a digit, and none of Python's
    ("<answer>(3,5,7)</answer>", 0.1),
    ("<answer>()3*5+7</answer>", 0.1),
    ("<answer>__import__('os').system('3*5+7')</answer>", 0.1),
    ("<answer>7+3*5\t</answer>", 1.0),
    ("<answer>5*7//3*2</answer>", 0.1),
]


@pytest.mark.parametrize(("response", "score"), RESPONSES)
def test_scores_are_those_of_tinyzero(response: str, score: float) -> None:
    verdict = Scorer().verify(response, "", ROW)
    assert verdict.score == score == upstream(response, [3, 5, 7], 22)
    assert (verdict.reason is Reason.correct) == (score == 1)
    assert (verdict.reason is Reason.no_answer) == (score == 0)


@pytest.mark.parametrize(
    ("text", "nums", "target"), [("2**3", [2, 3], 8), ("7//2", [7, 2], 3), ("2.5*4", [2, 5, 4], 10)]
)
def test_what_python_makes_of_the_characters_counts_unless_strict(
    text: str, nums: list[int], target: int
) -> None:
    response, row = f"<answer>{text}</answer>", {"nums": nums, "target": target}
    assert upstream(response, nums, target) == Scorer().verify(response, "", row).score == 1.0
    strict = Scorer(strict=True).verify(response, "", row)
    assert (strict.score, strict.detail) == (0.1, "that is more than numbers, + - * / and brackets")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("3*5", "7 is not used"),
        ("3*5+7-3+3", "3 is used 3 times and given once"),
        ("3*5+7+9", "9 is not one of the numbers"),
        ("3*7+9", "5 is not used; 9 is not one of the numbers"),
        ("3+5+7", "that is 15 and not 22"),
        ("7/3+5", "that is 7.33333 and not 22"),
        ("7/(3-3)+5", "3 is used twice and given once"),
        ("3*5+7)", "that is no equation"),
        ("3*5+7x", "that is more than numbers, + - * / and brackets"),
        ("9" * 2000, "that is too long"),
        ("3*5+7**" + "9" * 900, "a number that large is not one of the numbers"),
    ],
)
def test_a_fault_is_named(text: str, said: str) -> None:
    assert str(fault_of(text, WANTED)).startswith(said)


def test_faults_of_equations_that_use_the_numbers() -> None:
    assert fault_of("3/(5-5)", Puzzle(nums=(3, 5, 5), target=2)) == "that divides by zero"
    for text, nums in (("9**9**9", (9, 9, 9)), ("2**99999*0", (2, 99999, 0)), ("9**(9**9)", (9, 9, 9))):
        assert fault_of(text, Puzzle(nums=nums, target=0)) == "that power is too large"
    assert fault_of("1.5**9999", Puzzle(nums=(1, 5, 9999), target=0)) == "that is no equation"
    deep = "-" * 900 + "1"
    assert fault_of(deep, Puzzle(nums=(1,), target=1)) in (None, "that is no equation")
    assert value_of("(0-8)**(1/3)").imag > 1


def test_where_the_puzzle_stands() -> None:
    assert puzzle("", ROW) == puzzle("22", {"nums": (3, 5, 7)}) == WANTED
    assert puzzle("(3*5)+7", {}) == WANTED
    for answer, row in (("7/2", {}), ("so", {}), ("", {"nums": [1]}), ("", {"nums": ["x"], "target": 1})):
        assert puzzle(answer, row) is None
    assert Scorer().check_gold("so", {}) and Scorer().check_gold("", ROW) is None
    assert Scorer().verify("x", "so", {}).reason is Reason.crash


@pytest.mark.parametrize("options", [{}, {"numbers": 4, "most": 30}, {"numbers": 6, "most": 9}])
def test_puzzles_are_solved_by_their_answers(options: dict[str, int]) -> None:
    rows = [row for split in ("train", "eval") for row in generate("countdown", split, options, 0, most=100)]
    assert len({row["prompt"] for row in rows}) == 200
    for row in rows:
        wanted = puzzle(row["answer"], {})
        nums, target = row["prompt"].split("=")
        assert wanted is not None and sorted(wanted.nums) == [int(n) for n in nums.split(",")]
        assert wanted.target == int(target) and 1 <= wanted.target <= 100
        assert fault_of(row["answer"], wanted, strict=True) is None
        assert Scorer(strict=True).verify(row["completion"], row["answer"], {}).score == 1
    for row in rows[:20] if options != {"numbers": 6, "most": 9} else []:
        wanted = puzzle(row["answer"], {})
        assert wanted is not None
        assert fault_of(str(solution(wanted)), wanted, strict=True) is None


def test_solutions_are_searched_for() -> None:
    assert solution(Puzzle(nums=(1, 1, 1), target=50)) is None
    assert solution(Puzzle(nums=(4,), target=4)) == "4"
    found = solution(Puzzle(nums=(8, 3, 8, 3), target=24))  # 8/(3-8/3)
    assert found is not None and fault_of(found, Puzzle(nums=(8, 3, 8, 3), target=24)) is None
    assert solution(Puzzle(nums=(1, 2, 3, 4, 5), target=15)) is None  # too many to look


@pytest.mark.parametrize("options", [{}, {"format_score": 0.0}, {"last_line": False}, {"strict": True}])
def test_the_self_test_is_of_its_own_opinion(options: dict[str, float]) -> None:
    scorer = Scorer(**options)  # type: ignore[arg-type]
    for answer, row in (("3*5+7", {}), ("", ROW)):
        assert scorer.gold_responses(answer, row)
        assert all(scorer.verify(text, answer, row).score == 1 for text in scorer.gold_responses(answer, row))
        assert all(scorer.verify(text, answer, row).score == 0 for text in scorer.mutate(answer, row))


# ------------------------------------------------------------- the game


def game(*texts: str, **options: float | str | bool | None) -> list[Step]:
    environment = Countdown(**options)  # type: ignore[arg-type]
    said = iter(texts)
    return list(played(environment, task("3,5,7=22", ["3*5+7"]), lambda seen: next(said)))


def test_a_wrong_equation_is_answered_with_its_fault() -> None:
    steps = game("<answer>3*5</answer>", "well", "<answer>3+5+7</answer>", "<answer>3*5+7</answer>")
    assert [step.messages[0]["content"] for step in steps[:3]] == [
        "7 is not used. Try again.",
        "There is no <answer>...</answer> in the last line. Try again.",
        "That is 15 and not 22. Try again.",
    ]
    assert [step.reward for step in steps] == [None, None, None, 1.0]
    assert [step.measures["unanswered"] for step in steps] == [0.0, 1.0, 0.0, 0.0]
    assert [step.measures["solved"] for step in steps] == [0.0, 0.0, 0.0, 1.0]


def test_a_later_answer_may_earn_less() -> None:
    assert game("<answer>3</answer>", "<answer>3*5+7</answer>", discount=0.5)[-1].reward == 0.5
    assert game("<answer>3*5+7</answer>", discount=0.5)[-1].reward == 1.0


@pytest.mark.parametrize(("last", "reward"), [("<answer>3</answer>", 0.1), ("no", 0.0)])
def test_the_last_turn_earns_what_its_form_earns(last: str, reward: float) -> None:
    steps = game("<answer>3</answer>", last, max_turns=2)
    assert (steps[-1].reward, steps[-1].done, steps[0].reward) == (reward, True, None)


def test_the_prompt_may_be_the_environments() -> None:
    [message] = Countdown(prompt="Make {target} of {nums}.").reset(task("?", [""], row=ROW)) or []
    assert message == {"role": "user", "content": "Make 22 of [3, 5, 7]."}
    assert Countdown().reset(task("?", [""], row=ROW)) is None


def test_its_script_earns_all() -> None:
    for golds, row in ((["3*5+7"], {}), ([""], ROW)):
        environment, asked = find("countdown")(), task("?", golds, row=row)
        environment.reset(asked)
        [text] = environment.script(asked)
        assert environment.step(Turn(text=text, number=1, last=False, finished=True)).reward == 1.0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"discount": 0.0}, "discount is 0.0"),
        ({"format_score": 1.0}, "format_score is 1.0"),
        ({"prompt": "Make {target}."}, "prompt lacks {nums}"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        Countdown(**options)  # type: ignore[arg-type]


def test_a_row_without_numbers_is_told_of() -> None:
    with pytest.raises(UserError, match=r"row q: .*no `nums`"):
        Countdown().reset(task("q", ["so"]))


def test_numbers_are_drawn_alike() -> None:
    assert drawn(Random(3), 4, 20) == drawn(Random(3), 4, 20) != drawn(Random(4), 4, 20)
