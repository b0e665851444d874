"""A library as a file, and before problems: plain text, chat, worked examples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlvr_cli.core.errors import UserError
from rlvr_cli.data.experiences import Experience, Library, read_library, write_library
from rlvr_cli.data.prompts import as_messages
from rlvr_cli.schema import Source

WORDING = "Read:\n{experiences}\nSolve:\n{problem}"


def library(*texts: str) -> Library:
    found = {f"G{n}": Experience(text=text, problems=("s:1",), step=2) for n, text in enumerate(texts)}
    return Library(experiences=found, wording=WORDING, made={"form": "merge"}, history=[{"step": 2}])


def test_texts_stand_before_the_problem_and_nothing_does_without_any() -> None:
    assert library().around("1+1=") == "1+1="
    whole = library("carry", "check {problem}").around("what is {experiences}?")
    assert whole == "Read:\n[G0]. carry\n[G1]. check {problem}\nSolve:\nwhat is {experiences}?"


def test_the_file_gives_back_what_was_written(tmp_path: Path) -> None:
    made = library("carry", "überlege ∑")
    write_library(tmp_path / "experiences.json", made)
    assert read_library(tmp_path / "experiences.json") == read_library(tmp_path) == made
    assert "überlege ∑" in (tmp_path / "experiences.json").read_text()
    before = (tmp_path / "experiences.json").read_bytes()
    write_library(tmp_path / "experiences.json", read_library(tmp_path))
    assert (tmp_path / "experiences.json").read_bytes() == before


def test_a_library_is_known_by_what_is_read_of_it() -> None:
    one, other = library("a"), library("a")
    other.history, other.made = [], {}
    assert one.sha256 == other.sha256 and one.sha256 != library("b").sha256
    other.wording += "!"
    assert one.sha256 != other.sha256


def test_the_last_user_message_has_the_library_and_worked_examples_do_not() -> None:
    source = Source(path="x", prompt="Q: {prompt}", system="S")
    row: dict[str, Any] = {"prompt": "1+1=", "shots": [("2+2=", "4")]}
    assert as_messages(row, source, library("carry")) == [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "Q: 2+2="},
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": "Read:\n[G0]. carry\nSolve:\nQ: 1+1="},
    ]
    assert as_messages(row, source, library()) == as_messages(row, source)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read"),
        ("{", "not JSON"),
        ("[]", "is no library"),
        ('{"library": 2}', "is no library"),
        ('{"library": 1}', "is no whole library"),
        ({"experiences": [{"id": "G0"}]}, "is no whole library"),
        ({"experiences": [{"id": "G0", "text": " "}]}, "is no whole library"),
        ({"wording": "{problem}"}, "lacks {experiences}"),
        ({"wording": "{experiences}"}, "lacks {problem}"),
    ],
)
def test_what_is_no_library_is_said(content: Any, says: str, tmp_path: Path) -> None:
    path = tmp_path / "experiences.json"
    if isinstance(content, dict):
        content = json.dumps({"library": 1, "experiences": [], "wording": WORDING} | content)
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError) as caught:
        read_library(path)
    assert says in str(caught.value) and str(path) in str(caught.value)
