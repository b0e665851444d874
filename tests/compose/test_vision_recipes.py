"""Recipes of published runs on images: their settings, and what of their data is recognised as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet

from rlvr_cli import compose
from rlvr_cli.data.prompts import problems
from rlvr_cli.engine.model import load_tokenizer
from rlvr_cli.schema import Model, Recipe, Vision
from rlvr_cli.verifiers.several_golds import fault_of

SCENE = "scene:240,1;square,red,7,14,28,42"


def settings(name: str) -> tuple[Recipe, tuple[float, ...]]:
    recipe = compose.load(name, ["model.path=m"])
    assert isinstance(recipe, Recipe) and recipe.model.vision is Vision.frozen
    batch, rollout, trainer = recipe.batch, recipe.rollout, recipe.trainer
    sizes = (batch.prompts_per_step, batch.group_size, batch.updates_per_step)
    return recipe, (*sizes, rollout.temperature, rollout.max_prompt_tokens, trainer.lr, trainer.steps)


def left(recipe: Recipe, rows: Path, tokenizer: object) -> list:
    """What of made-up rows, in the columns of its data, a recipe trains on."""
    source = recipe.data["train"]
    source.path, source.images = str(rows), None

    def ask(names: list[str], gold: str | None, extra: dict) -> str | None:
        return fault_of(recipe.verifiers, names, gold, extra)

    return problems("train", source, tokenizer, 4000, 0, ask=ask)[0]  # type: ignore[arg-type]


def test_v_triune(tmp_path: Path, tiny_vision_path: Path) -> None:
    """Settings of 2505.18129; of its rows the fields of `verifier_parm` that nobody uses are null."""
    recipe, numbers = settings("vtriune_qwen2.5vl_7b")
    assert numbers == (1024, 8, 1, 1.0, 8192, 1e-6, 140) and recipe.trainer.warmup_steps == 7
    loss = recipe.algorithm.loss
    assert (loss.clip_ratio_low, loss.clip_ratio_high) == (0.2, 0.28)
    assert recipe.algorithm.aggregation.name == "token_mean" and recipe.algorithm.kl.name == "none"
    weights = dict.fromkeys(("iou_max_label_first", "iou_max_iou_first", "map", "map50", "map75"), None)
    parm = {"det_verifier_normalized": True, "det_reward_ratio": weights | {"iou_max_label_first": 1.0}}
    gold = json.dumps([{"bbox_2d": [125, 250, 500, 750], "label": "square"}])
    struct = {"answer": "", "ground_truth": gold, "accuracy_ratio": 1.0, "format_ratio": 0.1}
    row = {
        "data_source": "detection_coco",
        "images": [SCENE],
        "prompt": [{"role": "user", "content": "<image>Find the square."}],
        "ability": "detection",
        "reward_model": struct | {"verifier": "detection", "verifier_parm": parm},
        "extra_info": {"id": "1", "image_path": "1.jpg"},
    }
    parquet.write_table(pa.Table.from_pylist([row]), tmp_path / "rows.parquet")
    [problem] = left(recipe, tmp_path / "rows.parquet", load_tokenizer(Model(path=str(tiny_vision_path))))
    assert sum(token < 0 for token in problem.tokens) == 16 and "<think>" in problem.prompt
    said = '<think>\nso\n</think>\n<answer>\n[{"bbox_2d": [7, 14, 28, 42], "label": "square"}]\n</answer>'
    assert recipe.verifiers["row"].verify(said, problem.answer, problem.extra).score == 1.0


def test_vlaa(tmp_path: Path, tiny_vision_path: Path) -> None:
    """Settings of 2504.11468, as far as it gives them; its rows with a type, of which one is a box."""
    recipe, numbers = settings("vlaa_qwen2.5vl_3b")
    assert numbers[:4] == (512, 4, 2, 0.8) and recipe.model.max_pixels == 262144
    assert recipe.algorithm.aggregation.name == "seq_mean_token_mean"
    rows = [
        {"id": str(n), "image": SCENE, "question": "What?", "gt": gold, "caption": "", "type": kind}
        for n, (kind, gold) in enumerate((("digit", 3), ("choice", "B"), ("iou", "7 14 28 42")))
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    found = left(recipe, tmp_path / "rows.json", load_tokenizer(Model(path=str(tiny_vision_path))))
    assert [problem.answer for problem in found] == ["3", "B", "7 14 28 42"]
    rule = recipe.verifiers["rule"]
    for problem, said in zip(found, ("3", "(b)", '[{"bbox_2d": [7, 14, 28, 42]}]'), strict=True):
        assert rule.verify(f"<answer>{said}</answer>", problem.answer, problem.extra).score == 1.0, said
        assert rule.verify(said, problem.answer, problem.extra).score == 0.0  # not in <answer>


def test_geometry(tmp_path: Path, tiny_vision_path: Path) -> None:
    """Settings of EasyR1's example; a row of hiyouga/geometry3k."""
    recipe, numbers = settings("grpo_qwen2.5vl_3b_geometry")
    assert numbers == (512, 5, 4, 1.0, 2048, 1e-6, 60) and recipe.rollout.top_p == 0.99
    assert (recipe.algorithm.kl.coef, recipe.algorithm.kl.estimator.value) == (0.01, "k3")
    row = {"images": [SCENE], "problem": "<image>Find x.", "answer": "3"}
    parquet.write_table(pa.Table.from_pylist([row]), tmp_path / "rows.parquet")
    [problem] = left(recipe, tmp_path / "rows.parquet", load_tokenizer(Model(path=str(tiny_vision_path))))
    said = "<think>so</think> It is \\boxed{3}."
    judged = [recipe.verifiers[name].verify(said, "3", problem.extra).score for name in ("math", "form")]
    assert judged == [1.0, 1.0]
    assert recipe.verifiers["form"].verify("\\boxed{3}", "3", problem.extra).score == 0.0
