"""Runs on images that come again, of several a prompt, under ZeRO, in adapters and in bf16."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from run_helpers import comparable, rlvr, rollout_server, steps_of
from safetensors.torch import load_file

from rlvr_cli.core import tensor_files
from rlvr_cli.tracking import read_records

pytestmark = pytest.mark.slow

SMALL = """
defaults:
  - algorithm: grpo
  - data@data.box: shapes_box
  - verifier@verifiers.chance: random
  - rollout: hf
  - trainer: zero0
  - _self_
name: seen
plugins: [constant.py]
verifiers:
  constant: { name: constant, boxes: seen, form: numbers, count: dynamic }
data:
  box: { options: { size: 2 }, verifiers: [chance, constant] }
  pairs: { path: pairs.jsonl, verifiers: [chance] }
batch: { prompts_per_step: 4, group_size: 4, tokens_per_microbatch: 300 }
rollout: { max_prompt_tokens: 48, max_tokens: 6, kv_cache_gb: 0.1 }
trainer: { steps: 4, lr: 1e-3, precision: fp32 }
checkpoint: { every: 2, keep: 9 }
algorithm: { kl: { coef: 0.05 }, reference: {} }
tracker: { wandb: disabled }
"""
CONSTANT = '''
from dataclasses import dataclass

from rlvr_cli.verifiers.iou import Iou


@dataclass(kw_only=True)
class Constant(Iou):
    """One box whatever was answered: of a random model no answer is one."""

    name: str = "constant"

    def verify(self, response, answer, extra):
        return super().verify("<answer>14 07 35 28</answer>", answer, extra)

    inline = verify
'''


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, tiny_vision_path: Path) -> str:
    """Two images of boxes and two rows of two images, one the same in both: all come every step."""
    folder = tmp_path_factory.mktemp("seen")
    red, blue, green = (
        f"scene:240,{n};square,{name},7,7,28,28" for n, name in enumerate(("red", "blue", "green"))
    )
    rows = [
        {"problem": "<image> and <image>?", "images": pair, "answer": "no"}
        for pair in ([red, blue], [green, red])
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "constant.py").write_text(CONSTANT)
    file = folder / "seen.yaml"
    text = SMALL.replace("pairs.jsonl", str(folder / "pairs.jsonl"))
    file.write_text(
        text.replace("constant.py", str(folder / "constant.py"), 1)
        + f"model: {{ path: {tiny_vision_path} }}\n"
    )
    return str(file)


VLLM = (
    "rollout=vllm", "rollout.kv_cache_gb=0.1", "rollout.max_tokens=6", "rollout.max_prompt_tokens=48",
    "model.vision=train",
)  # fmt: skip


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def ran(recipe: str, out: Path, *more: str) -> list[dict[str, float]]:
    done = rlvr("grpo", recipe, f"out={out}", *more)
    assert done.returncode == 0, done.stdout + done.stderr
    return steps_of(out)


def moved(start: Path, out: Path) -> tuple[set[str], set[str]]:
    """Names of the weights that a run has changed, and of those it has left exactly as they were."""
    before, after = weights(start), weights(out / "final")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name].to(after[name].dtype), after[name])}
    return changed, set(before) - changed


def of_tower(names: set[str]) -> set[str]:
    return {name for name in names if "visual" in name}


def test_images_come_again_under_a_moving_tower_and_a_run_that_was_cut_ends_as_one_that_was_not(
    tmp_path: Path, recipe: str, tiny_vision_path: Path
) -> None:
    """vLLM; the threshold of a reward goes by the run's progress, which is counted on after the cut."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    rows = ran(recipe, whole, *VLLM)
    assert all(row["mismatch/mean_abs"] < 1e-5 for row in rows)
    thresholds = [row["reward/constant/threshold"] for row in rows]
    assert thresholds == pytest.approx([0.95, 0.99, 0.99, 0.99])
    changed, same = moved(tiny_vision_path, whole)
    assert of_tower(changed) and not same
    shutil.copytree(whole, cut)
    shutil.rmtree(cut / "final")
    os.truncate(cut / "checkpoints" / "step_4" / "rng_rank0.pt", 100)
    assert [comparable(row) for row in ran(recipe, cut, *VLLM)] == [comparable(row) for row in rows]
    ours, theirs = weights(cut / "final"), weights(whole / "final")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


AHEAD = (
    "rollout=vllm", "rollout.kv_cache_gb=0.1", "rollout.max_prompt_tokens=48", "rollout.max_tokens=24",
    "rollout.stop=[a,b,c,d,e,f,g,h,i,j]", "rollout.max_staleness=2", "algorithm/mismatch=truncate",
    "model.vision=train", "trainer.steps=4", "checkpoint.every=1", "tracker.tokens=true",
)  # fmt: skip


def in_flight(out: Path, step: int) -> list[dict[str, Any]]:
    files = sorted((out / "checkpoints" / f"step_{step}").glob("flights_rank*.pt"))
    return [row for file in files for row in tensor_files.read(file)]


def each_token_is_of_its_weights(out: Path, *, beside: bool = False) -> None:
    """Tokens of the weights that train have the trainer's logprobs, also in samples that older ones began.
    `beside`: how many of these there are is the clock's to say."""
    now, older, continued = [], [], 0
    for row in read_records(out):
        apart = np.abs(np.array(row["logprobs"]) - row["trainer_logprobs"])
        current = np.array(row["versions"]) == row["step"] - 1
        now, older = now + apart[current].tolist(), older + apart[~current].tolist()
        continued += 0 < current.sum() < len(current)
    assert np.mean(now) < 1e-5 and np.mean(older) > 1e-4 and (continued or beside)


def test_samples_in_flight_keep_their_images_and_a_run_that_was_cut_ends_as_one_that_was_not(
    tmp_path: Path, recipe: str
) -> None:
    """A moving tower, and a reward by progress: what was finished before the cut keeps its verdicts."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    ran(recipe, whole, *AHEAD)
    each_token_is_of_its_weights(whole)
    shutil.copytree(whole, cut)
    shutil.rmtree(cut / "final")
    for step in (3, 4):
        shutil.rmtree(cut / "checkpoints" / f"step_{step}")
    flying = in_flight(cut, 2)
    assert any(partial for row in flying for _, _, partial in row["samples"])
    assert {len(row["images"]) for row in flying} == {1, 2}
    rows, again = steps_of(whole), ran(recipe, cut, *AHEAD)
    assert [comparable(row) for row in again] == [comparable(row) for row in rows]
    ours, theirs = weights(cut / "final"), weights(whole / "final")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    trained = Counter(row["index"] for row in read_records(cut) if row["sample"] == 0)
    left = [row["index"] for row in in_flight(cut, 4)]
    assert len(trained) == 16 and trained + Counter(left) == Counter(range(16 + len(left)))


@pytest.mark.long
@pytest.mark.parametrize(
    ("vision", "on_update"), [("train", "recompute"), ("train", "keep"), ("frozen", "keep")]
)
def test_images_are_sampled_beside_the_trainer(
    tmp_path: Path, recipe: str, vision: str, on_update: str
) -> None:
    given = ["rollout.overlap=beside", f"rollout.on_update={on_update}", f"model.vision={vision}"]
    rows = ran(recipe, tmp_path / "beside", *AHEAD, *given, "rollout.sleep=false", "trainer.steps=6")
    assert len(rows) == 6 and max(row["staleness/max"] for row in rows) in (1, 2)
    trained = Counter(row["index"] for row in read_records(tmp_path / "beside") if row["sample"] == 0)
    left = [row["index"] for row in in_flight(tmp_path / "beside", 6)]
    assert len(trained) == 24 and trained + Counter(left) == Counter(range(24 + len(left)))
    if on_update == "recompute":
        each_token_is_of_its_weights(tmp_path / "beside", beside=True)


def test_adapters_are_of_the_text_alone_and_what_is_exported_is_an_ordinary_model(
    tmp_path: Path, recipe: str, tiny_vision_path: Path
) -> None:
    """A rise of the rank is seen in the second step, by an engine that was sent the merged weights."""
    from transformers import AutoModelForImageTextToText

    rows = ran(recipe, tmp_path / "lora", "model.lora={rank: 4}", "trainer.steps=2", "trainer.lr=1e-2")
    assert all(row["mismatch/mean_abs"] < 1e-5 for row in rows)
    changed, same = moved(tiny_vision_path, tmp_path / "lora")
    assert not of_tower(changed) and of_tower(same)
    assert {name for name in changed if "self_attn" in name} and {name for name in changed if "mlp" in name}
    _, report = AutoModelForImageTextToText.from_pretrained(
        tmp_path / "lora" / "final", output_loading_info=True
    )
    assert not report["missing_keys"] and not report["unexpected_keys"]


@pytest.mark.long
def test_a_run_samples_from_servers(tmp_path: Path, recipe: str) -> None:
    """With a moving tower; and what is sampled beside the trainer keeps its images over the weights."""
    where = ("rollout.placement=servers", "rollout.servers.threads=1")
    rows = ran(recipe, tmp_path / "servers", *VLLM, *where, "trainer.steps=3")
    assert all(row["mismatch/mean_abs"] < 1e-5 for row in rows)
    ran(recipe, tmp_path / "beside", *AHEAD, *where, "rollout.overlap=beside")
    each_token_is_of_its_weights(tmp_path / "beside", beside=True)


@pytest.mark.long
def test_a_run_samples_from_a_server_elsewhere(tmp_path: Path, recipe: str) -> None:
    """It serves two runs, both from the start model; one that reads images otherwise is refused."""
    with rollout_server(recipe, *VLLM) as url:
        where = ("rollout.placement=servers", f'rollout.servers.urls=["{url}"]')
        found = [ran(recipe, tmp_path / f"{n}", *VLLM, *where, "trainer.steps=3") for n in range(2)]
        for first, second in zip(*found, strict=True):
            assert first["mismatch/mean_abs"] < 1e-5 and second["mismatch/mean_abs"] < 1e-5
            assert first["response_length/mean"] == second["response_length/mean"]
            assert first["reward/mean"] == second["reward/mean"]
        less = rlvr("grpo", recipe, f"out={tmp_path / 'less'}", *VLLM, *where, "model.max_pixels=784")
        assert less.returncode == 2 and "(model.max_pixels)" in less.stderr, less.stderr


@pytest.mark.long
def test_two_ranks_run_one_engine_that_sees_as_one_rank_does(tmp_path: Path, recipe: str) -> None:
    """A moving tower, cut over both; and adapters alone, whose runs sample as those of merged ones do."""
    two = ("trainer.ranks=2", "rollout.tensor_parallel=2")
    ways = {"one": ("trainer.ranks=1",), "two": two}
    for way in ("merged", "adapter"):
        ways[way] = ("model.vision=frozen", "model.lora={rank: 4}", "trainer.lr=1e-2", f"rollout.lora={way}")
    ways["both"] = (*ways["adapter"], *two)
    found = {}
    for name, given in ways.items():
        rows = ran(recipe, tmp_path / name, *VLLM, *given, "trainer.steps=2", "rollout.kv_cache_gb=0.1")
        assert all(row["mismatch/mean_abs"] < 1e-5 for row in rows), name
        responses = {(row["step"], row["index"], row["sample"]): row["response"]
                     for row in read_records(tmp_path / name)}  # fmt: skip
        assert len(responses) == 32
        found[name] = responses
    assert found["one"] == found["two"] and found["merged"] == found["adapter"] == found["both"]
    assert found["one"] != found["merged"], "the second step is sampled by what the first has made"


@pytest.mark.long
def test_in_bf16_a_frozen_tower_stays_as_it_is(tmp_path: Path, recipe: str, tiny_vision_path: Path) -> None:
    rows = ran(recipe, tmp_path / "bf16", "trainer.precision=bf16", "trainer.steps=2", "trainer.zero_stage=2")
    assert all(0 < row["mismatch/mean_abs"] < 0.03 for row in rows)
    changed, same = moved(tiny_vision_path, tmp_path / "bf16")
    assert not of_tower(changed) and of_tower(same) and changed


@pytest.mark.long
@pytest.mark.parametrize("vision", ["frozen", "train"])
def test_zero_stages_make_the_run_of_one_rank(
    tmp_path: Path, recipe: str, tiny_vision_path: Path, vision: str
) -> None:
    found = {}
    for ranks, stage in ((1, 0), (2, 1), (2, 2), (2, 3)):
        out = tmp_path / f"zero{stage}"
        how = [
            f"trainer.ranks={ranks}",
            f"trainer.zero_stage={stage}",
            "trainer.steps=2",
            f"model.vision={vision}",
        ]
        found[stage] = ran(recipe, out, *how, "trainer.lr=1e-4"), out
        if vision == "frozen":
            assert not of_tower(moved(tiny_vision_path, out)[0])
    rows, alone = found[0]
    for stage in (1, 2, 3):
        for one, two in zip(rows, found[stage][0], strict=True):
            for name in ("actor/grad_norm", "actor/loss", "reward/mean", "actor/entropy"):
                assert two[name] == pytest.approx(one[name], abs=1e-4, rel=1e-3), (stage, name)
        ours, theirs = weights(alone / "final"), weights(found[stage][1] / "final")
        apart = torch.cat([(ours[name] - theirs[name]).abs().flatten() for name in ours])
        # Adam turns a gradient of either sign next to 0 into a whole step.
        assert apart.mean() < 1e-6 and (apart > 2e-5).float().mean() < 0.01, stage
