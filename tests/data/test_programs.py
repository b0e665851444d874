# ruff: noqa: E501 (programs are quoted as one line)
"""Rows of programming data sets, as they are published, become tests the code verifier runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlvr_cli import compose
from rlvr_cli.core.errors import UserError
from rlvr_cli.data.layouts import PROBLEMS
from rlvr_cli.verifiers.code import Code
from rlvr_cli.verifiers.code_tests import Call, Check, Script, parse

ASSERTS = ["assert f(1) == 2", "assert f(2) == 3"]
PAIRS = {"inputs": ["1\n"], "outputs": ["2\n"]}
CASES = [{"input": "1\n", "output": "2\n", "testtype": "stdin"}]
ROWS: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "mbpp": (
        {"task_id": 1, "prompt": "Add.", "code": "def f(x): return x + 1", "test_list": ASSERTS,
         "test_imports": ["import math"], "challenge_test_list": []},
        [Check(source=text) for text in ASSERTS],
    ),
    "humaneval": (
        {"prompt": "def f(x):\n    '''.'''\n", "test": "def check(c):\n    assert c(1) == 2", "entry_point": "f",
         "canonical_solution": "    return x + 1"},
        [Check(source="def check(c):\n    assert c(1) == 2\ncheck(f)\n")],
    ),
    "taco": (
        {"question": "Add.", "input_output": json.dumps(PAIRS), "solutions": "[]"},
        [Script(stdin=b"1\n", stdout="2\n")],
    ),
    "livecodebench": (
        {"question_content": "Add.", "question": "Add.", "private_test_cases": json.dumps(CASES), "metadata": "{}"},
        [Script(stdin=b"1\n", stdout="2\n")],
    ),
    "verl, eurus": (
        {"prompt": [{"role": "user", "content": "Add."}],
         "reward_model": {"ground_truth": json.dumps({"inputs": [[1]], "outputs": [2], "fn_name": "f"})}},
        [Call(name="f", arguments=[1], values=[2])],
    ),
    "open-instruct": (
        {"messages": [{"role": "user", "content": "Add."}], "ground_truth": ASSERTS},
        [Check(source=text) for text in ASSERTS],
    ),
    "plain": ({"prompt": "Add.", "tests": PAIRS}, [Script(stdin=b"1\n", stdout="2\n")]),
    "answer": ({"prompt": "Add.", "answer": json.dumps(PAIRS)}, [Script(stdin=b"1\n", stdout="2\n")]),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_rows(name: str) -> None:
    raw, cases = ROWS[name]
    columns = PROBLEMS.recognise(raw, {}, "row 1")
    row = PROBLEMS.normalise(raw, columns, "row 1")
    assert Code().check_gold(row["answer"], row["extra"]) is None
    assert parse(row["answer"], row["extra"]).cases == cases


def test_a_worked_solution_is_still_an_answer() -> None:
    raw = {"problem": "1 + 1", "solution": "It is \\boxed{2}."}
    assert PROBLEMS.normalise(raw, PROBLEMS.recognise(raw, {}, "row 1"), "row 1")["answer"] == "2"


RECIPE = """
defaults:
  - algorithm: grpo
  - model: tiny
  - data@data.train: addition
  - verifier@verifiers.code: code
  - _self_
name: code
data: {train: {verifiers: [code]}}
"""


@pytest.mark.slow
def test_limits_fit_into_the_pools(tmp_path: Path) -> None:
    path = tmp_path / "code.yaml"
    path.write_text(RECIPE)
    made = compose.load(str(path), [])
    assert made.verifiers["code"].total_s == 4.0 and made.verifiers["code"].isolation.value == "auto"
    with pytest.raises(UserError, match=r"verification\.timeout_s=40"):
        compose.load(str(path), ["verifiers.code.total_s=30"])
    compose.load(str(path), ["verifiers.code.total_s=30", "verification.timeout_s=40"])
    with pytest.raises(UserError, match=r"verifiers\.code\.memory_mb is 4096"):
        compose.load(str(path), ["verifiers.code.memory_mb=4096"])
    with pytest.raises(UserError, match="isolation"):
        compose.load(str(path), ["verifiers.code.isolation=docker"])
