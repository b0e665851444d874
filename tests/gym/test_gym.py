"""reasoning-gym: its problems are seeded and split, and no wrong answer is worth more than it should be."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rlvr_cli import gym
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Reason
from rlvr_cli.data.gym import generate
from rlvr_cli.data.gym_worker import rows
from rlvr_cli.data.layouts import EXAMPLES, PROBLEMS
from rlvr_cli.gym.scores import OURS
from rlvr_cli.schema import Source, Verification
from rlvr_cli.verifiers.extract import Extraction
from rlvr_cli.verifiers.pool import Pool
from rlvr_cli.verifiers.reasoning_gym import ReasoningGym

RUNNERS = {"eval", "exec", "parse_expr", "sympify", "compile", "literal_eval"}
ONLY_WHEN_MADE = {
    "basic_arithmetic": "evaluates the problem it made",
    "codeio": "runs the library's own programs",
    "propositional_logic": "its parse_expr is a parser of its own",
}
QUICK = ("chain_sum", "maze", "graph_color", "polynomial_multiplication", "n_queens", "arc_1d", "rubiks_cube")


def entry(name: str, answer: str | None, **metadata: Any) -> dict[str, Any]:
    return {"entry": {"task": name, "options": {}, "answer": answer, "metadata": metadata}}


def marks(found: str, extra: dict[str, Any], **options: Any) -> float:
    return ReasoningGym(**options).verify(f"<answer>{found}</answer>", "", extra).score


def calls(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    called = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    names = {
        f.id if isinstance(f, ast.Name) else f.attr for f in called if isinstance(f, ast.Name | ast.Attribute)
    }
    # re.compile and a compiler's method compile patterns and puzzles, not Python.
    plain = {f.id for f in called if isinstance(f, ast.Name)}
    return (names & RUNNERS - {"compile"}) | (plain & {"compile"})


@pytest.mark.slow
def test_no_scorer_that_runs_text_is_used_on_answers() -> None:
    gym.library()
    from reasoning_gym.factory import DATASETS

    assert set(DATASETS) - {"composite"} == gym.TASKS
    running = set()
    for task, (made_by, _) in DATASETS.items():
        source = Path(sys.modules[made_by.__module__].__file__ or "")
        if calls(source):
            running.add(task)
    assert {"n_queens", "countdown", "codeio"} <= running  # the search finds something
    assert running - set(OURS) == set(ONLY_WHEN_MADE)
    assert not calls(Path(gym.__file__)) and not calls(Path(gym.__file__).with_name("scores.py"))


def test_answers_are_not_executed(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    attack = f"[open({str(trace)!r}, 'w')]"
    for task in sorted(OURS):
        extra = entry(task, "1", numbers=[1], target=1, variable="x", integrand="x", valid_answers=["Q"])
        for text in (attack, f"__import__('os').system('touch {trace}')", f"({attack}).x + 1"):
            assert marks(text, extra) == 0
    assert not trace.exists()


@pytest.mark.parametrize(
    ("task", "right", "wrong", "metadata"),
    [
        ("countdown", "(8-2)*4", "8+2+14", {"numbers": [2, 4, 8], "target": 24}),
        ("countdown", "-(2-8)*4", "24", {"numbers": [2, 4, 8], "target": 24}),
        ("countdown", "8*4-2*4", "8+8+2*4", {"numbers": [2, 4, 4, 8], "target": 24}),
        ("puzzle24", "4*(1+2+3)", "6*4*1*1", {"numbers": [1, 2, 3, 4]}),
        ("simple_integration", "x**3/3 + C", "x**3", {"variable": "x", "integrand": "x**2"}),
        ("intermediate_integration", "-cos(2*x)/2", "cos(2*x)", {"variable": "x", "integrand": "sin(2*x)"}),
        ("n_queens", "_ Q\nQ _", "Q _\nQ _", {"valid_answers": ["_ Q\nQ _", "Q _\n_ Q"]}),
    ],
)
def test_our_scores(task: str, right: str, wrong: str, metadata: dict[str, Any]) -> None:
    assert marks(right, entry(task, None, **metadata)) == 1
    assert marks(wrong, entry(task, None, **metadata)) == 0


def test_loopholes_of_the_library_are_closed() -> None:
    assert marks("anything", entry("game_of_life_halting", "False")) == 0
    assert marks("false", entry("game_of_life_halting", "False")) == 1
    assert marks("['3', '5']", entry("number_sorting", "['2', '5']", direction="ascending")) == 0
    assert marks('["2", "5"]', entry("number_sorting", "['2', '5']", direction="ascending")) == 1
    coin = entry("coin_flip", "0.1208496094")
    assert marks("0", coin) == marks("0.12", coin) == 0 and marks("0.12085", coin) == 1
    assert marks("0.12095", coin) == marks("0.12075", coin) == 0  # the fourth digit is another
    product = entry("polynomial_multiplication", "x**2 + 3*x + 2")
    assert marks("(x + 1)*(x + 2)", product) == 0 and marks("2 + 3*x + x**2", product) == 1
    assert marks("9**9**9**9", product) == 0
    number = entry("complex_arithmetic", "1.0 + 2.0i", result=[1.0, 2.0])
    assert marks("nan", number) == marks("1e999999999", number) == 0 and marks("1 + 2i", number) == 1
    days = entry("calendar_arithmetic", "-1", task="recurring_event_day")
    assert marks("40", days) == marks("40", days, strict=False) == 0 and marks("-1", days) == 1


@pytest.mark.parametrize("task", ["arc_agi", "rearc"])
def test_boards_are_right_after_a_way_through_json(task: str) -> None:
    """The library compares tuples; a file of rows has lists."""
    board = entry(task, "1 2\n3 4", output=[[1, 2], [3, 4]])
    assert marks("1 2\n3 4", board) == 1 and marks("1 2\n3 5", board) == 0


def test_strict_and_partial_credit() -> None:
    extra = entry("spell_backward", "dcba")
    assert marks("dcbx", extra) == 0 and marks("dcbx", extra, strict=False) == pytest.approx(0.75)
    assert marks("dcba", extra) == marks("dcba", extra, strict=False) == 1


def test_reasons() -> None:
    verifier, extra = ReasoningGym(max_chars=10), entry("prime_factorization", "2 × 3")
    assert verifier.verify("no tags", "", extra).reason is Reason.no_answer
    assert verifier.verify("<answer>2 × 3", "", extra).reason is Reason.malformed
    assert verifier.verify(f"<answer>{'2' * 11}</answer>", "", extra).reason is Reason.refused
    assert verifier.verify("<answer>two</answer>", "", extra).reason is Reason.malformed  # the scorer raises
    assert verifier.verify("<answer>7</answer><answer>2 × 3</answer>", "", extra).reason is Reason.correct
    whole = ReasoningGym(extraction=None)
    assert whole.verify(" 2 × 3\n", "", extra).score == 1 and whole.verify("", "", extra).score == 0
    assert ReasoningGym(extraction=Extraction.boxed).verify("\\boxed{2 × 3}", "", extra).score == 1
    assert ReasoningGym(thinking=True).verify("<answer>2 × 3</answer>", "", extra).reason is Reason.no_answer
    assert verifier.check_gold("1", {}) and not verifier.check_gold("1", extra)


def test_golds_are_right_and_mutations_wrong() -> None:
    verifier = ReasoningGym()
    found = rows("suite", "train", {"tasks": list(QUICK), "size": 3 * len(QUICK)}, 0)
    assert [row["subject"] for row in found[: len(QUICK)]] == list(QUICK)
    for row in found:
        assert verifier.verify(row["completion"], row["answer"], row).score == 1, row
        for response in verifier.mutate(row["answer"], row):
            assert verifier.verify(response, row["answer"], row).score == 0, (row, response)


def test_train_and_eval_are_disjoint_and_distinct() -> None:
    train = [row["prompt"] for seed in (0, 1) for row in rows("coin_flip", "train", {"size": 60}, seed)]
    held_out = [row["prompt"] for seed in (0, 2) for row in rows("coin_flip", "eval", {"size": 30}, seed)]
    assert not set(train) & set(held_out)
    assert train[:60] != train[60:]
    assert len(set(train[:60])) == 60 and len(set(held_out[:30])) == 30


@pytest.mark.slow
def test_same_arguments_same_problems_in_another_process() -> None:
    """word_ladder walks over sets of words, list_functions draws from the global generator."""
    options = {"tasks": ["ransom_note", "list_functions"], "size": 12}
    first = generate("suite", "train", options, 0)
    assert first == generate("suite", "train", options, 0)


@pytest.mark.slow
def test_rows_serve_rl_and_sft() -> None:
    [row] = generate("chain_sum", "train", {"size": 1, "max_terms": 2}, 3)
    problem = PROBLEMS.normalise(row, PROBLEMS.recognise(row, {}, "x"), "x")
    assert problem["extra"]["subject"] == "chain_sum" and problem["extra"]["entry"]["options"] == {
        "max_terms": 2
    }
    example = EXAMPLES.normalise(row, EXAMPLES.recognise(row, {}, "x"), "x")
    assert example["completion"] == f"<answer>{row['answer']}</answer>"
    assert Source(path="reasoning_gym:chain_sum").path == "reasoning_gym:chain_sum"


@pytest.mark.parametrize(
    ("name", "split", "options", "message"),
    [
        ("chain_sm", "train", {}, "no task reasoning_gym:chain_sm; did you mean 'chain_sum'"),
        ("composite", "train", {}, "no task reasoning_gym:composite"),
        ("chain_sum", "test", {}, "no split 'test'; it has train and eval"),
        ("chain_sum", "train", {"min_term": 3}, "no option 'min_term'; did you mean 'min_terms'"),
        ("chain_sum", "train", {"seed": 3}, "no option 'seed'"),
        ("chain_sum", "train", {"min_terms": "3"}, "options.min_terms of .* is '3'; it must be int"),
        ("chain_sum", "train", {"min_terms": 30}, "does not take these options: max_terms must be"),
        ("chain_sum", "train", {"size": 0}, "options.size is 0"),
        ("suite", "train", {}, "needs options.tasks"),
        ("suite", "train", {"tasks": ["gcd", "gdc"]}, "no task reasoning_gym:gdc; did you mean 'gcd'"),
        ("suite", "train", {"tasks": ["gcd"], "digits": 2}, "suite has no option 'digits'"),
        ("coin_flip", "train", {"size": 5000, "max_trials": 4, "min_trials": 4}, "has only .* not 5000"),
    ],
)
def test_wrong_options(name: str, split: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        rows(name, split, options, 0)


@pytest.mark.slow
def test_zebra_puzzles_without_pycosat_say_what_is_missing() -> None:
    code = (
        "import sys; sys.modules['pycosat'] = None\n"
        "import importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'pycosat' else find(name, *a)\n"
        "from rlvr_cli.data.gym_worker import rows\n"
        "from rlvr_cli.core.errors import UserError\n"
        "try: rows('zebra_puzzles', 'train', {'size': 1}, 0)\n"
        "except UserError as error: print(error)\n"
        "print(len(rows('gcd', 'train', {'size': 2}, 0)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))
    assert done.stdout == "this task needs pycosat: pip install pycosat (it has to be compiled)\n2\n", (
        done.stderr
    )


@pytest.mark.slow
def test_through_the_pool() -> None:
    [row] = rows("gcd", "train", {"size": 1}, 0)
    with Pool({"rg": ReasoningGym()}, Verification(workers=1)) as pool:
        right = pool.submit("rg", row["completion"], row["answer"], row)
        wrong = pool.submit("rg", "<answer>0</answer>", row["answer"], row)
        assert right.result(60).score == 1 and wrong.result(60).reason is Reason.wrong
