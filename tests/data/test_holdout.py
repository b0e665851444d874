"""Held-out prompts: which they are, that none trains, and that they are a bench."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from rlvr_cli import compose
from rlvr_cli.core.errors import UserError
from rlvr_cli.data.holdout import place
from rlvr_cli.data.layouts import PROBLEMS
from rlvr_cli.data.sources import Report, held_out, normalised, select
from rlvr_cli.schema import Recipe, SFTRecipe, Source

ROWS = [{"question": f"How many are {n} and {n + 7}?", "answer": str(2 * n + 7)} for n in range(300)]


def write(path: Path, rows: list[dict[str, str]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def prompts(source: Source, seed: int = 0) -> set[str]:
    return {str(row["prompt"]) for row in select(source, seed, PROBLEMS, Report(name="x"))}


@pytest.mark.parametrize("holdout", [0.1, 0.5, 40.0])
def test_the_sides_share_no_prompt_and_lose_none(holdout: float, tmp_path: Path) -> None:
    source = Source(path=write(tmp_path / "p.jsonl", ROWS), holdout=holdout)
    train, held = prompts(source), prompts(replace(source, held_out=True))
    assert not train & held and train | held == {row["question"] for row in ROWS}
    wanted = holdout * len(ROWS) if holdout < 1 else holdout
    assert len(held) == 40 if holdout >= 1 else abs(len(held) - wanted) < 30
    assert {str(row["prompt"]) for row in normalised(replace(source, held_out=True), 0, PROBLEMS)} == held


@pytest.mark.parametrize("holdout", [0.1, 40.0])
def test_neither_order_nor_seed_moves_a_prompt(holdout: float, tmp_path: Path) -> None:
    shuffled = Random(3).sample(ROWS, len(ROWS))
    source = Source(path=write(tmp_path / "p.jsonl", ROWS), holdout=holdout, held_out=True)
    other = replace(source, path=write(tmp_path / "q.jsonl", shuffled))
    assert prompts(source) == prompts(other) == prompts(source, seed=9)


def test_a_file_that_grows_moves_no_prompt_of_a_share(tmp_path: Path) -> None:
    held = prompts(Source(path=write(tmp_path / "p.jsonl", ROWS[:200]), holdout=0.2, held_out=True))
    assert held == prompts(Source(path=write(tmp_path / "q.jsonl", ROWS), holdout=0.2, held_out=True)) & {
        row["question"] for row in ROWS[:200]
    }


def test_spellings_of_a_prompt_are_on_one_side() -> None:
    assert place("What  is\n2+2?") == place([{"role": "user", "content": "what is 2+2?"}])
    assert place("What is 2+2?") != place("What is 2+3?")


def test_limit_counts_both_sides(tmp_path: Path) -> None:
    source = Source(path=write(tmp_path / "p.jsonl", ROWS), holdout=0.2, limit=100)
    report = Report(name="x")
    kept = list(select(source, 0, PROBLEMS, report))
    assert len(kept) + report.held_out == 100
    assert str(replace(report, kept=len(kept))).startswith(
        f"x: {len(kept)} of 100 rows, 0 tokens, {report.held_out} held out"
    )
    assert len(prompts(replace(source, held_out=True))) == report.held_out
    ten = replace(source, holdout=10.0)
    assert len(prompts(replace(ten, held_out=True))) == 10 and len(prompts(ten)) == 90


def test_what_one_source_holds_out_no_other_trains_on(tmp_path: Path) -> None:
    one = Source(path=write(tmp_path / "p.jsonl", ROWS), holdout=0.2)
    two = Source(path=write(tmp_path / "q.jsonl", ROWS[:150]))
    apart = held_out([one, two], 0, PROBLEMS)
    rest = {str(row["prompt"]) for row in select(two, 0, PROBLEMS, Report(name="q"), apart=apart)}
    assert rest and not rest & prompts(replace(one, held_out=True))
    assert held_out([one], 0, PROBLEMS) == frozenset()  # its own side does that


def test_a_holdout_that_leaves_nothing_is_refused(tmp_path: Path) -> None:
    few = write(tmp_path / "p.jsonl", [row for row in ROWS if place(row["question"]) > 0.5 * 2**64][:8])
    with pytest.raises(UserError, match="holds out none of the 8 rows"):
        prompts(Source(path=few, holdout=0.1, held_out=True))
    with pytest.raises(UserError, match=r"holdout is 8, and .* has 8 different prompts"):
        prompts(Source(path=few, holdout=8.0))
    low = write(tmp_path / "q.jsonl", [row for row in ROWS if place(row["question"]) < 0.5 * 2**64][:8])
    with pytest.raises(UserError, match=r"the 8 rows of .* are all held out"):
        prompts(Source(path=low, holdout=0.5))


RECIPE = """
defaults: [{algorithm: grpo}, {verifier@verifiers.math: math}, {rollout: hf}, _self_]
name: r
model: {path: "builtin:tiny"}
data: {mine: {path: p.jsonl, prompt: "{prompt} Think.", weight: 2, holdout: 0.1}}
rollout: {max_tokens: 50, temperature: 0.7}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "r.yaml"
    path.write_text(RECIPE)
    return str(path)


def test_it_is_a_bench_of_the_sources_name(recipe: str, tmp_path: Path) -> None:
    made = compose.load(recipe, ["eval.benches.mine.k=4"])
    assert isinstance(made, Recipe)
    bench = made.eval.benches["mine"]
    assert (bench.k, bench.max_tokens, bench.temperature, bench.verifier.name) == (4, 50, 0.7, "math")
    assert bench.source == replace(made.data["mine"], held_out=True, weight=1.0, verifiers=[])
    compose.save(made, tmp_path / "run" / "recipe.yaml")
    assert compose.load(str(tmp_path / "run"), []) == made
    later = compose.load(str(tmp_path / "run"), ["data.mine.holdout=0.2"])
    assert isinstance(later, Recipe) and later.eval.benches["mine"].source.holdout == 0.2
    measured = compose.load_eval(None, [], benches=["mine"], model=str(tmp_path / "run"))
    assert measured.benches["mine"] == bench


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["data.mine.holdout=1.5"], "data.mine.holdout is 1.5; it must be a share below 1"),
        (["data.mine.holdout=0"], "data.mine.holdout is 0"),
        (["data.mine.held_out=true"], "data.mine.held_out is for benches"),
        (["+bench@eval.benches.mine=addition"], "eval.benches.mine, which has problems of its own already"),
        (["data.mine.path=synthetic:addition", "data.mine.holdout=9"], "makes other problems for every seed"),
        (["data.mine.layout=gpqa"], "needs rows that are the same for every seed"),
        (["data.mine.holdout=null", "+eval.benches.mine.source.held_out=true"], "required keys are not set"),
    ],
)
def test_a_split_that_would_not_hold_is_refused(overrides: list[str], says: str, recipe: str) -> None:
    with pytest.raises(UserError, match=says):
        compose.load(recipe, overrides)


def test_a_bench_of_held_out_prompts_needs_its_holdout(recipe: str, tmp_path: Path) -> None:
    """Or they would be trained on."""
    compose.save(compose.load(recipe, []), tmp_path / "run" / "recipe.yaml")
    with pytest.raises(UserError, match=r"would be trained on; remove it \(~eval.benches.mine\)"):
        compose.load(str(tmp_path / "run"), ["data.mine.holdout=null"])
    assert compose.load(str(tmp_path / "run"), ["data.mine.holdout=null", "~eval.benches.mine"])


def test_of_sft_it_is_the_eval_source(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        "defaults: [{algorithm: sft}, _self_]\nname: s\nmodel: {path: 'builtin:tiny'}\n"
        "data: {mine: {path: p.jsonl, holdout: 0.1}}\n"
    )
    made = compose.load(str(path), [])
    assert isinstance(made, SFTRecipe) and made.eval.source == replace(made.data["mine"], held_out=True)
    with pytest.raises(UserError, match="sft measures one"):
        compose.load(str(path), ["+data.other={path: q.jsonl, holdout: 0.1}"])


def test_what_one_source_holds_out_trains_in_no_other_that_holds_out_less(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", ROWS)
    first, second = Source(path=path, holdout=60.0), Source(path=path, holdout=0.1)
    held = prompts(replace(first, held_out=True))
    assert prompts(second) & held  # alone it would train on some of them
    apart = held_out([first, second], 0, PROBLEMS)
    train = {str(row["prompt"]) for row in select(second, 0, PROBLEMS, Report(name="x"), apart=apart)}
    assert train and not train & held
