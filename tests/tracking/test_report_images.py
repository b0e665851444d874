"""The report's rollout browser shows images, with the boxes of gold and response over them."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image as PIL
from report_pages import blocks, report, shown

from rlvr_cli.core.types import Completion, Group, Problem
from rlvr_cli.engine.model import load_tokenizer
from rlvr_cli.schema import Model
from rlvr_cli.tracking import RolloutRecords
from rlvr_cli.verifiers.boxes.reader import Form
from rlvr_cli.verifiers.boxes.units import Unit
from rlvr_cli.verifiers.iou import Iou
from rlvr_cli.vision.album import album
from rlvr_cli.vision.gallery import Gallery
from rlvr_cli.vision.pictures import Encoded
from rlvr_cli.vision.processor import Processor, processor_of

IOU = Iou(boxes=Unit.seen, form=Form.numbers, extraction=None)


@pytest.fixture(scope="module")
def processor(tiny_vision_path: Path) -> Processor:
    found = processor_of(load_tokenizer(Model(path=str(tiny_vision_path))))
    assert found is not None
    return found


def encoded(width: int, height: int, seed: int) -> Encoded:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    PIL.fromarray(noise).save(kept := io.BytesIO(), format="PNG")
    return Encoded(kept.getvalue())


def group(processor: Processor, index: int, number: int, responses: list[str]) -> Group:
    """The gold in pixels of the stored image; responses in those of what the model sees."""
    image = album[number]
    extra = {"images": [image.sizes], "image_size": [*image.original]}
    extra["image_grid_thw"] = [1, image.height // processor.patch, image.width // processor.patch]
    iou = Iou(boxes=Unit.seen, form=Form.numbers, extraction=None, patch=processor.patch)
    verdicts = [iou.verify(response, "20 10 60 30", extra) for response in responses]
    problem = Problem(
        id=f"p{index}",
        prompt="where?",
        tokens=[5, *[number] * image.tokens, 6],
        answer="20 10 60 30",
        source="boxes",
        verifiers=["iou"],
        extra=extra,
    )
    none = np.zeros(0, np.int32)
    scores = [verdict.score for verdict in verdicts]
    return Group(
        problem=problem,
        index=index,
        completions=[
            Completion(tokens=none, logprobs=none.astype(np.float32), text=text, finished=True)
            for text in responses
        ],
        verdicts=[{"iou": verdict} for verdict in verdicts],
        scores=scores,
        correct=scores,
        first_scores=scores,
    )


def make_run(out: Path, processor: Processor, images: int, most: int) -> Path:
    out.mkdir()
    (out / "recipe.yaml").write_text(yaml.safe_dump({"name": "seen", "algorithm": {"name": "grpo"}}))
    (out / "metrics.jsonl").write_text('{"step": 1, "time": 1.0, "reward/mean": 0.5}\n')
    gallery = Gallery(out / "rollouts" / "images", most, processor)
    records = RolloutRecords(out / "rollouts", 0, images=gallery.shown)
    numbers = [processor.look(encoded(80, 40, seed)) for seed in range(images)]
    groups = [group(processor, n, number, ["28 14 84 42", "no box"]) for n, number in enumerate(numbers)]
    records.write(1, groups, [[1.0, 0.0]] * images, None, [True] * images, [0] * images)
    records.write(2, groups[:1], [[1.0, 0.0]], None, [True], [1])
    return out


def test_boxes_are_drawn_in_shares_of_the_sides_whatever_their_units(processor: Processor) -> None:
    number = processor.look(encoded(80, 40, 0))
    image = album[number]
    answered, unread = (v["iou"] for v in group(processor, 0, number, ["28 14 84 42", "no box"]).verdicts)
    said = json.loads(str(answered.more["boxes"]))
    assert said["gold"] == [[0.25, 0.25, 0.75, 0.75]]
    wide, tall = image.width, image.height
    assert (wide, tall) != (80, 40)
    assert said["said"] == [[round(value, 4) for value in (28 / wide, 14 / tall, 84 / wide, 42 / tall)]]
    assert json.loads(str(unread.more["boxes"])) == {"gold": [[0.25, 0.25, 0.75, 0.75]], "said": []}
    # A row without images, or with images of unknown size, is judged as it always was.
    assert "boxes" not in IOU.verify("1 2 3 4", "1 2 3 4", {"image_size": [8, 8]}).more


def test_copies_are_small_whole_files_and_each_is_there_once(processor: Processor, tmp_path: Path) -> None:
    large = processor.look(encoded(1300, 700, 1))
    small = processor.look(encoded(56, 56, 2))
    gallery = Gallery(tmp_path, 1, processor)
    rows = [[large, large, small], [small]]
    first = gallery.shown(rows)
    assert [each["file"] is None for row in first for each in row] == [False, True, True]
    second = gallery.shown(rows)
    assert second[0][1]["file"] == second[1][0]["file"] and len(list(tmp_path.iterdir())) == 2
    assert Gallery(tmp_path, 0, processor).shown(rows) == second  # of a run that goes on
    for each in second[0]:
        with PIL.open(tmp_path / each["file"]) as copy:
            assert max(copy.size) <= 384
    with PIL.open(tmp_path / second[1][0]["file"]) as copy:
        assert np.array_equal(np.asarray(copy), processor.seen(small))  # small ones without loss
    assert Gallery(tmp_path, 9, None).shown([[1, 2]]) == [[]]


@pytest.mark.slow
def test_the_page_shows_images_with_boxes_and_counts_those_left_out(
    processor: Processor, tmp_path: Path
) -> None:
    run, page = make_run(tmp_path / "run", processor, 6, 4), tmp_path / "page.html"
    assert report(run, "--out", page) == 0
    wide, tall = processor.fitted(80, 40)
    described: dict[str, Any] = blocks(page)["data"]["runs"][0]
    assert described["images"] == {"shown": 4, "left": 0}
    text = page.read_text()
    assert text.count('<script type="image/png" id="image-') == 4
    assert "img-src data:" in text and "http://" not in text.replace("http://www.w3.org", "")
    opened = shown(page, ["choose", "step", "all"], ["open"])
    said = opened["after"][-1]
    assert "Of 4 images that were kept with them 4 are on this page" in said
    assert f"80 x 40 pixels, seen as {wide} x {tall}; 1 gold box in dashes" in said
    assert f"{tall}; not kept with the records (tracker.images)" in said
    high = 1000 * tall / wide
    gold = [250, high / 4, 500, high / 2]
    read = [1000 * 28 / wide, high * 14 / tall, 1000 * 56 / wide, high * 28 / tall]
    # Of each of five groups the gold over its image and over that of each response, one of which has a box.
    for drawn, wanted in zip(opened["boxes"][:4], (gold, read, gold, gold), strict=True):
        assert drawn == pytest.approx(wanted, abs=0.1)
    assert len(opened["boxes"]) == 5 * 4 and "img" in opened["tags"]
    assert report(run, "--out", page, "--rollouts", "0.012") == 0
    less = blocks(page)["data"]["runs"][0]["images"]
    assert less["shown"] < 4 and sum(less.values()) <= 4 and less["left"]


@pytest.mark.slow
def test_what_lies_among_the_images_and_is_none_is_not_put_on_the_page(
    processor: Processor, tmp_path: Path
) -> None:
    run, page = make_run(tmp_path / "run", processor, 2, 9), tmp_path / "page.html"
    first, second = sorted((run / "rollouts" / "images").iterdir())
    first.write_bytes(b"</script><script>alert(1)</script>")
    second.unlink()
    second.mkdir()
    assert report(run, "--out", page) == 0
    assert blocks(page)["data"]["runs"][0]["images"] == {"shown": 0, "left": 2}
    assert (
        'id="image-' not in page.read_text()
        and base64.b64encode(b"alert(1)").decode() not in page.read_text()
    )
