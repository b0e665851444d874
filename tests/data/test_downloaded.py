"""Data sets as they lie when they have been downloaded: configurations, splits, byte-order marks, damage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from rlvr_cli import compose
from rlvr_cli.core.errors import UserError
from rlvr_cli.data.layouts import EXAMPLES
from rlvr_cli.data.readers import read
from rlvr_cli.data.sources import Report, rows, select
from rlvr_cli.schema import Source

BOM = b"\xef\xbb\xbf"


def put(path: Path, *table: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pa.Table.from_pylist(list(table)), path)


def card(folder: Path, front_matter: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(
        f"---\nlicense: mit\n{front_matter}---\n# A data set\n---\nno: yaml: [\n"
    )


def chat(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "x"}]}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RLVR_DATA", str(tmp_path))
    return tmp_path


OPENR1 = """\
configs:
- config_name: all
  data_files: [{split: train, path: all/train-*}]
- config_name: default
  default: true
  data_files:
  - split: train
    path: data/train-*
- config_name: extended
  data_files:
  - split: train
    path: [extended/train-*]
"""


def test_openr1_is_its_default_configuration(hub: Path) -> None:
    folder = hub / "open-r1" / "OpenR1-Math-220k"
    for part in ("data", "extended", "all"):
        put(folder / part / "train-00000-of-00001.parquet", chat(part))
        put(folder / ".cache" / "huggingface" / part / "train-0.parquet", chat("no"))
    source = compose.load("sft_qwen7b", [], "sft").data["train"]

    def prompts(source: Source) -> list[str]:
        found = select(source, 0, EXAMPLES, Report(name="train"))
        return [message["content"] for row in found for message in row["prompt"]]

    with pytest.raises(UserError, match=r"several folders \(all, data, extended\) and no README.md"):
        prompts(source)
    card(folder, OPENR1)
    assert prompts(source) == ["data"]
    source.config = None
    assert prompts(source) == ["data"]
    source.config = "extended"
    assert prompts(source) == ["extended"]
    source.config = "extend"
    with pytest.raises(UserError, match="has no config 'extend'; did you mean 'extended'"):
        prompts(source)


def bench_source(name: str) -> Source:
    return compose.load_eval(None, [], benches=[name], model="m").benches[name].source


def test_olympiadbench_is_one_of_its_configurations(hub: Path) -> None:
    folder = hub / "Hothan" / "OlympiadBench"
    names = ("OE_TO_maths_en_COMP", "OE_TO_maths_zh_COMP", "TP_TO_physics_en_COMP")
    for name in names:
        put(folder / "OlympiadBench" / name / f"{name}.parquet", {"question": name, "final_answer": ["1"]})
        (folder / ".cache" / "huggingface" / "download" / "OlympiadBench" / name).mkdir(parents=True)
    source = bench_source("olympiadbench")
    source.columns = {}
    assert [row["prompt"] for row in rows(source, 0)] == [names[0]]  # a folder of that name
    parts = "".join(
        f"- config_name: {name}\n  data_files:\n  - split: train\n    path: OlympiadBench/{name}/*\n"
        for name in names
    )
    card(folder, f"configs:\n{parts}")
    assert [row["prompt"] for row in rows(source, 0)] == [names[0]]
    source.config = None
    with pytest.raises(UserError, match=f"has the configs {', '.join(names)}: set config"):
        rows(source, 0)


def test_aime25_is_each_problem_once(hub: Path) -> None:
    folder = hub / "yentinglin" / "aime_2025"
    for part in ("data", "part1", "part2"):
        put(folder / part / "train-00000-of-00001.parquet", {"problem": part, "answer": "1"})
    configs = [
        f"- config_name: {name}\n  data_files:\n  - split: train\n    path: {part}/train-*\n"
        for name, part in (("default", "data"), ("part1", "part1"), ("part2", "part2"))
    ]
    card(folder, "configs:\n" + "".join(configs))
    assert [row["prompt"] for row in rows(bench_source("aime25"), 0)] == ["data"]


def test_livecodebench_as_it_was_published(hub: Path) -> None:
    folder = hub / "livecodebench" / "code_generation_lite"
    folder.mkdir(parents=True)
    for n in ("", *range(2, 7)):
        row = {"question_content": f"q{n}", "contest_date": "2024-09-01T00:00:00", "starter_code": ""}
        row |= {
            "question_id": f"{n}",
            "private_test_cases": "[]",
            "public_test_cases": "[]",
            "metadata": "{}",
        }
        row |= {"difficulty": "easy"}
        (folder / f"test{n}.jsonl").write_text(json.dumps(row) + "\n")
    source = bench_source("livecodebench")
    source.path = "livecodebench/code_generation_lite"
    assert sorted(row["prompt"][:2].strip() for row in rows(source, 0)) == ["q", "q2", "q3", "q4", "q5", "q6"]


@pytest.mark.parametrize(
    ("front_matter", "split", "found"),
    [
        ("configs:\n- config_name: x\n  data_files: a.jsonl\n", "train", ["a"]),
        ("configs:\n- config_name: x\n  data_files: ['a.jsonl', 'sub/*.jsonl']\n", "train", ["a", "c", "d"]),
        ("configs:\n- data_files:\n  - {split: test, path: '**/d.jsonl'}\n", "test", ["d"]),
        ("configs:\n- config_name: x\n  data_dir: sub\n", "train", ["c", "d"]),
        ("configs:\n- config_name: x\n  data_dir: sub\n  data_files: [c.jsonl]\n", "train", ["c"]),
        ("dataset_info: {}\n", "train", "several folders (., sub)"),
        (
            "configs:\n- config_name: x\n  data_files: a.jsonl\n",
            "dev",
            "has no split 'dev'; its splits are train",
        ),
        ("configs:\n- config_name: x\n  data_files: 'e/*'\n", "train", "in e/*, and no .parquet"),
        ("configs:\n- config_name: x\n  data_files: '../b.jsonl'\n", "train", "outside the set (../b.jsonl)"),
        ("configs:\n- config_name: x\n  data_files: '/b.jsonl'\n", "train", "outside the set (/b.jsonl)"),
        (
            "configs:\n- config_name: x\n  data_files: [3]\n",
            "train",
            "data_files of config 'x' lists no paths",
        ),
        ("configs: [\n", "train", "its front matter is no YAML"),
    ],
)
def test_front_matter(tmp_path: Path, front_matter: str, split: str, found: list[str] | str) -> None:
    folder = tmp_path / "set"
    card(folder, front_matter)
    (folder / "sub").mkdir()
    for name in ("a.jsonl", "sub/c.jsonl", "sub/d.jsonl", "../b.jsonl"):
        (folder / name).write_text(json.dumps({"name": Path(name).stem}) + "\n")
    source = Source(path=str(folder), split=split)
    if isinstance(found, list):
        assert [row["name"] for _, row in read(source)] == found
        return
    with pytest.raises(UserError) as caught:
        list(read(source))
    assert found in str(caught.value) and "\n" not in str(caught.value)


def test_folders_called_after_splits_tell_them_apart(tmp_path: Path) -> None:
    for split in ("train", "test"):
        put(tmp_path / split / "0000.parquet", {"name": split})
    assert [row["name"] for _, row in read(Source(path=str(tmp_path)))] == ["train"]
    assert [row["name"] for _, row in read(Source(path=str(tmp_path), split="test"))] == ["test"]
    with pytest.raises(UserError, match="no 'dev' file; its splits are test, train: set split"):
        list(read(Source(path=str(tmp_path), split="dev")))


ROW = {"problem": "1+1?", "answer": "2"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.csv", b"problem,answer\n1+1?,2\n"),
        ("d.jsonl", json.dumps(ROW).encode() + b"\n"),
        ("d.json", json.dumps([ROW]).encode()),
        ("lines.json", json.dumps(ROW).encode() + b"\n"),
    ],
)
def test_a_byte_order_mark_is_no_part_of_the_data(tmp_path: Path, name: str, content: bytes) -> None:
    for start in (b"", BOM):
        (tmp_path / name).write_bytes(start + content)
        [row] = rows(Source(path=str(tmp_path / name)), 0)
        assert (row["prompt"], row["answer"]) == ("1+1?", "2")


def damaged_parquet() -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist([{"problem": f"{n:040}", "answer": "2"} for n in range(2000)])
    pyarrow.parquet.write_table(table, sink, compression="snappy", use_dictionary=False)
    content = bytearray(sink.getvalue().to_pybytes())
    content[40:4000] = b"\xff" * 3960
    return bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("d.csv", b"problem,answer\n1,2\n1,2,3\n", "d.csv row 2 has more fields than the header"),
        ("d.csv", "problem,answer\n1+1?,2\n".encode("utf-16"), "is not readable as CSV in UTF-8"),
        (
            "d.csv",
            b"problem,answer\n" + b"1" * 200_000 + b",2\n",
            "row 1 is not readable as CSV in UTF-8: field",
        ),
        ("d.json", b"[" * 200_000, "d.json is nested too deep, more than 100 levels"),
        (
            "d.jsonl",
            b'{"a": ' * 200_000 + b"1" + b"}" * 200_000,
            "d.jsonl row 1 is nested too deep",
        ),
        ("d.jsonl", b'{"a": ' + b"[" * 700 + b"]" * 700 + b"}", "d.jsonl row 1 is nested too deep"),
        ("d.jsonl", b"\xff\xfe{", "d.jsonl row 1 is not valid JSON"),
        ("d.parquet", damaged_parquet(), "d.parquet"),
    ],
)
def test_damaged_files_are_one_line(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        rows(Source(path=str(tmp_path / name)), 0)
    assert says in str(caught.value) and "\n" not in str(caught.value)
