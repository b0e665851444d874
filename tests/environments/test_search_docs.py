"""What docs/environments/search.md shows works."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from doc_tables import section, tables
from places import ROOT

from rlvr_cli import compose
from rlvr_cli.compose.evaluation import load_eval
from rlvr_cli.environments import find
from rlvr_cli.environments.retrieval import Retrieval
from rlvr_cli.schema import EvalRecipe, Recipe

PAGE = (ROOT / "docs" / "environments" / "search.md").read_text()


def block(first: str) -> str:
    [found] = [text for text in re.findall(r"```\w+\n(.*?)```", PAGE, re.DOTALL) if text.startswith(first)]
    return str(found)


def test_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "my_search.yaml").write_text(block("# A policy that"))
    recipe = compose.load(str(tmp_path / "my_search.yaml"), [])
    assert isinstance(recipe, Recipe)
    assert recipe.environments["search"].retrieval.corpus == "documents.jsonl"


def test_the_evaluation(tmp_path: Path) -> None:
    text = block("# search_bench.yaml")
    (tmp_path / "search_bench.yaml").write_text(text)
    recipe = load_eval(str(tmp_path / "search_bench.yaml"), [], model="m")
    assert isinstance(recipe, EvalRecipe) and recipe.benches["nq"].environment.name == "search_r1"
    other = text.replace(
        "  - _self_\n", "  - override /verifier@benches.nq.verifier: gen_acc\n  - _self_\n", 1
    )
    (tmp_path / "search_bench.yaml").write_text(other)
    recipe = load_eval(str(tmp_path / "search_bench.yaml"), [], model="m")
    assert recipe.benches["nq"].verifier.name == "gen_acc"


def test_the_episode() -> None:
    exec(block("from rlvr_cli.environments.environment"), {})


@pytest.mark.parametrize("name", ["search_r1", "s3"])
def test_the_tables_of_keys(name: str) -> None:
    """Every key of its own with its default."""
    [table] = tables(section(PAGE, f"`{name}`"))
    said: dict[str, Any] = {}
    for row in table:
        keys = row["key"].replace("`", "").split(", ")
        given = yaml.safe_load(f"[{row['default']}]")
        said |= dict(zip(keys, given or [None] * len(keys), strict=True))
    cls = find(name)
    own = {f.name: f.default for f in fields(cls) if f.name in vars(cls) or f.name in cls.__annotations__}
    for key in ("name", "step_s", "start_s", "retrieval"):
        own.pop(key, None)
    assert set(said) == set(own)
    for key, value in said.items():
        if isinstance(value, int):
            assert own[key] == value, key


def test_the_table_of_retrieval() -> None:
    [table] = tables(section(PAGE, "Documents"))
    said: dict[str, Any] = {}
    for row in table:
        keys = row["key"].replace("`", "").split(", ")
        said |= dict(zip(keys, yaml.safe_load(f"[{row['default']}]"), strict=True))
    assert is_dataclass(Retrieval) and said == {f.name: f.default for f in fields(Retrieval)}
