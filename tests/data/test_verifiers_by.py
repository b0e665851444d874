"""A column of the row says who verifies."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlvr_cli import compose
from rlvr_cli.core.errors import UserError
from rlvr_cli.data.prompts import routed
from rlvr_cli.schema import Source, VerifiersBy

BY = VerifiersBy(column="info.kind", map={"sum": ["math"], "aime*": ["line", "format"]})


def row(kind: str) -> dict[str, object]:
    return {"id": "7", "extra": {"info": {"kind": kind}}}


def test_the_first_entry_that_fits_counts() -> None:
    source = Source(path="d.jsonl", verifiers_by=BY)
    assert routed(row("sum"), source) == ["math"]
    assert routed(row("aime2024"), source) == ["line", "format"]


def test_a_value_without_an_entry_is_refused_with_its_row() -> None:
    source = Source(path="d.jsonl", verifiers_by=BY)
    with pytest.raises(
        UserError, match=r"'d.jsonl' row 7: info.kind is 'sums', for which .* did you mean 'sum'\?"
    ):
        routed(row("sums"), source)
    with pytest.raises(UserError, match=r"has no column 'info\.kind'"):
        routed({"id": "8", "extra": {}}, source)


BODY = """\
defaults:
  - algorithm: grpo
  - model: tiny
  - _self_
name: routes
verifiers: {math: {name: math}, f: {name: format, gate: true}}
data:
  train: {path: d.jsonl, %s}
"""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("verifiers_by: {column: k, map: {a: [math]}}", ""),
        ("verifiers_by: {column: k}", "data.train.verifiers_by.map is not set"),
        ("verifiers_by: {map: {a: [math]}}", "data.train.verifiers_by.column is not set"),
        (
            "verifiers_by: {column: k, map: {a: [maths]}}",
            "'maths' of 'a' is not in verifiers; did you mean 'math'?",
        ),
        ("verifiers_by: {column: k, map: {a: [f]}}", "'a' has no verifier that scores"),
        ("verifiers: [math], verifiers_by: {column: k, map: {a: [math]}}", "both say who verifies"),
    ],
)
def test_what_the_recipe_may_say(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(BODY % text)
    if not says:
        made = compose.load(str(path), [])
        assert made.data["train"].verifiers_by.map == {"a": ["math"]}
        return
    with pytest.raises(UserError) as caught:
        compose.load(str(path), [])
    assert says in str(caught.value)
