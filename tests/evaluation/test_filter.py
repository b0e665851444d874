"""`rlvr filter`: what an environment keeps of a recipe's problems."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlvr_cli import compose
from rlvr_cli.commands.main import main
from rlvr_cli.core.errors import UserError
from rlvr_cli.evaluation.filter import filter_problems

TINY = ["model.path=builtin:tiny"]


def test_what_plain_retrieval_answers_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["filter", "tiny_s3", *TINY, "-o", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert said == f"data.train: 300 of 333 problems kept: {tmp_path}/train.jsonl\n"
    rows = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert len(rows) == 300 and set(rows[0]) == {"id", "prompt", "answer", "completion"}
    again = compose.load("tiny_s3", [*TINY, f"data.train.path={tmp_path}/train.jsonl"])
    [line] = filter_problems(again, tmp_path / "again")  # type: ignore[arg-type]
    assert line.startswith("data.train: 300 of 300 problems kept")


def test_where_nothing_is_left_and_nothing_says_what_it_keeps(tmp_path: Path) -> None:
    easy = compose.load("tiny_s3", [*TINY, "data.train.options={hops: 1}"])
    with pytest.raises(UserError, match=r"^data.train: environment s3 keeps none of \d+ problems$"):
        list(filter_problems(easy, tmp_path))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no source has an environment that says what it keeps"):
        list(filter_problems(compose.load("tiny_dapo", TINY), tmp_path))  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
