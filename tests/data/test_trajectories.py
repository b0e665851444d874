"""Several traces of a problem: how often each is seen, and that problems count alike."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rlvr_cli.compose import load
from rlvr_cli.core.errors import UserError
from rlvr_cli.data.sft import Example, ExampleSampler, by_prompt
from rlvr_cli.data.trajectories import traces
from rlvr_cli.engine.tiny import tiny_tokenizer
from rlvr_cli.schema import Source


def sampler(tmp_path: Path, rows: list[tuple[str, str]], most: int, seed: int = 0) -> tuple[Any, str, str]:
    path = tmp_path / "d.jsonl"
    path.write_text("".join(json.dumps({"prompt": p, "completion": c}) + "\n" for p, c in rows))
    found, report = by_prompt("train", Source(path=str(path)), tiny_tokenizer(64), 60, seed)
    items, note = traces(found, most, seed, report)
    return ExampleSampler({"train": items}, {"train": 1.0}, seed=seed), str(report), note


def text(example: Example) -> str:
    return str(tiny_tokenizer(64).decode(example.tokens[:-1]))


ROWS = [("a:", "12345678"[n]) for n in range(8)] + [("b:", "x"), ("c:", "y"), ("c:", "z"), ("c:", "y")]


def test_each_of_four_trajectories_is_seen_eight_times_in_an_exposure_of_32(tmp_path: Path) -> None:
    """RaML's worked number; problems with fewer traces count as often."""
    drawn, report, note = sampler(tmp_path, ROWS, 4)
    seen = Counter(text(example) for _, example in drawn.take(32 * 3))
    of_problem = {p: {t: n for t, n in seen.items() if t.startswith(p)} for p in ("a:", "b:", "c:")}
    assert sorted(of_problem["a:"].values()) == [8] * 4
    assert of_problem["b:"] == {"b:x": 32} and of_problem["c:"] == {"c:y": 16, "c:z": 16}
    assert "7 of 12 rows" in report and "1 repeated traces left out, 4 traces beyond those asked" in report
    assert note == "3 problems, each once an epoch; 2 of them have fewer than 4 traces"


def test_which_traces_are_taken_follows_from_the_seed(tmp_path: Path) -> None:
    chosen = [
        frozenset(text(e) for _, e in sampler(tmp_path, ROWS, 2, seed)[0].take(6) if text(e)[0] == "a")
        for seed in (0, 0, 1, 2)
    ]
    assert chosen[0] == chosen[1] and len(set(chosen)) > 1 and all(len(each) == 2 for each in chosen)


def test_an_epoch_has_each_problem_once_and_resuming_goes_on(tmp_path: Path) -> None:
    drawn, _, _ = sampler(tmp_path, ROWS, 4)
    for _ in range(3):
        assert sorted(text(e)[0] for _, e in drawn.take(3)) == ["a", "b", "c"]
    state, later = drawn.state(), [text(e) for _, e in drawn.take(9)]
    again, _, _ = sampler(tmp_path, ROWS, 4)
    again.load(state)
    assert [text(e) for _, e in again.take(9)] == later
    with pytest.raises(UserError, match="the data changed since the checkpoint"):
        sampler(tmp_path, ROWS, 2)[0].load(state)


def test_one_trace_of_each_problem_is_not_several(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="trajectories is 4, and none of the 2 problems has two different"):
        sampler(tmp_path, [("a:", "1"), ("b:", "2"), ("b:", "2")], 4)
    drawn, _, note = sampler(tmp_path, [("a:", "1"), ("b:", "2")], 1)
    assert len(drawn.take(2)) == 2 and note.endswith("with the next of its 1 traces")


def test_where_trajectories_are_refused() -> None:
    said = {
        ("sft", "tiny_sft", "data.train.trajectories=0"): "must be at least 1",
        ("sft", "tiny_sft", "data.train.trajectories=2 data.train.deduplicate=true"): "set one of them",
        ("sft", "tiny_sft", "eval.source.trajectories=2"): r" eval.source.trajectories chooses traces",
        ("dapo", "tiny_dapo", "data.train.trajectories=2"): r" data.train.trajectories chooses traces",
    }
    for (verb, recipe, words), why in said.items():
        with pytest.raises(UserError, match=why):
            load(recipe, words.split(), verb)
