"""Whole runs of several turns: exact after a stop, the same on two ranks, each token where it was sampled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_helpers import comparable, rlvr, steps_of
from safetensors.numpy import load_file

from rlvr_cli.tracking.records import read_records

pytestmark = pytest.mark.slow

RECIPE = """
defaults:
  - algorithm: grpo
  - model: tiny
  - environment@environments.game: guess
  - verifier@verifiers.won: environment
  - rollout: {engine}
  - trainer: zero0
  - _self_
name: turns
model: {{tiny: {{hidden_size: 64, layers: 2, heads: 2, kv_heads: 1, max_positions: 64}}}}
data: {{train: {{path: numbers.jsonl, environment: game, verifiers: [won], chat: never}}}}
environments:
  game: {{most: 9, max_turns: 4, turn_tokens: 2, too_low: "<", too_high: ">", no_number: "?"}}
batch: {{prompts_per_step: 6, group_size: 6, tokens_per_microbatch: 200}}
rollout: {{max_prompt_tokens: 8, max_tokens: 16}}
trainer: {{steps: 3, lr: 1e-2, precision: fp32}}
checkpoint: {{every: 1, keep: 4}}
eval: {{every: 2, at_start: false}}
tracker: {{wandb: disabled, tokens: true}}
"""
HELD_OUT = "data.train.holdout=0.2"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("turns")
    rows = [{"id": f"n{n}", "prompt": f"{n}?", "answer": f"{n % 10}"} for n in range(60)]
    (made / "numbers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for engine in ("hf", "vllm"):
        (made / f"{engine}.yaml").write_text(RECIPE.format(engine=engine))
    return made


def trained(folder: Path, out: str, *overrides: str, engine: str = "hf") -> Path:
    path = f"data.train.path={folder / 'numbers.jsonl'}"
    done = rlvr("train", str(folder / f"{engine}.yaml"), path, HELD_OUT, f"out={folder / out}", *overrides)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / out


@pytest.fixture(scope="module")
def whole(folder: Path) -> Path:
    return trained(folder, "whole")


def weights(run: Path) -> dict[str, Any]:
    return dict(load_file(run / "final" / "model.safetensors"))


def test_the_trainer_sees_what_the_engine_sampled(whole: Path) -> None:
    """Of every sampled token its logprob in the whole sequence, environment and all; none of the others."""
    rows = [row for row in read_records(whole) if row.get("trainer_logprobs")]
    assert rows
    for row in rows:
        sampled = np.array(row["sampled"])
        assert len(row["trainer_logprobs"]) == sampled.sum() == row["length"]
        ours, theirs = np.array(row["trainer_logprobs"]), np.array(row["logprobs"])[sampled]
        assert np.abs(ours - theirs).max() < 1e-4
        assert not np.array(row["logprobs"])[~sampled].any()
        said = [turn["said"] for turn in row["turns"]]
        assert set(said) <= {"<", ">", "?", ""}
        assert row["ended"] in ("done", "turns")


def test_its_metrics(whole: Path) -> None:
    for row in steps_of(whole):
        assert row["episode/token_violations"] == 0
        assert 1 < row["episode/turns/mean"] <= 4
        assert row["environment/game/reward"] == row["reward/mean"]
        assert row["environment/timeouts"] == row["environment/crashes"] == 0
    results = json.loads((whole / "eval" / "train.json").read_text())
    assert results["summary"]["problems"] > 0


def test_stopped_and_resumed_it_is_the_same_bit_for_bit(folder: Path, whole: Path) -> None:
    cut = trained(folder, "cut", "trainer.steps=1")
    trained(folder, "cut", "trainer.steps=3", "resume=changed")
    assert [comparable(row) for row in steps_of(cut)] == [
        {k: v for k, v in comparable(row).items() if "seconds" not in k} | seconds_of(again)
        for row, again in zip(steps_of(whole), steps_of(cut), strict=True)
    ]
    for name, tensor in weights(whole).items():
        assert np.array_equal(tensor, weights(cut)[name]), name


def seconds_of(row: dict[str, float]) -> dict[str, float]:
    """By the clock, and so never the same."""
    return {k: v for k, v in comparable(row).items() if "seconds" in k}


def test_two_ranks_train_the_same(folder: Path, whole: Path) -> None:
    two = trained(folder, "two", "trainer.ranks=2", "trainer.zero_stage=3")
    for one, other in zip(read_records(whole, 1), sorted(read_records(two, 1), key=place), strict=True):
        assert (one["turns"][0]["text"], one["response_tokens"]) == (
            other["turns"][0]["text"],
            other["response_tokens"],
        )
    mine, theirs = steps_of(whole)[0], steps_of(two)[0]
    for name in ("reward/mean", "episode/turns/mean", "response_length/mean"):
        assert mine[name] == pytest.approx(theirs[name])
    assert mine["actor/grad_norm"] == pytest.approx(theirs["actor/grad_norm"], rel=1e-4)


def place(row: dict[str, Any]) -> tuple[int, int]:
    return row["index"], row["sample"]


def test_vllm_plays_the_same_game(folder: Path) -> None:
    run = trained(folder, "vllm", "trainer.steps=1", "rollout.kv_cache_gb=0.25", engine="vllm")
    [row] = steps_of(run)
    assert row["episode/token_violations"] == 0
    for record in read_records(run):
        sampled = np.array(record["sampled"])
        if record.get("trainer_logprobs"):
            ours = np.array(record["trainer_logprobs"])
            assert np.abs(ours - np.array(record["logprobs"])[sampled]).max() < 1e-4


@pytest.mark.long
def test_turns_of_one_state_are_compared_the_same_on_two_ranks(folder: Path) -> None:
    """States travel to the ranks that have not sampled them; without them it is GRPO."""
    exact = ["algorithm=gigpo", "eval.at_end=false", "eval.every=null", "preflight.enabled=false"]
    alone = steps_of(trained(folder, "gigpo", *exact))
    both = steps_of(trained(folder, "gigpo2", *exact, "trainer.ranks=2", "trainer.zero_stage=2"))
    grpo = steps_of(trained(folder, "grpo", *exact, "algorithm.advantage.omega=0"))
    for got, wanted in zip(both, alone, strict=True):
        for key, value in comparable(wanted).items():
            if "seconds" not in key:
                assert got[key] == pytest.approx(value, abs=1e-4, rel=1e-4), key
    assert alone[0]["reward/mean"] == grpo[0]["reward/mean"]
    assert alone[0]["actor/advantage_std"] > 1.05 * grpo[0]["actor/advantage_std"] > 0
