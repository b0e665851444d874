"""`rlvr verify` as users meet it: files in, tables and verdicts out, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from model_servers import Server, server

from rlvr_cli.commands.main import main

__all__ = ["server"]  # a fixture, which pytest finds by its name

CASES: list[dict[str, Any]] = [
    {"id": "a", "response": r"\boxed{1/2}", "answer": "0.5"},
    {"id": "b", "response": r"\boxed{3}", "answer": 4},
    {"id": "c", "response": "none", "answer": "4"},
    {"id": "d", "response": r"\boxed{7}", "answer": "7", "subject": "x"},
]


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in CASES))


def rlvr(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["verify", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def lines(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_scores_and_verdicts(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = rlvr(capsys, "cases.jsonl", "--verifier", "math", "--out", "verdicts.jsonl")
    assert (code, err) == (0, "")
    assert "mean score        0.5000" in out and "correct         2  (50.0%)" in out
    assert "no_answer       1  (25.0%)" in out and "p50" in out
    found = lines("verdicts.jsonl")
    assert [(row["id"], row["score"], row["reason"]) for row in found] == [
        *(("a", 1.0, "correct"), ("b", 0.0, "wrong"), ("c", 0.0, "no_answer"), ("d", 1.0, "correct"))
    ]
    assert found[0]["extracted"] == "1/2" and all(row["verifier"] == "math" for row in found)


def test_random_draws_for_each_row_and_not_once_for_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"id": f"{n}", "response": f"{n}", "answer": "1"} for n in range(24)]
    Path("many.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, _, err = rlvr(capsys, "many.jsonl", "--verifier", "random", "--out", "drawn.jsonl")
    assert code == 0, err
    assert {row["score"] for row in lines("drawn.jsonl")} == {0.0, 1.0}


def test_options_limits_and_columns_reach_their_places(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"text": "#### 5", "gold": "5", "response": "no"},
        {"text": "#### 6", "gold": "5", "response": "no"},
    ]
    pq.write_table(pa.Table.from_pylist(rows), "cases.parquet")
    arguments = ["cases.parquet", "--verifier", "math", "--option", "extraction=hash", "--out", "v.jsonl"]
    columns = ["source.columns.response=text", "source.columns.answer=gold"]
    assert rlvr(capsys, *arguments, *columns)[0] == 0
    assert [row["score"] for row in lines("v.jsonl")] == [1.0, 0.0]
    assert rlvr(capsys, *arguments, *columns, "source.limit=1")[0] == 0
    assert len(lines("v.jsonl")) == 1


def write(*rows: object) -> None:
    Path("golds.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_several_golds_and_none(capsys: pytest.CaptureFixture[str]) -> None:
    """Any of several counts; rows without one are left out and named."""
    boxed = {"response": "\\boxed{2}"}
    write(
        boxed | {"answer": ["1", "2"]},
        boxed | {"answer": None},
        boxed | {"answer": {"target": ["3", "4"]}},
        boxed,
        boxed | {"answer": ["print(1)", "2"]},
        boxed | {"answer": "print(1)"},
        boxed | {"answer": ""},
    )
    code, out, err = rlvr(capsys, "golds.jsonl", "--verifier", "math", "--out", "v.jsonl")
    assert (code, err) == (0, "")
    assert [(row["id"], row["score"]) for row in lines("v.jsonl")] == [("1", 1.0), ("3", 0.0), ("5", 1.0)]
    assert (
        "4 without a usable gold left out (golds.jsonl row 2: 'answer' is null; golds.jsonl row 4 has" in out
    )
    assert "row 6: 'print(1)' cannot be used, math: not a mathematical answer; ...)" in out
    assert "golds left out of rows that have others: 1" in out
    write(boxed, boxed | {"answer": None})
    code, out, err = rlvr(capsys, "golds.jsonl", "--verifier", "math")
    assert code == 2 and out == "" and "none of the 2 rows of 'golds.jsonl' has a gold answer" in err


@pytest.mark.slow
def test_a_self_test_is_of_each_gold(capsys: pytest.CaptureFixture[str]) -> None:
    """By itself: one more than a gold may be another of them."""
    problem = {"problem": "a", "answer": ["12", "13"]}
    write(problem, problem | {"answer": None})
    code, out, _ = rlvr(capsys, "golds.jsonl", "--self-test", "--verifier", "math")
    assert code == 0 and "right answers refused    0 of " in out and "wrong answers accepted   0 of " in out
    assert "1 without a usable gold left out (golds.jsonl row 2: 'answer' is null)" in out


@pytest.mark.parametrize("verifier", ["ifeval", "format", "always", "length"])
def test_a_verifier_that_reads_no_gold_needs_none(verifier: str, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"response": "\\boxed{Yes}", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    write(row)
    code, _, err = rlvr(capsys, "golds.jsonl", "--verifier", verifier, "--out", "v.jsonl")
    assert (code, err) == (0, "") and [row["score"] for row in lines("v.jsonl")] == [1.0]


def test_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = rlvr(
        capsys,
        "cases.jsonl",
        "--compare",
        "math,match",
        "verifiers.match.extraction=boxed",
        "--out",
        "v.jsonl",
    )
    assert code == 0 and "math, match   3  (75.0%)   1            0" in out
    assert "1 correct: 1/2   0 wrong: 1/2" in out and "0 wrong: 3 " not in out
    assert len(lines("v.jsonl")) == 8


@pytest.mark.slow
def test_self_test_and_its_floor(capsys: pytest.CaptureFixture[str]) -> None:
    problems = [{"problem": "a", "answer": "12"}, {"problem": "b", "answer": "C or D"}]
    Path("problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in problems))
    arguments = ["problems.jsonl", "--self-test", "--verifier", "match", "--option", "extraction=choice"]
    code, out, err = rlvr(capsys, *arguments, "--out", "failures.jsonl")
    # `12` is no choice, and `C or D` is two: both golds are refused
    assert (code, err) == (1, "") and "right answers refused    2 of 2  (100.00%)" in out
    assert "1 missed: 0.0000" in out
    assert [(row["kind"], row["id"]) for row in lines("failures.jsonl")][:2] == [
        *(("refused_gold", "1"), ("refused_gold", "2"))
    ]
    assert rlvr(capsys, *arguments, "--floor", "0")[0] == 0
    code, out, _ = rlvr(capsys, "problems.jsonl", "--self-test", "--verifier", "math", "source.limit=1")
    assert code == 0 and "wrong answers accepted   0 of 12" in out and "1 reached: 1.0000" in out
    classes = {line.split("  ")[1]: line.split()[-3:] for line in out.splitlines() if " wrong " in line}
    assert classes["one off"] == ["wrong", "2", "0"] and classes["letter added"] == ["wrong", "1", "0"]


@pytest.mark.slow
def test_a_bench_brings_its_verifier(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = rlvr(capsys, "addition", "--self-test", "source.limit=5")
    assert code == 0 and "self-test of math" in out and "right answers refused    0 of " in out


@pytest.mark.slow
def test_responses_to_a_problem_are_compared(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows of one id, wherever they stand; against a column of the row each is judged alone."""
    server.says = lambda prompt: (
        200,
        f"Winner: {'A' if prompt > '|'.join(prompt.split('|')[::-1]) else 'B'}",
        {},
    )
    rows = [("p", "3"), ("q", "5"), ("p", "1"), ("q", "4")]
    Path("groups.jsonl").write_text(
        "".join(json.dumps({"id": name, "response": text, "best": "2"}) + "\n" for name, text in rows)
    )
    settings = [f"base_url={server.url}", "model=m", 'template="{first}|{second}"', "retries=0"]
    given = ["--verifier", "pairwise", *(word for each in settings for word in ("--option", each))]
    code, out, err = rlvr(capsys, "groups.jsonl", *given, "--out", "v.jsonl")
    assert code == 0 and "pairwise: 4 rows in 2 groups" in out, err
    assert [(row["id"], row["score"]) for row in lines("v.jsonl")] == [("p", 1), ("q", 1), ("p", 0), ("q", 0)]
    code, out, err = rlvr(capsys, "groups.jsonl", *given, "--option", "reference=best", "--out", "v.jsonl")
    assert code == 0 and [row["score"] for row in lines("v.jsonl")] == [1, 1, 0, 1], err
    code, out, err = rlvr(capsys, "cases.jsonl", *given)
    assert code == 2 and err.count("\n") == 1 and "the only one of its problem; rows of a problem have" in err
    code, out, err = rlvr(capsys, "cases.jsonl", *given, "--option", "reference=best")
    assert code == 2 and "the row has no text in 'best' to compare with" in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("", "verify needs DATA"),
        ("cases.jsonl", "name a verifier: --verifier NAME; available: always"),
        ("cases.jsonl --verifier maths", "there is no verifier 'maths'; did you mean 'math'?"),
        ("cases.jsonl --verifier math --option extr=hash", "did you mean 'verifiers.math.extraction'?"),
        ("cases.jsonl --compare math", "--compare math: name two verifiers or more"),
        ("cases.jsonl --compare math,match --verifier math", "leave --verifier out"),
        ("cases.jsonl --compare math,match --option lower=true", "--option is for one verifier"),
        ("cases.jsonl --compare math,match --self-test", "use one of them"),
        ("cases.jsonl --verifier math --floor 1", "--floor is for --self-test"),
        ("cases.jsonl --verifier math --self-test --floor 2", "--floor is 2; it must be from 0 to 1"),
        ("cases.jsonl --verifier math --out no/where.jsonl", "no is not a directory"),
        ("cases.jsonl --verifier math source.columns.response=respons", "did you mean 'response'?"),
        ("absent.jsonl --verifier math", "there is no file absent.jsonl"),
        ("addition --self-test --verifier always", "'always' (always) has no self-test"),
        ("cases.jsonl --verifier math model=tiny", "groups belong to recipes"),
    ],
)
def test_mistakes_are_one_line(arguments: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = rlvr(capsys, *arguments.split())
    assert code == 2 and out == "" and err.count("\n") == 1 and says in err
    assert [path.name for path in Path().iterdir()] == ["cases.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("", "needs either RECIPE or --verifier NAME"),
        ("tiny_dapo --verifier math", "needs either RECIPE or --verifier NAME"),
        ("tiny_dapo --option a=b", "--option is for --verifier"),
        ("tiny_sft", "tiny_sft is a recipe of sft, which has no verifiers"),
        ("--verifier math --host 0.0.0.0", "set a token: --token-env NAME"),
        ("--verifier math --token-env RLVR_ABSENT", "RLVR_ABSENT is not set"),
        ("--verifier majority", "'majority' (majority) judges all samples of a problem together"),
        ("--verifier math --port 70000", "--port is 70000"),
        ("--verifier math --max-requests 0", "--max-requests is 0"),
        ("--verifier math --host 192.0.2.1 --token-env HOME", "--host 192.0.2.1 --port 8700"),
    ],
)
def test_mistakes_of_the_server(arguments: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve-verifier", *arguments.split()]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and says in captured.err


@pytest.mark.slow
def test_no_torch() -> None:
    code = (
        "import sys; from rlvr_cli.commands.main import main;"
        "assert main(['verify', 'cases.jsonl', '--verifier', 'math']) == 0;"
        "heavy = {'torch', 'transformers', 'vllm', 'deepspeed'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
