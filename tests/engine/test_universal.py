"""Checkpoints go on under another number of ranks, ZeRO stage and offload: whole trainers and whole runs."""

import json
from pathlib import Path

import pytest
from run_helpers import RECIPE, comparable, rlvr, run_entries, steps_of
from safetensors.torch import load_file

from rlvr_cli.tracking.records import read_records

pytestmark = pytest.mark.slow

RANKS = (2, 1, 3)


@pytest.fixture(scope="module")
def links(tiny_path, tmp_path_factory) -> list[dict[str, dict[str, float]]]:
    """What universal_entries.py saw on 2 ranks, on 1 that went on from there, and on 3 that did from 1."""
    out = tmp_path_factory.mktemp("universal")
    return [run_entries("universal_entries.py", ranks, tiny_path, out) for ranks in RANKS]


@pytest.mark.parametrize("link", [1, 2])
def test_weights_and_moments_are_equal_bit_by_bit(link, links) -> None:
    assert len(links[link]) == 9
    for name, found in links[link].items():
        assert found["weights"] == 0.0, name
        assert "no update" in name or found["state"] == 0.0, name


@pytest.mark.parametrize("link", [1, 2])
def test_further_updates_do_what_they_did_where_the_checkpoint_was_written(link, links) -> None:
    for name, found in links[link].items():
        if "bf16" not in name:
            assert found["losses"] < 1e-6 and found["after"] < 1e-5, name
        else:  # gradients of other micro-batches round differently in bf16
            assert found["losses"] < 1e-3 and found["after"] < 5e-3, name


def test_offload_may_change_on_the_same_ranks(links) -> None:
    told = {name: found for name, found in links[0].items() if found}
    assert list(told) == ["offload 2", "offload 3 bf16"]
    assert all(set(found.values()) == {0.0} for found in told.values())


@pytest.mark.long
def test_a_run_with_critic_and_reference_moves_between_ranks_and_stages(tmp_path: Path) -> None:
    """2 ranks and ZeRO-2, then 1 and ZeRO-3: as one run on one rank with ZeRO-0."""
    recipe = tmp_path / "exact.yaml"
    recipe.write_text(RECIPE + "stages: {second: {after: 1, reset_reference: true}}\n")
    ppo = ["algorithm=ppo", "algorithm/kl=reward", "algorithm.kl.coef=0.05", "critic.lr=1e-3"]
    whole, moved = tmp_path / "whole", tmp_path / "moved"

    def run(*arguments: str) -> str:
        done = rlvr("train", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    run(str(recipe), *ppo, f"out={whole}", "trainer.steps=3")
    run(str(recipe), *ppo, f"out={moved}", "trainer.steps=2", "trainer.ranks=2", "trainer.zero_stage=2")
    assert (moved / "checkpoints" / "step_2" / "reference.pt").is_file()
    run(str(moved), "trainer.steps=3", "trainer.ranks=1", "trainer.zero_stage=3")

    for got, wanted in zip(steps_of(moved), steps_of(whole), strict=True):
        for name, value in comparable(wanted).items():
            assert got[name] == pytest.approx(value, abs=1e-4, rel=1e-4, nan_ok=True), name
    for folder in ("final", "critic"):
        ours, theirs = (load_file(out / folder / "model.safetensors") for out in (moved, whole))
        assert max(float((ours[name] - theirs[name]).abs().max()) for name in theirs) < 1e-5
    told = [json.loads(line) for line in (moved / "events.jsonl").read_text().splitlines()]
    said = [row["message"] for row in told if "converted" in row["message"]]
    assert len(said) == 1 and "2 ranks" in said[0]
    samples = [(row["step"], row["index"], row["sample"]) for row in read_records(moved)]
    assert len(samples) == len(set(samples)) == 3 * 6 * 4
