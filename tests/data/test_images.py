"""Images of rows: layouts of other projects, what is left out and told, what is refused in a line."""

from __future__ import annotations

import base64
import io
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from rlvr_cli.core.errors import UserError
from rlvr_cli.data.hygiene import Checker
from rlvr_cli.data.image_columns import image_column
from rlvr_cli.data.layouts import PROBLEMS
from rlvr_cli.data.prompts import problems
from rlvr_cli.data.sft import examples
from rlvr_cli.data.sources import Report, held_out, normalised, select
from rlvr_cli.engine.model import load_tokenizer
from rlvr_cli.schema import Hygiene, Model, Source
from rlvr_cli.verifiers.boxes.reader import Form
from rlvr_cli.verifiers.boxes.units import Unit
from rlvr_cli.verifiers.iou import Iou
from rlvr_cli.verifiers.several_golds import fault_of
from rlvr_cli.vision.album import album, shortened
from rlvr_cli.vision.pictures import picture
from rlvr_cli.vision.processor import processor_of


def png(shade: int, size: int = 56) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((size, size, 3), shade, np.uint8)).save(file, "PNG")
    return file.getvalue()


def struct(shade: int) -> dict[str, Any]:
    return {"bytes": png(shade), "path": f"{shade}.png"}


@pytest.fixture(scope="module")
def tokenizer(tiny_vision_path: Path) -> Any:
    return load_tokenizer(Model(path=str(tiny_vision_path)))


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Source:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Source(path=str(path), verifiers=["match"])


def parquet(path: Path, rows: list[dict[str, Any]], **more: Any) -> Source:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return Source(path=str(path), verifiers=["match"], **more)


def prompts_of(source: Source, tokenizer: Any, **more: Any) -> tuple[list[Any], Report]:
    return problems("train", source, tokenizer, 200, 0, **more)


def images_in(problem: Any, tokenizer: Any) -> list[int]:
    processor = processor_of(tokenizer)
    assert processor is not None
    return [int(album[n].picture.rgb()[0, 0, 0]) for n in shortened(problem.tokens, processor.pad)[1]]


def test_layouts_of_other_projects(tmp_path: Path, tokenizer: Any) -> None:
    """Two rows as verl (geo3k), V-Triune, TRL and VLAA have them, images in the order of their marks."""
    for shade in (10, 20):
        (tmp_path / f"{shade}.png").write_bytes(png(shade))
    said, chat = "<image>how many?", [{"role": "user", "content": "<image>how many?"}]
    verl = {"data_source": "g", "prompt": chat, "images": [struct(10)], "ability": "math"}
    verl |= {"reward_model": {"style": "rule", "ground_truth": "3"}, "extra_info": {"index": 1}}
    triune = {"data_source": "v", "images": [struct(10), struct(20)], "ability": "counting"}
    triune |= {"prompt": [{"role": "user", "content": "is <image> like <image>?"}]}
    judged = {"answer": "<answer>3</answer>", "ground_truth": "3", "verifier": "mathverify"}
    triune |= {"reward_model": judged, "extra_info": {"id": "a", "image_path": ""}}
    typed = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "how many?"}]}]
    asked = {"problem": said, "answer": "3"}
    of_trl = {"prompt": chat, "image": struct(20), "answer": "3"}
    of_files = {"prompt": typed, "images": [str(tmp_path / "10.png")], "answer": 3}
    sources = {
        "verl": (parquet(tmp_path / "verl.parquet", [verl]), [10]),
        "triune": (parquet(tmp_path / "triune.parquet", [triune]), [10, 20]),
        "trl": (parquet(tmp_path / "trl.parquet", [of_trl]), [20]),
        "typed": (jsonl(tmp_path / "t.jsonl", [of_files]), [10]),
        "vlaa": (
            jsonl(tmp_path / "v.jsonl", [{"id": 4, "image": "/20.png", "question": "how many?", "gt": 3}]),
            [20],
        ),
        "geo3k": (parquet(tmp_path / "g.parquet", [{"images": [struct(10)]} | asked]), [10]),
    }
    sources["vlaa"][0].images = str(tmp_path)
    coded = {"image": base64.b64encode(png(10)).decode(), "question": "how many?", "answer": "3"}
    sources["table of text"] = (jsonl(tmp_path / "c.jsonl", [coded]), [10])
    for name, (source, shades) in sources.items():
        [problem], report = prompts_of(source, tokenizer)
        assert images_in(problem, tokenizer) == shades, name
        assert problem.answer == "3" and report.images == len(shades)
        assert "images" not in problem.extra or problem.extra["images"][0]["width"] == 56
        assert problem.extra["image_size"] == [56, 56] and problem.extra["image_grid_thw"] == [1, 8, 8]
        assert sum(token < 0 for token in problem.tokens) == 16 * len(shades)
    json.dumps(problem.extra)  # what goes to verifiers and records has no pixels in it


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP"])
def test_a_column_of_base64_is_one_of_images(form: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, form)
    coded = base64.b64encode(file.getvalue()).decode()
    assert image_column({"image": coded}) == "image" and picture(coded).size() == (8, 8)


def test_what_cannot_be_opened_is_counted_and_told(tmp_path: Path, tokenizer: Any) -> None:
    (tmp_path / "cut.jpg").write_bytes(png(3)[:60])
    (tmp_path / "good.png").write_bytes(png(4))
    rows = [
        {"prompt": f"{name}?", "image": str(tmp_path / name), "answer": "1"}
        for name in ("good.png", "cut.jpg", "none.png")
    ]
    source = jsonl(tmp_path / "d.jsonl", rows)
    found, report = prompts_of(source, tokenizer)
    assert [p.extra["prompt"] for p in found] == ["<image>good.png?"] and report.bad_images == 2
    assert f"2 rows with an image that cannot be used ('{source.path}' row 2: it is" in str(report)
    assert f"row 3: there is no file {tmp_path}/none.png) left out" in str(report)
    assert ", 1 images, " in str(report)
    with pytest.raises(UserError, match=r"nothing of .* is left: 1 row with an image that cannot be used"):
        prompts_of(jsonl(tmp_path / "e.jsonl", rows[2:]), tokenizer)
    with pytest.raises(UserError, match=r"nothing of .* is left: 1 row with an image that cannot be used"):
        examples("train", jsonl(tmp_path / "f.jsonl", [rows[2] | {"completion": "1"}]), tokenizer, 99, 0)


def test_what_is_refused(tmp_path: Path, tokenizer: Any, tiny_path: Path) -> None:
    row = {"prompt": "<image><image>?", "images": [str(tmp_path / "a.png")], "answer": "1"}
    (tmp_path / "a.png").write_bytes(png(5))
    source = jsonl(tmp_path / "d.jsonl", [row])
    with pytest.raises(UserError, match="row 1: its text has <image> 2 times and it has 1 image; give"):
        prompts_of(source, tokenizer)
    one = jsonl(tmp_path / "e.jsonl", [row | {"prompt": "?"}])
    with pytest.raises(UserError, match="row 1 has 1 image, and the model reads text alone"):
        prompts_of(one, load_tokenizer(Model(path=str(tiny_path))))
    own = jsonl(tmp_path / "f.jsonl", [row | {"prompt": "<|image_pad|> is what?"}])
    with pytest.raises(UserError, match="its prompt has 2 image tokens for 1 images; take the model's own"):
        prompts_of(own, tokenizer)
    one.chat = type(one.chat).never
    with pytest.raises(UserError, match="has images, which need a chat template; set chat: auto"):
        prompts_of(one, tokenizer)
    bare = jsonl(tmp_path / "g.jsonl", [{"prompt": "<|image_pad|>?", "answer": "1"}])
    with pytest.raises(UserError, match="its prompt has 1 image tokens for 0 images"):
        prompts_of(bare, tokenizer)


def test_rows_without_images_among_others(tmp_path: Path, tokenizer: Any) -> None:
    rows = [
        {"prompt": "a", "images": [struct(7)], "answer": "1"},
        {"prompt": "b", "images": [], "answer": "2"},
    ]
    found, report = prompts_of(parquet(tmp_path / "d.parquet", rows), tokenizer)
    assert [images_in(p, tokenizer) for p in found] == [[7], []] and report.images == 1
    assert "image_size" not in found[1].extra and min(found[1].tokens) >= 0


def test_the_same_question_of_two_images_is_two_problems(tmp_path: Path, tokenizer: Any) -> None:
    rows = [{"prompt": "?", "images": [struct(shade)], "answer": f"{shade}"} for shade in (1, 2, 1)]
    source = parquet(tmp_path / "d.parquet", rows, deduplicate=True)
    report = Report(name="train")
    assert [row["answer"] for row in select(source, 0, PROBLEMS, report)] == ["1", "2"]
    source.deduplicate = False
    checker = Checker(Hygiene())
    checker.bench("bench", list(normalised(source, 0, PROBLEMS))[:1])
    for row in normalised(source, 0, PROBLEMS):
        checker.row("train", row)
    counts = {kind: finding.count for kind, finding in checker.findings["train"].items()}
    assert counts == {"benchmark_overlaps": 2, "duplicate_prompts": 1}
    other = Source(path=source.path, holdout=1, verifiers=["match"])
    assert len(held_out([source, other], 0, PROBLEMS)) == 1
    first, second = (p for p in prompts_of(source, tokenizer)[0][:2])
    assert len(first.tokens) == len(second.tokens) and first.tokens != second.tokens


def test_an_example_trains_on_its_completion_alone(tokenizer: Any) -> None:
    source = Source(path="synthetic:shapes_count", options={"size": 3})
    found, report = examples("train", source, tokenizer, 64, 0)
    assert report.images == 3
    for each in found:
        assert (each.tokens < 0).sum() == 16 and each.mask.sum() == 2  # a digit and the end
        assert not each.mask[each.tokens < 0].any() and each.mask[-2:].all()


def test_golds_in_other_units_than_the_policys_are_asked_about_with_the_sizes_of_the_image(
    tmp_path: Path, tokenizer: Any
) -> None:
    """Of a row whose image cannot be used the image is the reason, not the gold."""
    box = Iou(boxes=Unit.per_mille)
    rows = [{"problem": "box?", "images": [each], "answer": "1 2 30 40"} for each in ("a.png", "gone.png")]
    (tmp_path / "a.png").write_bytes(png(30))
    source = jsonl(tmp_path / "d.jsonl", rows)
    source.images = str(tmp_path)

    def ask(names: list[str], gold: str | None, extra: dict[str, Any]) -> str | None:
        return fault_of({"match": box}, names, gold, extra)

    found, report = prompts_of(source, tokenizer, ask=ask)
    assert [each.extra["image_size"] for each in found] == [[56, 56]] and report.images == 1
    assert report.bad_images == 1 and report.no_gold == 0
    assert "there is no file" in report.bad_image_rows[0]


def test_a_row_is_the_same_for_those_who_look_before_and_after_its_gold_was_judged(
    tmp_path: Path, tokenizer: Any, tiny_path: Path
) -> None:
    good = {"problem": "where?", "answer": "1 2 30 40", "images": [struct(10)]}
    source = parquet(tmp_path / "boxes.parquet", [good, good | {"answer": "30 40 1 2"}])
    iou = Iou(boxes=Unit.seen, form=Form.numbers, extraction=None, patch=7)
    ask = partial(fault_of, {"match": iou})
    refused: list[Any] = []
    checker = Checker(Hygiene())
    checker.bench("bench", list(normalised(source, 0, PROBLEMS))[:1])
    found, report = prompts_of(
        source,
        tokenizer,
        ask=ask,
        look=partial(checker.row, "train"),
        refused=lambda row, gold, why: refused.append((gold, row["extra"]["image_size"])),
    )
    assert [each.answer for each in found] == ["1 2 30 40"] and report.no_gold == 1
    assert refused == [("30 40 1 2", [56, 56])]  # whoever asks what is wrong with it knows its image
    assert checker.findings["train"]["benchmark_overlaps"].count == 1
    with pytest.raises(UserError, match="has 1 image, and the model reads text alone"):
        prompts_of(source, load_tokenizer(Model(path=str(tiny_path))), ask=ask)
