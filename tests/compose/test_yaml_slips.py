"""What slips into YAML by hand: one line with the place and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from own_code import refused

RECIPE = """\
defaults:
  - algorithm: grpo
  - model: tiny
  - data@data.train: addition
  - verifier@verifiers.math: math
  - _self_
name: slip
"""


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (
            "trainer:\n\tlr: 1e-6",
            "line 9: not valid YAML: found character '\\t' that cannot start any token; indent",
        ),
        ("trainer:\n  lr: 1e-6\n\tsteps: 3", "indent with spaces, not with tabs"),
        (
            "data:\n  train:\n    prompt: {prompt} Think first.",
            "line 10: not valid YAML: expected <block end>, but found '<scalar>'; text that begins with {",
        ),
        ("data: {train: {prompt: {prompt} Think.}}", "line 8: not valid YAML: expected ',' or '}'"),
        (
            "data: {train: {prompt: {prompt} Think.}}",
            "text with brackets of its own stands in quotation marks",
        ),
        (
            "trainer: {lr: 1e-6",
            "line 9: not valid YAML: expected ',' or '}', but got '<stream end>'; a bracket is not",
        ),
        (
            "data:\n  train:\n    prompt: Solve: {prompt}",
            "text with a colon and a space stands in quotation marks",
        ),
        ("trainer:\n  lr: 1e-6\n    steps: 3", "indented as its neighbours"),
        ("trainer:\n    lr: 1e-6\n  steps: 3", "the keys of a section are indented alike"),
        ("trainer:\n  lr:1e-6\n  steps: 3", "a key is followed by a colon and a space"),
        ("data:\n  train:\n    path: *.jsonl", "text that begins with * or & stands in quotation marks"),
        ("data:\n  train:\n    path: *mine", "text that begins with * stands in quotation marks"),
        (
            "data:\n  train:\n    path: @mine",
            "found character '@' that cannot start any token; text that begins so",
        ),
        ('data:\n  train:\n    prompt: "{prompt} Think.', "a quotation mark is not closed"),
    ],
)
def test_a_slip_is_one_line_with_its_place(tmp_path: Path, lines: str, says: str) -> None:
    (tmp_path / "slip.yaml").write_text(f"{RECIPE}{lines}\n")
    said = refused(tmp_path / "slip.yaml")
    assert said.startswith("slip.yaml: line ") and says in said


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("data:\n  train:\n    prompt: {prompt}", "data.train.prompt"),
        ("model:\n  path: {mine}", "model.path"),
    ],
)
def test_text_in_braces_is_a_mapping(tmp_path: Path, lines: str, says: str) -> None:
    (tmp_path / "slip.yaml").write_text(f"{RECIPE}{lines}\n")
    said = refused(tmp_path / "slip.yaml")
    assert said.startswith(f"slip.yaml: {says}") and "text in braces stands in quotation marks" in said


def test_a_file_of_a_group_is_named(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("path: x\n\tdtype: y\n")
    (tmp_path / "slip.yaml").write_text(RECIPE.replace("model: tiny", "model: mine"))
    said = refused(tmp_path / "slip.yaml")
    assert said.startswith("mine.yaml: line 2: not valid YAML: ") and "not with tabs" in said
