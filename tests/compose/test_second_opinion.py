"""`diagnosis.second_verifier` where a column routes rows to verifiers: refused, named, and said."""

from __future__ import annotations

from pathlib import Path

import pytest
from own_code import load, refused

from rlvr_cli.diagnosis.history import context_of

RECIPE = """\
defaults:
  - algorithm: grpo
  - model: tiny
  - _self_
name: routes
verifiers: {math: {name: math}, exact: {name: match}, strict: {name: math, extraction: boxed}}
data:
  train: {path: d.jsonl, verifiers_by: {column: k, map: {sums: [math, exact], words: [exact]}}}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "routes.yaml").write_text(RECIPE)
    return tmp_path / "routes.yaml"


@pytest.mark.slow
def test_what_rows_are_routed_to_first_cannot_be_the_second(recipe: Path) -> None:
    assert load(recipe, "diagnosis.second_verifier=strict").diagnosis.second_verifier == "strict"
    for name in ("math", "exact"):
        said = refused(recipe, f"diagnosis.second_verifier={name}")
        assert (
            f"diagnosis.second_verifier is '{name}', which data.train is trained on; name another one" in said
        )
    recipe.write_text(RECIPE.replace(", words: [exact]", ""))
    assert load(recipe, "diagnosis.second_verifier=exact").diagnosis.second_verifier == "exact"


@pytest.mark.slow
def test_findings_name_the_first_verifier_only_where_there_is_one(recipe: Path) -> None:
    assert context_of(load(recipe)).first_verifier == "<name>" and context_of(load(recipe)).extraction is None
    for map, first in (("{a: [strict, exact], b: [strict]}", "strict"), ("{a: [math]}", "math")):
        recipe.write_text(RECIPE.replace("{sums: [math, exact], words: [exact]}", map))
        assert context_of(load(recipe)).first_verifier == first
    assert context_of(load(recipe)).extraction == "boxed"
    recipe.write_text(RECIPE.replace("verifiers_by: {", "verifiers: [exact], weight: 2.0}\n  #"))
    assert context_of(load(recipe)).first_verifier == "exact"


@pytest.mark.slow
def test_a_canary_is_a_bench_of_the_run(recipe: Path) -> None:
    with_bench = ("+bench@eval.benches.song=math500", "diagnosis.canary=song")
    assert load(recipe, *with_bench, "eval.every=5").diagnosis.canary == "song"
    assert "diagnosis.canary is set, but eval.every is null" in refused(recipe, *with_bench)
    assert "diagnosis.canary: 'sing' is not in eval.benches; did you mean 'song'?" in refused(
        recipe, with_bench[0], "diagnosis.canary=sing", "eval.every=5"
    )
    off = refused(recipe, *with_bench, "eval.every=5", "diagnosis.enabled=false")
    assert "diagnosis.canary is set, but diagnosis.enabled is false" in off
