"""Reading files, recognising layouts, and what a user is told when a row is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pyarrow.parquet
import pytest
from omegaconf import OmegaConf

import rlvr_cli.conf
from rlvr_cli.core.errors import UserError
from rlvr_cli.data.sources import rows
from rlvr_cli.schema import Source

CONFIGS = sorted((Path(rlvr_cli.conf.__file__).parent / "data").glob("*.yaml"))
VERL = {
    "data_source": "math_dapo",
    "prompt": [{"role": "user", "content": "What is 2+2? Answer: $Answer"}],
    "ability": "MATH",
    "reward_model": {"ground_truth": "4", "style": "rule-lighteval/MATH_v2"},
    "extra_info": {"index": "9a9b6eb4"},
}


def jsonl(path: Path, *lines: dict[str, Any] | str) -> Path:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return path


def parquet(path: Path, *table: dict[str, Any]) -> Path:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(table)), path)
    return path


def load(path: Path, **fields: Any) -> list[dict[str, Any]]:
    return rows(Source(path=str(path), **fields), seed=0)


@pytest.mark.parametrize(
    ("row", "prompt", "answer", "identity"),
    [
        (VERL, VERL["prompt"], "4", "9a9b6eb4"),
        ({"prompt": "2+2?", "solution": "4"}, "2+2?", "4", "1"),
        ({"prompt": [{"role": "user", "content": "2+2?"}], "ground_truth": "4"}, VERL, "4", "1"),
        ({"input": "2+2?", "label": "4"}, "2+2?", "4", "1"),
        ({"question": "2+2?", "label": 4}, "2+2?", "4", "1"),
        ({"context_messages": [{"role": "user", "content": "2+2?"}], "label": "4"}, VERL, "4", "1"),
        ({"question": "2+2?", "final_answer": ["4"]}, "2+2?", "4", "1"),
        ({"question": "How many?", "answer": "It is <<2*600=1200>>.\n#### 1,200"}, "How many?", "1200", "1"),
        ({"id": 60, "problem": "P", "solution": "long", "answer": "204", "url": "u"}, "P", "204", "60"),
        ({"Problem": "P", "Answer": 27.0}, "P", "27.0", "1"),
        (
            {"problem": "P", "answer": "x", "unique_id": "test/a/1.json", "level": 2},
            "P",
            "x",
            "test/a/1.json",
        ),
        (
            {"problem": "P", "level": "Level 5", "solution": "so \\boxed{\\frac{1}{2}}."},
            "P",
            "\\frac{1}{2}",
            "1",
        ),
    ],
    ids=[
        *("verl", "trl", "trl-chat", "openrlhf-input", "openrlhf-question", "openrlhf-messages"),
        *("olympiadbench", "gsm8k", "aime", "aime-capitals", "math500", "math"),
    ],
)
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_layouts(
    tmp_path: Path, row: dict[str, Any], prompt: Any, answer: str, identity: str, kind: str
) -> None:
    path = tmp_path / f"data.{kind}"
    (found,) = load(jsonl(path, row) if kind == "jsonl" else parquet(path, row))
    if prompt is VERL:
        prompt = [{"role": "user", "content": "2+2?"}]
    assert (found["prompt"], found["answer"], found["id"]) == (prompt, answer, identity)


def test_the_rest_of_a_row_is_kept_under_extra(tmp_path: Path) -> None:
    (row,) = load(parquet(tmp_path / "t.parquet", VERL))
    assert row["extra"]["data_source"] == "math_dapo"
    assert row["extra"]["extra_info"] == {"index": "9a9b6eb4"}
    assert "prompt" not in row["extra"]


def test_columns_win_over_recognition_and_reach_into_nested_columns(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "d.jsonl", {"problem": "no", "q": "yes", "answer": "no", "meta": {"gold": "7"}, "n": 3}
    )
    columns = {"prompt": "q", "answer": "meta.gold", "id": "n", "level": "n"}
    (row,) = load(path, columns=columns)
    assert (row["prompt"], row["answer"], row["id"], row["extra"]["level"]) == ("yes", "7", "3", 3)


def test_a_reply_at_the_end_of_messages_is_not_shown_to_the_model(tmp_path: Path) -> None:
    chat = [{"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "4"}]
    (row,) = load(jsonl(tmp_path / "d.jsonl", {"messages": chat, "ground_truth": "4"}))
    assert row["prompt"] == [{"role": "user", "content": "2+2?"}]


def test_json_arrays_and_json_lines_in_a_json_file(tmp_path: Path) -> None:
    two = [{"problem": "a", "answer": "1"}, {"problem": "b", "answer": "2"}]
    array = tmp_path / "array.json"
    array.write_text(json.dumps(two))
    assert [row["prompt"] for row in load(array)] == ["a", "b"]
    assert [row["prompt"] for row in load(jsonl(tmp_path / "lines.json", *two))] == ["a", "b"]


def test_folder_takes_the_files_of_its_split(tmp_path: Path) -> None:
    for name in ("train-00001-of-2", "train-00000-of-2", "test-00000-of-1"):
        parquet(tmp_path / f"{name}.parquet", {"problem": name, "answer": "1", "id": 0})
    found = load(tmp_path)
    assert [row["prompt"] for row in found] == ["train-00000-of-2", "train-00001-of-2"]
    assert [row["id"] for row in found] == ["0", "0#2"]
    with pytest.raises(UserError, match="no 'validation' file; its splits are test, train: set split"):
        load(tmp_path, split="validation")


@pytest.mark.parametrize(
    ("split", "read", "other"),
    [("val", "val", "validation"), ("test", "test-00000-of-1", "testing-00000"), ("dev", "dev", "devel")],
)
def test_a_split_whose_name_begins_another_is_read_alone(
    tmp_path: Path, split: str, read: str, other: str
) -> None:
    for name in (read, other):
        jsonl(tmp_path / f"{name}.jsonl", {"problem": name, "answer": "1"})
    assert [row["prompt"] for row in load(tmp_path, split=split)] == [read]


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("2*600=1200\n#### 1,200", "1200"),
        ("2*500=1000\n#### 1,000\nNo: 2*600=1200\n#### 1,200\n", "1200"),
        ("#### 1,000\nis what it said before.", "#### 1,000\nis what it said before."),
        ("The sum\n#### 7\n\n\n", "7"),
    ],
    ids=["once", "twice", "before the last line", "blank lines after it"],
)
def test_the_gold_is_what_the_last_line_marks(tmp_path: Path, answer: str, gold: str) -> None:
    [row] = load(jsonl(tmp_path / "d.jsonl", {"question": "How many?", "answer": answer}))
    assert row["answer"] == gold


def test_folder_without_split_names_is_read_whole(tmp_path: Path) -> None:
    jsonl(tmp_path / "b.jsonl", {"problem": "b", "answer": "1"})
    jsonl(tmp_path / "a.jsonl", {"problem": "a", "answer": "1"})
    (tmp_path / "dataset_info.json").write_text("{}")
    assert [row["prompt"] for row in load(tmp_path)] == ["a", "b"]


GOOD = {"problem": "2+2?", "answer": "4"}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([GOOD, "", '{"problem": '], r"d\.jsonl row 3 is not valid JSON: .*fix or remove it"),
        ([GOOD, "[1]"], r"d\.jsonl row 2 is list; a row must be a JSON object"),
        (
            [GOOD | {"answer": None}, {"problem": "x", "anser": "4"}],
            r"d\.jsonl row 2 has no column 'answer'; .*did you mean 'anser'\?",
        ),
        ([{"problem": "x", "anser": "4"}], r"row 1 has no column for the answer .*columns\.answer=anser"),
        ([GOOD, {"problem": "  ", "answer": "4"}], r"d\.jsonl row 2: 'problem' is empty"),
        ([GOOD, {"problem": 3, "answer": "4"}], r"d\.jsonl row 2: 'problem' is int; it must be text or chat"),
        (
            [GOOD, {"problem": "x", "answer": ["1", ["2"]]}],
            r"d\.jsonl row 2: 'answer' is list; .*text or a number",
        ),
        (
            [GOOD, {"problem": "x", "answer": {"target": 98, "numbers": [44, 54]}}],
            r"d\.jsonl row 2: 'answer' is an object with target, numbers, .*columns\.answer=answer\.target",
        ),
        ([GOOD, '{"problem": ' + "[" * 200_000], r"d\.jsonl row 2 is nested too deep"),
        (
            [GOOD | {"answer": None}, GOOD | {"answer": [" "]}],
            r"none of the 2 rows .* can be used: .*row 1: 'answer' is null; .*row 2: 'answer' is empty",
        ),
        ([GOOD, {"problem": "x", "answer": True}], r"d\.jsonl row 2: 'answer' is bool"),
        ([{"prompt": [{"role": "user"}], "answer": "4"}], r"row 1: message 1 needs a role and a content"),
        ([""], r"d\.jsonl is empty"),
    ],
)
def test_errors_name_the_row(tmp_path: Path, lines: list[Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load(jsonl(tmp_path / "d.jsonl", *lines))
    assert "\n" not in str(caught.value)


def test_explicit_column_that_is_not_there(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "d.jsonl", {"question": "x", "answer": "4"})
    message = r"no column 'qestion' \(columns.prompt\); it has question, answer; did you mean 'question'\?"
    with pytest.raises(UserError, match=message):
        load(path, columns={"prompt": "qestion"})


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no file .*missing.jsonl"):
        load(tmp_path / "missing.jsonl")
    with pytest.raises(UserError, match=r"there is no file|is no data file"):
        load(tmp_path / "missing")
    with pytest.raises(UserError, match=r"holds no .parquet, .jsonl, .json, .csv file"):
        load(tmp_path)
    (tmp_path / "d.txt").write_text("a,b")
    with pytest.raises(UserError, match=r"d\.txt is no data file; formats are"):
        load(tmp_path / "d.txt")
    (tmp_path / "d.parquet").write_text("not parquet")
    with pytest.raises(UserError, match=r"d\.parquet is not a parquet file"):
        load(tmp_path / "d.parquet")


def test_options_belong_to_synthetic_sources(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"options \(digits\) are parameters of synthetic:, reasoning_gym: and verif"
    ):
        load(jsonl(tmp_path / "d.jsonl", GOOD), options={"digits": 2})


def test_hub_rows_and_hub_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def fake(path: str, config: str | None, *, split: str) -> list[dict[str, str]]:
        asked.append((path, config, split))
        return [{"question": "How many?", "answer": "so\n#### 72"}]

    monkeypatch.setattr(datasets, "load_dataset", fake)
    source = Source(path="openai/gsm8k", config="main")
    assert rows(source, 0)[0]["answer"] == "72"
    assert asked == [("openai/gsm8k", "main", "train")]

    def offline(*_: Any, **__: Any) -> None:
        raise ConnectionError("Couldn't reach the Hub\nmore")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    message = (
        r"cannot load data set 'openai/gsm8k' \(config main.*Couldn't reach the Hub\).*gsm8k.jsonl is found"
    )
    with pytest.raises(UserError, match=message) as caught:
        rows(source, 0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", CONFIGS, ids=[path.stem for path in CONFIGS])
def test_packaged_sources_fit_the_schema(path: Path) -> None:
    source = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Source), OmegaConf.load(path)))
    assert "{prompt}" in source.prompt
    assert ("\\boxed{}" in source.prompt) == (path.stem in ("gsm8k", "math", "deepscaler"))
    others = {
        "reasoning_gym": ["reasoning_gym"],
        "nq": ["em"],
        "hotpotqa": ["em"],
        "countdown": ["countdown"],
        "progression": ["match"],
        **{f"shapes_{kind}": ["match"] for kind in ("count", "colour", "digit", "bigger", "box")},
    }
    none = {"openr1", "two_hop", "two_hop_turns", "guess", "guess_turns", "product_turns", "fork_blind"}
    none |= {"addition_pairs", "marker_pairs", "ultrafeedback", "keyword", "keyword_answers", "keyword_pairs"}
    none |= {"wildchat_if", "wildchat_if_zero", "wildchat_if_zero_control"}
    expected = others.get(path.stem, [] if path.stem in none else ["math"])
    assert source.verifiers == expected
