"""Every packaged bench of images, on a made-up row in its columns: it renders, and its gold is right."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from image_rows import ROWS, SCENE
from run_helpers import rlvr

from rlvr_cli import compose
from rlvr_cli.data.bench_images import CLASSES
from rlvr_cli.data.bench_layouts import LAYOUTS
from rlvr_cli.data.prompts import problems
from rlvr_cli.engine.model import load_tokenizer
from rlvr_cli.schema import Model
from rlvr_cli.vision.album import album


@pytest.fixture(scope="module")
def benches() -> Any:
    return compose.load_eval(None, [], benches=list(ROWS), model="m", data="/files").benches


@pytest.mark.parametrize("name", ROWS)
def test_a_row_renders_and_its_gold_is_right(
    name: str, benches: Any, tmp_path: Path, tiny_vision_path: Path
) -> None:
    row, response = ROWS[name]
    bench = benches[name]
    bench.source.path = str(tmp_path / f"{name}.jsonl")
    Path(bench.source.path).write_text(json.dumps(row) + "\n")
    tokenizer = load_tokenizer(Model(path=str(tiny_vision_path)))
    [problem], report = problems(name, bench.source, tokenizer, 4000, bench.seed)
    assert report.images == (2 if name == "mmmu" else 1) and "{prompt}" not in problem.prompt
    first = next(token for token in problem.tokens if token < 0)
    assert getattr(album[first].picture, "text", None) == SCENE
    assert problem.extra["image_size"] == [56, 56]
    verdict = bench.verifier.verify(response, problem.answer, problem.extra)
    assert verdict.score == 1.0 and verdict.reason.value == "correct", verdict
    assert bench.verifier.verify("\\boxed{C} 7 [1, 1, 2, 2]", problem.answer, problem.extra).score < 0.5


def test_an_image_that_is_mentioned_again_is_shown_once() -> None:
    row = LAYOUTS["mmmu"](ROWS["mmmu"][0], Random(0))
    assert row["prompt"] == (
        "Is <image> the square, or <image>? Look at image 1.\n(A) image 1\n(B) only image 2"
    )
    unmentioned = ROWS["mmmu"][0] | {"question": "Which?", "options": "[]", "answer": "['1.5', '3/2']"}
    row = LAYOUTS["mmmu"](unmentioned, Random(0))
    assert row["images"] == [SCENE] and row["answer"] == ["1.5", "3/2"]


def test_boxes_of_both_kinds_are_corners() -> None:
    row = ROWS["coco_detection"][0]
    sides = row | {"objects": row["objects"] | {"bbox": [[7, 14, 21, 28], [30, 3, 10, 6]]}}
    two = LAYOUTS["coco"](sides, Random(0), sides=True)["answer"]
    assert json.loads(two) == json.loads(LAYOUTS["coco"](row, Random(0))["answer"])
    assert LAYOUTS["refcoco"](ROWS["refcoco"][0], Random(0))["answer"] == "7 14 28 42"
    assert len(CLASSES) == len(set(CLASSES)) == 80 and CLASSES[61] == "toilet"
    assert LAYOUTS["coco"](row | {"objects": {"category": [], "bbox": []}}, Random(0)) is None


@pytest.mark.slow
def test_all_are_evaluated_with_a_model_that_sees(tmp_path: Path, tiny_vision_path: Path) -> None:
    for name, (row, _) in ROWS.items():
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    few = [f"benches.{name}.{key}" for name in ROWS for key in ("max_tokens=4", "max_prompt_tokens=400")]
    where = ("--data", str(tmp_path), f"out={tmp_path / 'out'}", "rollout=hf")
    done = rlvr("eval", "--bench", ",".join(ROWS), "--model", str(tiny_vision_path), *where, *few)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ROWS:
        [file] = (tmp_path / "out").rglob(f"{name}.json")
        result = json.loads(file.read_text())
        assert result["summary"]["problems"] == 1 and result["max_pixels"] == 56 * 56, name
