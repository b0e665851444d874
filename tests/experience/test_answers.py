"""What an editor writes, read: fences, tags, limits, and what cannot be used."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rlvr_cli.experience.answers import (
    Malformed,
    insights,
    merge_operations,
    summary,
    update_operations,
)
from rlvr_cli.experience.operations import Kind, Operation

CRITIQUE, PLAN = (Kind.add, Kind.modify), (Kind.modify, Kind.merge)


def fenced(content: Any) -> str:
    return f"I compare.\n```json\n{json.dumps(content)}\n```\nDone."


def test_operations_of_form_merge() -> None:
    items = [
        {"option": "add", "experience": " When\nit rains,  stay. "},
        {"option": "Modify", "experience": "b", "modified_from": "[G17]"},
    ]
    wanted = [
        Operation(kind=Kind.add, text="When it rains, stay."),
        Operation(kind=Kind.modify, text="b", ids=("G17",)),
    ]
    assert merge_operations(fenced(items), CRITIQUE, None, 32) == wanted
    assert merge_operations(fenced(items), CRITIQUE, 1, 32) == wanted[:1]
    assert merge_operations(json.dumps(items), CRITIQUE, 1, 32) == wanted[:1]  # without a fence
    thought = f"<think>{fenced([])}</think>{fenced(items)}"
    assert merge_operations(thought, CRITIQUE, None, 32) == wanted
    plan = [{"option": "merge", "experience": "m", "merged_from": ["G0", "c2", 4]}]
    with pytest.raises(Malformed, match="'c2' is no id"):
        merge_operations(fenced(plan), PLAN, None, 32)
    plan[0]["merged_from"] = ["G0", "C2", 4]
    assert merge_operations(fenced(plan), PLAN, None, 32)[0].ids == ("G0", "C2", "G4")
    assert merge_operations(fenced([]), PLAN, None, 32) == []


def test_operations_of_form_update() -> None:
    items = [
        {"operation": "ADD", "id": None, "content": "a"},
        {"operation": "update", "id": 5, "content": "x"},
        {"operation": "DELETE", "id": "G1"},
        {"operation": "NONE"},
        {"operation": "ADD", "content": ""},
    ]
    assert update_operations(fenced(items), 32) == [
        Operation(kind=Kind.add, text="a"),
        Operation(kind=Kind.update, text="x", ids=("G5",)),
        Operation(kind=Kind.delete, ids=("G1",)),
        Operation(kind=Kind.none),
        Operation(kind=Kind.add),  # applied, it is skipped
    ]


def test_insights_are_the_numbered_lines_of_the_last_tag() -> None:
    text = "<Experiences>1. no</Experiences> then\n<experiences>\n1. When a, b.\n 2) c\n- d\n</experiences>"
    assert insights(text, 2, 32) == ["When a, b.", "c"]
    assert insights(text, 9, 32) == ["When a, b.", "c", "d"]
    assert insights("<Experiences>\n</Experiences>", 1, 32) == []


def test_an_experience_has_so_many_words_and_no_more() -> None:
    long = " ".join(["word"] * 33)
    assert merge_operations(fenced([{"option": "add", "experience": long[:-5]}]), CRITIQUE, 1, 32)
    for read in (
        lambda: merge_operations(fenced([{"option": "add", "experience": long}]), CRITIQUE, 1, 32),
        lambda: update_operations(fenced([{"operation": "ADD", "content": long}]), 32),
        lambda: insights(f"<Experiences>\n1. {long}\n</Experiences>", 1, 32),
    ):
        with pytest.raises(Malformed, match="has 33 words; it may have 32"):
            read()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("", "no JSON list"),
        ("```json\n{oops\n```", "no JSON list"),
        ("[" * 100_000, "no JSON list"),
        (fenced({"option": "add"}), "no list of objects"),
        (fenced(["add"]), "no list of objects"),
        (fenced([{"option": "delete", "experience": "x"}]), "it must be one of add, modify"),
        (fenced([{"option": 7}]), "it must be one of"),
        (fenced([{"option": "add"}]), "has no 'experience'"),
        (fenced([{"option": "add", "experience": 3}]), "is no text"),
        (fenced([{"option": "add", "experience": "  "}]), "is no text"),
        (fenced([{"option": "modify", "experience": "x"}]), "has no 'modified_from'"),
        (fenced([{"option": "modify", "experience": "x", "modified_from": True}]), "is no id"),
        (fenced([{"option": "modify", "experience": "x", "modified_from": None}]), "is no id"),
    ],
)
def test_what_cannot_be_used_is_said(answer: str, says: str) -> None:
    with pytest.raises(Malformed, match=says):
        merge_operations(answer, CRITIQUE, 1, 32)


def test_a_modify_names_one_experience() -> None:
    two = [{"option": "modify", "experience": "x", "modified_from": []}]
    with pytest.raises(Malformed, match="names no experience"):
        merge_operations(fenced(two), CRITIQUE, 1, 32)
    with pytest.raises(Malformed, match="is no id"):
        update_operations(fenced([{"operation": "DELETE"}]), 32)


def test_a_summary_is_what_comes_after_thinking() -> None:
    assert summary("<think>so</think>\n 1. It added.") == "1. It added."
    for empty in ("", "<think>so</think>\n"):
        with pytest.raises(Malformed, match="empty"):
            summary(empty)
    with pytest.raises(Malformed, match="no <Experiences>"):
        insights("nothing", 1, 32)
    with pytest.raises(Malformed, match="not numbered"):
        insights("<Experiences>\nWhen a, b.\n</Experiences>", 1, 32)
