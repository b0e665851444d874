"""`benchmarks/accounts.py` notices what is lost or doubled, and tokens of other weights than they say."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from places import ROOT

sys.path.append(str(ROOT / "benchmarks"))

from accounts import account, other_prompts

Rows = list[dict[str, Any]]


def sample(step: int, index: int, number: int) -> dict[str, Any]:
    """Three tokens, the first a step older than the others where it can; old logprobs of what trains."""
    versions = [max(0, step - 2), step - 1, step - 1]
    of = {"step": step, "index": index, "sample": number, "problem": f"p{index}"} | {"kept": index != 1}
    told = {"length": 3, "versions": versions, "logprobs": [-1.0, -2.0, -3.0]}
    trained = {"old_logprobs": [-1.0 if step == 1 else -1.5, -2.0, -3.0]}
    return of | told | (trained if index != 1 else {})


def lay(out: Path, records: Rows, metrics: Rows, flying: list[int]) -> None:
    """A run of 2 steps of 2 prompts with 2 samples each, of which prompt 1 was rejected; 4 was dropped."""
    (out / "rollouts").mkdir(parents=True)
    (out / "checkpoints" / "step_2").mkdir(parents=True)
    keys = "{batch: {group_size: 2}, trainer: {steps: 2}, rollout: {max_staleness: 1}}"
    (out / "recipe.yaml").write_text(keys)
    for step in (1, 2):
        lines = [json.dumps(row) + "\n" for row in records if row["step"] == step]
        (out / "rollouts" / f"step_{step:06d}.rank0.jsonl").write_text("".join(lines))
    (out / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in metrics))
    (out / "events.jsonl").write_text(json.dumps({"step": 2, "kind": "dropped", "indices": [4]}) + "\n")
    torch.save([{"index": index} for index in flying], out / "checkpoints" / "step_2" / "flights_rank0.pt")


def records() -> Rows:
    return [sample(1 + index // 2, index, number) for index in range(4) for number in range(2)]


def metrics() -> Rows:
    steps = [{"step": 1, "group/trained": 1.0, "perf/total_response_tokens": 12.0}]
    return [*steps, {"step": 2, "group/trained": 2.0, "perf/total_response_tokens": 24.0}]


def test_a_run_that_has_everything_is_told_in_numbers(tmp_path: Path) -> None:
    lay(tmp_path, records(), metrics(), [5, 6])
    found = account(tmp_path)
    assert found.faults == []
    assert (found.prompts, found.in_flight, found.dropped, found.tokens) == (4, 2, 1, 24)
    assert (found.older, found.continued, found.age, found.compared, found.gap) == (4, 4, 1, 14, 0.0)


FAULTS: dict[str, tuple[Callable[[Rows, Rows, list[int]], object], str]] = {
    "lost": (lambda rows, steps, flying: flying.remove(5), "prompts lost: [5]"),
    "recorded and in flight": (lambda rows, steps, flying: flying.append(3), "prompts there twice: [3]"),
    "dropped and in flight": (lambda rows, steps, flying: flying.append(4), "prompts there twice: [4]"),
    "trained twice": (
        lambda rows, steps, flying: rows.extend(sample(2, 0, number) for number in range(2)),
        "prompts there twice: [0]",
    ),
    "a sample is missing": (lambda rows, steps, flying: rows.pop(), "or with too many: [3]"),
    "a sample is there twice": (lambda rows, steps, flying: rows.append(rows[-1]), "or with too many: [3]"),
    "a step twice": (lambda rows, steps, flying: steps.append(steps[-1]), "not each step once"),
    "a step is missing": (lambda rows, steps, flying: steps.pop(), "not each step once"),
    "other groups": (lambda rows, steps, flying: rows[0].update(kept=False), "step 1 trained 1 groups"),
    "other tokens": (lambda rows, steps, flying: rows[0].update(length=4), "step 1 counts other tokens"),
    "too old": (lambda rows, steps, flying: rows[-1].update(versions=[-1, 1, 1]), "at an age of 2"),
    "of the future": (lambda rows, steps, flying: rows[-1].update(versions=[0, 1, 2]), "are in no order"),
    "of other weights": (
        lambda rows, steps, flying: rows[-1].update(logprobs=[-1.0, -2.0, -3.1]),
        "step 2, prompt 3, sample 1: a token is off by 1.0e-01 nats",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named(fault: str, tmp_path: Path) -> None:
    rows, steps, flying = records(), metrics(), [5, 6]
    plant, said = FAULTS[fault]
    plant(rows, steps, flying)
    lay(tmp_path, rows, steps, flying)
    assert any(said in found for found in account(tmp_path).faults), account(tmp_path).faults


def test_another_problem_than_in_the_undisturbed_run_is_named(tmp_path: Path) -> None:
    other = records()
    other[-1]["problem"] = other[-2]["problem"] = "p9"
    lay(tmp_path / "whole", records(), metrics(), [5])
    lay(tmp_path / "killed", other, metrics(), [5])
    assert other_prompts(tmp_path / "whole", tmp_path / "whole") == []
    assert other_prompts(tmp_path / "whole", tmp_path / "killed") == [
        "other problems than in the undisturbed run: [3]"
    ]
