"""Runs on images that come again, of several a prompt, under ZeRO, in adapters and in bf16."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from run_helpers import comparable, rlvr, steps_of
from safetensors.torch import load_file

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
    common = (
        "rollout=vllm",
        "rollout.kv_cache_gb=0.1",
        "rollout.max_tokens=6",
        "rollout.max_prompt_tokens=48",
        "model.vision=train",
    )
    rows = ran(recipe, whole, *common)
    assert all(row["mismatch/mean_abs"] < 1e-5 for row in rows)
    thresholds = [row["reward/constant/threshold"] for row in rows]
    assert thresholds == pytest.approx([0.95, 0.99, 0.99, 0.99])
    changed, same = moved(tiny_vision_path, whole)
    assert of_tower(changed) and not same
    shutil.copytree(whole, cut)
    shutil.rmtree(cut / "final")
    os.truncate(cut / "checkpoints" / "step_4" / "rng_rank0.pt", 100)
    assert [comparable(row) for row in ran(recipe, cut, *common)] == [comparable(row) for row in rows]
    ours, theirs = weights(cut / "final"), weights(whole / "final")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


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
    """With a moving tower; what is not sent to servers that are there already says so."""
    common = ("rollout=vllm", "rollout.max_tokens=6", "rollout.max_prompt_tokens=48", "model.vision=train")
    where = ("rollout.placement=servers", "rollout.servers.threads=1", "rollout.kv_cache_gb=0.1")
    rows = ran(recipe, tmp_path / "servers", *common, *where, "trainer.steps=3")
    assert all(row["mismatch/mean_abs"] < 1e-5 for row in rows)
    refused = rlvr("rollout-server", recipe, *common)
    assert refused.returncode == 2 and "which are sent to servers that a run starts itself" in refused.stderr


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
