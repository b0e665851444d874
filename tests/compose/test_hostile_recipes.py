"""Recipes of other people: one line for each attack, quickly, and nothing is written."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr_cli.commands.main import main
from rlvr_cli.core.yaml_bounds import MAX_LEVELS, MAX_NODES, check_yaml

TRAIN = """
defaults:
  - algorithm: grpo
  - model: tiny
  - data@data.train: addition
  - verifier@verifiers.math: math
  - rollout: hf
  - trainer: zero0
  - _self_
data: {train: {verifiers: [math]}}
"""
EVAL = """
defaults: [bench@benches.addition: addition, _self_]
model: {path: nowhere}
"""


def bomb(levels: int, wide: int, line: str = "a{0}: &a{0} [{1}]", one: str = "*a{0}") -> str:
    lines = [line.format(0, ",".join(["x"] * wide))]
    lines += [line.format(n, ",".join([one.format(n - 1)] * wide)) for n in range(1, levels)]
    return "\n".join(lines) + "\n"


def interpolations(levels: int, wide: int) -> str:
    lines = ["      a0: xxxxxxxxxx"]
    lines += [f"      a{n}: {f'${{.a{n - 1}}}' * wide}" for n in range(1, levels)]
    return (
        "benches:\n  addition:\n    source:\n      columns:\n"
        + "\n".join("  " + line for line in lines)
        + "\n"
    )


BOMBS = {
    "lists": TRAIN + "name: x\n" + bomb(9, 9),
    "mappings": TRAIN + "name: x\n" + bomb(9, 9, "a{0}: &a{0} {{{1}}}").replace("x,", "").replace("*", "? *"),
    "merge keys": TRAIN + "name: x\na: &a {k: v}\n" + "b: {<<: [" + "*a," * 5000 + "]}\n",
    "digits": TRAIN + "name: " + "1" * 10_000_000 + "\n",
    "fewer digits": TRAIN + "name: " + "1" * 10_000 + "\n",
    "octal digits": TRAIN + "name: 0o" + "7" * 100_000 + "\n",
    "deep flow": TRAIN + "name: " + "[" * 100_000 + "]" * 100_000,
    "deep blocks": TRAIN + "".join(f"{' ' * n}k:\n" for n in range(300)),
    "deep aliases": TRAIN + "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 60)),
    "holds itself": TRAIN + "name: &a [*a]\n",
    "long": TRAIN + "name: x\n" + "# comment\n" * 100_000,
    "many": TRAIN + "name: x\n" + "".join(f"k{n}: 1\n" for n in range(10_000)),
    "long name": TRAIN + f"name: {'n' * 300}\n",
}


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    began = time.process_time()
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.startswith("rlvr: error: ") and told.err.count("\n") == 1
    assert len(told.err) < 1000 and time.process_time() - began < 5
    return told.err


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_one_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(BOMBS[name])
    assert "mine.yaml: " in refused(["train", "mine.yaml", "--dry-run"], capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


def test_entries_of_groups_beside_the_recipe_are_bounded_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("defaults: [sub: deep, _self_]\n")
    (tmp_path / "model" / "sub").mkdir()
    (tmp_path / "model" / "sub" / "deep.yaml").write_text(bomb(9, 9))
    recipe = tmp_path / "r.yaml"
    recipe.write_text(TRAIN.replace("model: tiny", "model: mine") + "name: x\n")
    assert "deep.yaml: more than" in refused(["train", str(recipe), "--dry-run"], capsys)
    recipe.write_text(TRAIN + "name: x\n")
    assert "deep.yaml: more than" in refused(["train", str(recipe), "model=mine", "--dry-run"], capsys)


def test_interpolations_that_double_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(EVAL + "name: x\n" + interpolations(10, 9))
    assert "stand for more than" in refused(["eval", str(recipe), "--dry-run"], capsys)
    nodes = "".join(f"  a{n}: [{','.join([f'${{stages.a{n - 1}}}'] * 9)}]\n" for n in range(1, 10))
    recipe.write_text(TRAIN + "name: x\nstages:\n  a0: [1,1,1]\n" + nodes)
    refused(["train", str(recipe), "--dry-run"], capsys)


NAMES = ["a/b", "..", "", "x y", "x\ny", "\x1b[31mred", "x" * 81, "~", "-x", "a\\b"]


@pytest.mark.parametrize(
    "name", ["../../../x", *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES)]
)
def test_keys_that_become_files_are_names(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "r.yaml"
    for key, body in (
        ("benches", yaml.safe_load(EVAL) | {"benches": {name: yaml_bench()}, "name": "x"}),
        ("eval.benches", yaml.safe_load(TRAIN) | {"eval": {"benches": {name: yaml_bench()}}, "name": "x"}),
        ("verifiers", yaml.safe_load(TRAIN) | {"verifiers": {name: {"name": "math"}}, "name": "x"}),
        ("data", yaml.safe_load(TRAIN) | {"data": {name: {"path": "synthetic:addition"}}, "name": "x"}),
        ("stages", yaml.safe_load(TRAIN) | {"stages": {name: {"after": 1}}, "name": "x"}),
    ):
        recipe.write_text(yaml.safe_dump(body, sort_keys=False))
        said = refused(["eval" if key == "benches" else "train", str(recipe), "--dry-run"], capsys)
        assert f"{key} has the key" in said and "\x1b" not in said, (key, said)
    assert [path.name for path in tmp_path.iterdir()] == ["r.yaml"]


def yaml_bench() -> dict[str, object]:
    return {"source": {"path": "synthetic:addition"}, "verifier": {"name": "math"}, "max_tokens": 8}


def test_a_name_does_not_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(["train", "\x1b]0;owned\x07\x9b31m.yaml"], capsys)
    assert "\\x1b]0;owned\\x07\\x9b31m.yaml" in said and said.rstrip("\n").isprintable()
    said = refused(["verify", str(tmp_path / "\x1b[2J\udce9.jsonl"), "--verifier", "math"], capsys)
    assert "\\x1b[2J" in said and said.rstrip("\n").isprintable()


NODES = st.recursive(
    st.sampled_from(["x", "1", "&b y", "*b", "'q'"]),
    lambda inner: st.lists(inner, max_size=4).map(lambda parts: f"[{', '.join(parts)}]"),
    max_leaves=30,
)


def size(node: object) -> int:
    return 1 + (sum(map(size, node)) if isinstance(node, list) else 0)


@given(st.lists(NODES, max_size=6))
@settings(deadline=None)
def test_what_is_let_through_is_as_small_as_counted(parts: list[str]) -> None:
    """Doubling lists over what hypothesis draws: the bound holds for the tree that YAML makes of it."""
    text = f"- &b [{', '.join(parts)}]\n" + "".join(f"- &c{n} [*b, *b]\n" for n in range(3))
    try:
        check_yaml(text)
    except (ValueError, RecursionError, yaml.YAMLError):
        return
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError:
        return
    assert size(tree) <= MAX_NODES + 1


def test_a_large_recipe_is_none_of_them() -> None:
    check_yaml("".join(f"k{n}: {{a: 1, b: [2, 3]}}\n" for n in range(MAX_NODES // 9)))
    check_yaml("k: " + "[" * (MAX_LEVELS - 2) + "]" * (MAX_LEVELS - 2))
    check_yaml("a: &a [1, 2]\nb: *a\nc: [*a, *a]\nd: {<<: &m {x: 1}, y: 2}\ne: *m\n")
