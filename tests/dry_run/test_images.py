"""A dry run shows the images of a prompt with the sizes and tokens that a run gives them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rlvr_cli.core.errors import UserError
from rlvr_cli.data.prompts import problems
from rlvr_cli.dry_run import tokenizer as files
from rlvr_cli.dry_run.sources import look_at
from rlvr_cli.engine.model import load_tokenizer
from rlvr_cli.schema import Model, Source


@pytest.fixture
def source(tmp_path: Path) -> Source:
    Image.new("RGB", (100, 60)).save(tmp_path / "a.png")
    row = {"problem": "<image>or <image>?", "images": ["a.png", "a.png"], "answer": "3"}
    (tmp_path / "d.jsonl").write_text(json.dumps(row) + "\n")
    return Source(path=str(tmp_path / "d.jsonl"), images=str(tmp_path), verifiers=[])


@pytest.mark.parametrize("pixels", [None, 784])
def test_sizes_grid_and_tokens_are_those_of_the_run(
    source: Source, tiny_vision_path: Path, pixels: int | None
) -> None:
    made = Model(path=str(tiny_vision_path), max_pixels=pixels)
    [problem], _ = problems("train", source, load_tokenizer(made), 200, 0)
    [image, _] = problem.extra["images"]
    _, tall, wide = problem.extra["image_grid_thw"]
    seen = f"seen as {image['seen_width']} x {image['seen_height']}, grid 1 x {tall} x {wide}, "
    seen += f"{tall * wide // 4} tokens"
    for path in (str(tiny_vision_path), "builtin:tiny_vision"):
        found = look_at("data.train", source, 0, files.load(Model(path=path, max_pixels=pixels)), {}, [])
        [line] = [each for each in found.lines if each.startswith("prompt")]
        short = len(problem.tokens) - 2 * (tall * wide // 4 - 1)
        assert (
            f"{len(problem.tokens)} tokens, {short} before its images are expanded; image 1: 100 x 60" in line
        )
        assert line.count(seen) == 2


def test_what_a_run_would_refuse_or_leave_out_is_said(source: Source, tmp_path: Path) -> None:
    text: Any = files.load(Model(path="builtin:tiny"))
    with pytest.raises(UserError, match="row 1 has 2 images, and the model reads text alone"):
        look_at("data.train", source, 0, text, {}, [])
    (tmp_path / "a.png").write_bytes(b"none")
    found = look_at("data.train", source, 0, files.load(Model(path="builtin:tiny_vision")), {}, [])
    assert any("would be left out" in each and "no image that PIL knows" in each for each in found.warnings)
