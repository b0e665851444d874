"""Whole runs on images: fine-tuning, reinforcement learning, evaluation; and what is refused before one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from run_helpers import rlvr, steps_of

from rlvr_cli import compose
from rlvr_cli.core.errors import UserError

SMALL = """
defaults:
  - algorithm: grpo
  - data@data.count: shapes_count
  - data@data.box: shapes_box
  - verifier@verifiers.match: match
  - verifier@verifiers.chance: random
  - verifier@verifiers.iou: iou
  - rollout: hf
  - trainer: zero0
  - _self_
name: seen
data:
  count: { options: { size: 24 }, verifiers: [chance] }
  box: { options: { size: 24 }, verifiers: [chance, iou] }
verifiers: { iou: { boxes: pixels, form: numbers, extraction: null, count: dynamic } }
batch: { prompts_per_step: 4, group_size: 4, tokens_per_microbatch: 300 }
rollout: { max_prompt_tokens: 32, max_tokens: 6 }
trainer: { steps: 2, lr: 1e-3, precision: fp32 }
algorithm: { kl: { coef: 0.05 }, reference: {} }
tracker: { wandb: disabled }
"""


def small(folder: Path, model: Path) -> str:
    file = folder / "seen.yaml"
    file.write_text(SMALL + f"model: {{ path: {model}, vision: train }}\n")
    return str(file)


@pytest.mark.slow
def test_fine_tuning_learns_and_its_model_is_an_ordinary_folder(tmp_path: Path) -> None:
    out = tmp_path / "sft"
    sizes = [f"data.{name}.options.size=200" for name in ("count", "box")]
    more = ["trainer.steps=12", "trainer.warmup_steps=2", "eval.limit=16", "tracker.wandb=disabled"]
    done = rlvr("sft", "tiny_vision_sft", f"out={out}", *sizes, *more)
    assert done.returncode == 0, done.stdout + done.stderr
    losses = [row["train/loss"] for row in steps_of(out)]
    assert losses[-1] < losses[0] - 1.0 and "200 images" in done.stdout
    assert (out / "final" / "preprocessor_config.json").is_file()
    asked = ["benches.shapes_count.source.limit=8", "benches.shapes_count.k=2", "rollout=hf"]
    done = rlvr("eval", "--bench", "shapes_count", "--model", str(out), *asked)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((out / "eval" / "shapes_count.json").read_text())
    assert result["summary"]["problems"] == 8


@pytest.mark.slow
def test_two_ranks_under_zero_3_make_the_run_of_one(tmp_path: Path, tiny_vision_path: Path) -> None:
    recipe = small(tmp_path, tiny_vision_path)
    found = {}
    for ranks, stage in ((1, 0), (2, 3)):
        out = tmp_path / f"ranks{ranks}"
        more = [f"trainer.ranks={ranks}", f"trainer.zero_stage={stage}"]
        done = rlvr("grpo", recipe, f"out={out}", *more)
        assert done.returncode == 0, done.stdout + done.stderr
        found[ranks] = steps_of(out)
        assert all(row["mismatch/mean_abs"] < 1e-5 for row in found[ranks])
        assert all(0 <= row["reward/iou/mean"] <= row["reward/iou/iou"] <= 1 for row in found[ranks])
    for one, two in zip(found[1], found[2], strict=True):
        for name in ("actor/grad_norm", "actor/loss", "reward/mean"):
            assert two[name] == pytest.approx(one[name], abs=1e-4, rel=1e-3), name


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("trainer.sequence_parallel=2", "whose rows are not cut over ranks"),
        ("algorithm=ppo", "which a critic does not"),
        ("model.lora.rank=4", "whose tower is not trained in adapters"),
    ],
)
def test_what_does_not_work_with_images_is_refused_in_a_line(
    change: str, said: str, tmp_path: Path, tiny_vision_path: Path
) -> None:
    with pytest.raises(UserError, match=said) as told:
        compose.load(small(tmp_path, tiny_vision_path), [*change.split(" "), "rollout=vllm"])
    assert "\n" not in str(told.value) and "docs/vision.md" in str(told.value)


def test_the_tower_is_frozen_by_default() -> None:
    recipe = compose.load("tiny_vision_grpo", ["model.path=builtin:tiny_vision"])
    assert recipe.model.vision.value == "frozen"
