"""Gold answers of rows: several, none, and what is left out and counted."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from doc_tables import section, tables
from places import ROOT

from rlvr_cli.core.errors import UserError
from rlvr_cli.data.layouts import PROBLEMS
from rlvr_cli.data.prompts import problems
from rlvr_cli.data.sources import Report, rows, select
from rlvr_cli.engine.tiny import tiny_tokenizer
from rlvr_cli.schema import Source

ASSERTS = ["assert f(1) == 2", "import math\nassert f(2) == 3"]
PAIRS = [{"input": "1", "output": "2", "testtype": "stdin"}]
RULES = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}


def parquet(path: Path, *table: dict[str, Any]) -> Source:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(table)), path)
    return Source(path=str(path))


def jsonl(path: Path, *lines: dict[str, Any]) -> Source:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Source(path=str(path))


def verl(gold: Any) -> dict[str, Any]:
    return {
        "prompt": [{"role": "user", "content": "Who?"}],
        "reward_model": {"style": "rule", "ground_truth": gold},
    }


@pytest.mark.parametrize(
    ("gold", "golds"),
    [
        ("4", ["4"]),
        (["4"], ["4"]),
        ({"target": ["Paris", "the city of Paris"]}, ["Paris", "the city of Paris"]),
        ({"target": "Paris"}, ["Paris"]),
        (["cat", "dog"], ["cat", "dog"]),
        (["4", "4", "5"], ["4", "5"]),
        ([4, 5], ["4", "5"]),
        ({"text": ["in 1066", "1066"], "answer_start": [3, 6]}, ["in 1066", "1066"]),
        ({"value": "Rome", "aliases": ["Roma", "Rome"], "type": "WikipediaEntity"}, ["Rome", "Roma"]),
        (["from here to eternity", "importance"], ["from here to eternity", "importance"]),
        (ASSERTS, [json.dumps(ASSERTS)]),
        (PAIRS, [json.dumps(PAIRS)]),
        ({"inputs": ["1"], "outputs": ["2"]}, [json.dumps({"inputs": ["1"], "outputs": ["2"]})]),
        (["so\n#### 1,200", "1200"], ["1200"]),
    ],
    ids=lambda value: str(value)[:30],
)
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_list_is_several_golds_unless_it_is_the_form_of_one(
    tmp_path: Path, gold: Any, golds: list[str], kind: str
) -> None:
    """Under verl's column and under a plain one."""
    write = {"jsonl": jsonl, "parquet": parquet}[kind]
    for row in (verl(gold), {"question": "Who?", "answer": gold}):
        [found] = rows(write(tmp_path / f"d.{kind}", row), 0)
        assert [found["answer"], *found["alternatives"]] == golds


def test_instructions_are_one_gold(tmp_path: Path) -> None:
    [found] = rows(jsonl(tmp_path / "d.jsonl", verl(RULES)), 0)
    assert json.loads(found["answer"]) == RULES and found["alternatives"] == []


@pytest.mark.parametrize(
    ("gold", "says"),
    [
        (None, "is null"),
        ("", "is empty"),
        (" \n", "is empty"),
        (math.nan, "is nan"),
        (math.inf, "is inf"),
        ([], "is an empty list"),
        ([None, "", math.nan], "one of 'answer' is null"),
        ({"target": []}, "is an empty list"),
        ("#### ,", "is empty"),
    ],
)
def test_a_row_without_a_gold_is_left_out_and_counted(tmp_path: Path, gold: Any, says: str) -> None:
    good = {"question": "1+1?", "answer": "2"}
    source = jsonl(tmp_path / "d.jsonl", good, {"question": "?", "answer": gold}, good | {"question": "x"})
    report = Report(name="train")
    found = rows(source, 0, report)
    assert [row["id"] for row in found] == ["1", "3"] and (report.rows, report.no_gold) == (3, 1)
    [first] = report.no_gold_rows
    assert first.startswith(f"{tmp_path}/d.jsonl row 2: ") and says in first
    assert "1 without a usable gold left out (" in str(report) and first in str(report)


def test_a_missing_answer_is_one_too_and_no_other_column_stands_in(tmp_path: Path) -> None:
    lines = [
        {"problem": "a"},
        {"problem": "b", "answer": "1", "solution": "2"},
        {"problem": "c", "solution": "it is \\boxed{3}"},
        {"problem": "d", "answer": None, "solution": "it is \\boxed{4}"},
    ]
    report = Report(name="train")
    [found] = rows(jsonl(tmp_path / "d.jsonl", *lines), 0, report)
    assert (found["prompt"], found["answer"], report.no_gold) == ("b", "1", 3)
    nested = [verl("4"), verl(None), {"prompt": verl("")["prompt"], "reward_model": None, "solution": "7"}]
    for order in (nested, nested[::-1]):
        [found] = rows(parquet(tmp_path / "d.parquet", *order), 0)
        assert found["answer"] == "4"


def test_unusable_golds_of_several_are_left_out_of_their_row(tmp_path: Path) -> None:
    report = Report(name="train")
    [found] = rows(jsonl(tmp_path / "d.jsonl", {"question": "q", "answer": [None, "4", "", "5"]}), 0, report)
    assert [found["answer"], *found["alternatives"]] == ["4", "5"]
    assert (report.no_gold, report.unusable_golds) == (0, 2)
    assert "golds left out of rows that have others: 2" in str(report)


def test_the_verifiers_are_asked_about_each_gold(tmp_path: Path) -> None:
    """A row nobody can use, or without a gold, is left out before `limit`; the first usable copy is kept."""
    asked: list[tuple[str, ...]] = []

    def ask(names: list[str], gold: str | None, extra: dict[str, Any]) -> str | None:
        asked.append((*names, str(gold), extra["prompt"]))
        if gold is None:
            return ""
        return None if gold.isdigit() else "number: it is none"

    golds = ["x", ["5", "y"], "6", None, "7"]
    lines = [{"question": f"q{min(n, 1)}{n // 3}", "answer": gold} for n, gold in enumerate(golds)]
    source = jsonl(tmp_path / "d.jsonl", *lines)
    source.verifiers, source.deduplicate, source.limit = ["number"], True, 2
    told: list[Any] = []
    found, report = problems(
        "train", source, tiny_tokenizer(64), 64, 0, ask=ask, refused=lambda row, gold, why: told.append(gold)
    )
    assert [(p.id, p.golds) for p in found] == [("2", ["5"]), ("5", ["7"])]
    assert (report.rows, report.duplicates, report.no_gold, report.unusable_golds) == (5, 1, 2, 1)
    assert told == ["x", "y", None] and asked[0] == ("number", "x", "q00")
    assert report.no_gold_rows[0].endswith("row 1: 'x' cannot be used, number: it is none")


def test_all_rows_without_a_gold_are_an_error(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "d.jsonl", *({"question": str(n), "answer": None} for n in range(5)))
    with pytest.raises(UserError, match=r"train: none of the 5 rows .* row 1: .* row 3: 'answer' is null"):
        problems("train", source, tiny_tokenizer(64), 64, 0)


def test_the_memory_of_a_set_stored_many_times_is_that_of_its_rows(tmp_path: Path) -> None:
    """Ids are made of the rows that stay."""
    copies = [{"id": "a", "problem": "1+1", "answer": "2"}, {"id": "b", "problem": "1+2", "answer": "3"}] * 50
    source = jsonl(tmp_path / "d.jsonl", *copies)
    source.deduplicate = True
    report = Report(name="t")
    assert [row["id"] for row in select(source, 0, PROBLEMS, report)] == ["a", "b"]
    assert (report.rows, report.duplicates) == (100, 98)


def test_the_page_says_what_is_read(tmp_path: Path) -> None:
    """The table of docs/data.md, row by row."""
    [table] = tables(section((ROOT / "docs" / "data.md").read_text(), "Gold answers"))
    checked = 0
    for row in table:
        wanted = re.findall(r"`([^`]+)`", row["golds"]) or [row["golds"]]
        for written in re.findall(r"`([^`]+)`", row["in the answer's column"]) or [
            row["in the answer's column"]
        ]:
            if row["golds"].startswith("one:"):
                wanted = [written] if written.startswith('{"inputs"') else []
            if wanted:
                [found] = rows(
                    jsonl(tmp_path / "d.jsonl", {"question": "?", "answer": json.loads(written)}), 0
                )
                assert [found["answer"], *found["alternatives"]] == wanted, written
                checked += 1
    assert checked == 8
