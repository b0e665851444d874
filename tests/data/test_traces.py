"""Recorded samples as traces: which ids, which outcome, and who is left out."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest

from rlvr_cli.core.errors import UserError
from rlvr_cli.data.progression import first_error, progression
from rlvr_cli.data.sources import Report
from rlvr_cli.data.traces import TraceSampler, balanced, traces
from rlvr_cli.engine.tiny import tiny_tokenizer
from rlvr_cli.schema import Source

TOKENIZER = tiny_tokenizer(64)


def sample(prompt: str, response: str, correct: bool | None, **more: Any) -> dict[str, Any]:
    length = len(response) + 1
    return {
        "problem": prompt,
        "prompt": prompt,
        "response": response,
        "correct": correct,
        "length": length,
    } | more


def written(folder: Path, rows: list[dict[str, Any]]) -> Source:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Source(path=str(path))


def test_a_row_is_the_ids_it_was_sampled_as(tmp_path: Path) -> None:
    rows = [sample("1+1=", "2", True), sample("1+1=", "345", False, finished=False, length=3)]
    found, report = traces("t", written(tmp_path, rows), TOKENIZER, 64, 0)
    ids = TOKENIZER("1+1=2")["input_ids"]
    assert found[0].tokens.tolist() == [*ids, TOKENIZER.eos_token_id] and found[0].start == 4
    assert found[0].length == 2 and found[0].right and not found[1].right
    assert found[1].length == 3, "it was cut off: no EOS"
    assert report.kept == 2


def test_recorded_ids_are_taken_as_they_are(tmp_path: Path) -> None:
    rows = [sample("1+1=", "2", True, prompt_tokens=[9, 8], response_tokens=[7, 6, 5])]
    [found], _ = traces("t", written(tmp_path, rows), TOKENIZER, 64, 0)
    assert found.tokens.tolist() == [9, 8, 7, 6, 5] and found.start == 2


def test_a_number_of_prompt_tokens_is_no_list_of_them(tmp_path: Path) -> None:
    counted = sample("1+1=", "2", True, prompt_tokens=4, response_tokens=2)
    [trace], _ = traces("train", written(tmp_path, [counted]), TOKENIZER, 64, 0)
    assert trace.tokens.tolist() == [*TOKENIZER.encode("1+1=2"), TOKENIZER.eos_token_id]


def test_the_samples_of_an_evaluation_are_read_too(tmp_path: Path) -> None:
    row = {"bench": "b", "id": "p", "sample": 0, "prompt": "1=", "response": "1", "correct": True}
    [found], _ = traces("t", written(tmp_path, [row | {"tokens": 2, "truncated": False}]), TOKENIZER, 64, 0)
    assert found.length == 2
    [cut], _ = traces("t", written(tmp_path, [row | {"tokens": 1, "truncated": True}]), TOKENIZER, 64, 0)
    assert cut.length == 1


def test_who_is_left_out_is_counted(tmp_path: Path) -> None:
    rows = [
        sample("1=", "1", True),
        sample("1=", "1", None),
        sample("1=", "12", False, length=9),
        sample("1=", "1" * 80, False),
        sample("1=", "1", True, turns=[]),
    ]
    found, report = traces("t", written(tmp_path, rows), TOKENIZER, 64, 0)
    assert len(found) == 1 and report.too_long == 1 and sum(report.others.values()) == 3
    with pytest.raises(UserError, match="no sample of"):
        traces("t", written(tmp_path, rows[1:2]), TOKENIZER, 64, 0)
    with pytest.raises(UserError, match="no recorded sample: it has no response and no correct"):
        traces("t", written(tmp_path, [{"prompt": "1="}]), TOKENIZER, 64, 0)
    with pytest.raises(UserError, match="must be true, false or null"):
        traces("t", written(tmp_path, [sample("1=", "1", True) | {"correct": "yes"}]), TOKENIZER, 64, 0)


def test_right_and_wrong_ones_of_a_prompt_come_in_equal_number(tmp_path: Path) -> None:
    rows = [sample("a", str(n), n < 3) for n in range(5)] + [sample("b", "1", True)]
    found, report = traces("t", written(tmp_path, rows), TOKENIZER, 64, 0)
    pairs = balanced(found, report, 0)
    assert len(pairs) == 2 and all(p.right.right and not p.wrong.right for p in pairs)
    assert all(p.right.prompt == p.wrong.prompt == "a" for p in pairs)
    assert report.kept == 4 and "2 without a partner" in str(report)
    assert {len(p.right.tokens) for p in balanced(found, report, 1)} == {3}
    with pytest.raises(UserError, match="both a right and a wrong sample"):
        balanced([t for t in found if t.right], Report(name="t"), 0)


def test_the_order_is_a_function_of_seed_and_position(tmp_path: Path) -> None:
    rows = [sample("a", str(n), n % 2 == 0) for n in range(8)]
    found, report = traces("t", written(tmp_path, rows), TOKENIZER, 64, 0)
    pairs = balanced(found, report, 0)
    sampler, again = (TraceSampler({"t": pairs}, {"t": 1.0}, seed=3) for _ in range(2))
    sampler.take(3)
    again.load(sampler.state())
    assert [i for i, _ in sampler.take(4)] == [i for i, _ in again.take(4)]


def test_errors_of_a_progression_are_planted_carried_on_and_found() -> None:
    for seed in range(50):
        prompt, answer, solution = progression(Random(seed), 8, 0)
        assert first_error(prompt, solution) is None and solution.endswith(f"\\boxed{{{answer}}}")
        digits = prompt[3:5] + solution[:8]
        assert len({(int(b) - int(a)) % 10 for a, b in pairwise(digits)}) == 1, "the difference stays"
    prompt, answer, wrong = progression(Random(1), 5, 100)
    assert first_error(prompt, wrong) == 1 and not wrong.endswith(f"{{{answer}}}")
    assert first_error("kfz13=", "5791 \\boxed{91}") is None and first_error("kfz13=", "5680 x") == 2
