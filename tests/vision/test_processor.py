"""Sizes, tokens and pixels are those of transformers' processor; prompts are expanded and shortened."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image as PIL
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
    Qwen2VLImageProcessorPil,
    smart_resize,
)

from rlvr_cli.core.errors import UserError
from rlvr_cli.engine.model import load_config, load_tokenizer
from rlvr_cli.schema import Model
from rlvr_cli.verifiers.boxes.units import Resize
from rlvr_cli.vision import marks
from rlvr_cli.vision.album import Album, Image, album, expanded, shortened
from rlvr_cli.vision.pictures import BadImage, Encoded, Scene
from rlvr_cli.vision.processor import Processor, load_processor, processor_of
from rlvr_cli.vision.shown import blank, show

HUB = Processor(14, 2, {"shortest_edge": 3136, "longest_edge": 12_845_056}, pad=9)
SMALL = Processor(14, 2, {"shortest_edge": 3136, "longest_edge": 1_003_520}, pad=9)


def image_of(rows: int, columns: int, mark: int = 0) -> int:
    """An image of so many tokens of 14 x 14 pixels."""
    scene = Scene(f"scene:240,{mark};square,red,0,0,{rows},{columns}")
    return album.add(Image(scene, 14 * columns, 14 * rows, rows, columns, (56, 56)))


@pytest.mark.parametrize(
    ("processor", "height", "width", "seen", "tokens"),
    [  # worked numbers: (height, width) -> seen
        (HUB, 480, 640, (476, 644), 391),
        (HUB, 428, 640, (420, 644), 345),
        (HUB, 368, 434, (364, 448), 208),
        (HUB, 1080, 1920, (1092, 1932), 2691),
        (SMALL, 1080, 1920, (728, 1316), 1222),
        (SMALL, 2160, 3840, (728, 1316), 1222),
        (HUB, 30, 30, (56, 56), 4),
    ],
)
def test_worked_sizes(
    processor: Processor, height: int, width: int, seen: tuple[int, int], tokens: int
) -> None:
    wide, tall = processor.fitted(width, height)
    assert (tall, wide) == seen and wide * tall // 28**2 == tokens


SIDES = st.one_of(st.integers(1, 60), st.integers(1, 6000))


LIMITS = st.sampled_from([(28, 3136, 12_845_056), (28, 3136, 1_003_520), (32, 65_536, 1_310_720)])


@given(SIDES, SIDES, LIMITS)
@example(1400, 14, (28, 3136, 12_845_056))
@settings(max_examples=1500, deadline=None)
def test_sizes_of_processor_and_verifiers_are_those_of_transformers(
    width: int, height: int, limits: tuple[int, int, int]
) -> None:
    side, least, most = limits
    processor = Processor(side // 2, 2, {"shortest_edge": least, "longest_edge": most}, pad=9)
    try:
        tall, wide = smart_resize(height, width, side, least, most)
    except ValueError:
        with pytest.raises(BadImage, match=f"{width} x {height} pixels; one side may be 200 times the other"):
            processor.fitted(width, height)
        with pytest.raises(ValueError, match="refused"):
            Resize(*limits)(width, height)
        return
    assert processor.fitted(width, height) == Resize(*limits)(width, height) == (wide, tall)


def test_pixels_are_those_of_transformers_also_where_it_resizes(tiny_vision_path: Path) -> None:
    processor = load_processor(
        Model(path=str(tiny_vision_path)), load_config(Model(path=str(tiny_vision_path)))
    )
    assert processor is not None
    theirs = Qwen2VLImageProcessorPil.from_pretrained(tiny_vision_path)
    for shape in ((56, 56), (40, 71), (300, 90)):
        pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
        file = Path(tiny_vision_path).parent / f"{shape}.png"
        PIL.fromarray(pixels).save(file)
        number = processor.look(Encoded(file.read_bytes()))
        found, grid = processor.patches(number)
        wanted = theirs(images=[PIL.fromarray(pixels)], return_tensors="np")
        assert list(grid) == wanted["image_grid_thw"][0].tolist()
        assert np.array_equal(found, wanted["pixel_values"]), shape
        assert album[number].tokens == len(found) // 4


def test_limits_of_the_recipe(tiny_vision_path: Path, tiny_path: Path) -> None:
    path = str(tiny_vision_path)
    less = Model(path=path, max_pixels=28 * 28, min_pixels=28 * 28)
    processor = load_processor(less, load_config(less))
    assert processor is not None and processor.fitted(56, 56) == (28, 28)
    with pytest.raises(UserError, match="no image has so many and so few"):
        load_processor(Model(path=path, min_pixels=10_000), load_config(Model(path=path)))
    text = Model(path=str(tiny_path), max_pixels=3136)
    with pytest.raises(UserError, match=r"model.max_pixels is set, and .* is a qwen2, which sees no images"):
        load_processor(text, load_config(text))
    assert processor_of(load_tokenizer(Model(path=str(tiny_path)))) is None


def test_prompts_are_expanded_and_shortened() -> None:
    first, second = image_of(2, 3), image_of(1, 2)
    assert first < 0 and second < 0 and first != second and image_of(2, 3) == first
    whole = expanded([5, 9, 6, 9, 7], [first, second], pad=9)
    assert whole == [5, *[first] * 6, 6, *[second] * 2, 7]
    assert shortened(whole, pad=9) == ([5, 9, 6, 9, 7], [first, second])
    beside = expanded([9, 9], [first, first], pad=9)  # the same image twice, nothing between
    assert shortened(beside, pad=9) == ([9, 9], [first, first])
    assert shortened([1, 2], pad=9) == ([1, 2], [])
    for numbers in ([first], [first] * 3):
        with pytest.raises(ValueError, match=f"2 image tokens for {len(numbers)} images"):
            expanded([9, 9], numbers, pad=9)


def test_an_album_keeps_what_fits_and_tells_whether_it_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from rlvr_cli.vision import album as room

    monkeypatch.setattr(room, "KEPT", 3000)
    first, second = Album(), Album()
    images = [Image(Scene(f"scene:{n},1"), 28, 28, 2, 2, (56, 56)) for n in range(3)]
    for number in map(first.add, images):
        first.keep(number, np.zeros((20, 20, 3), np.uint8))
    assert first.kept(-1) is None and first.kept(-3) is not None and len(first) == 3
    for image in reversed(images):
        second.add(image)
    assert first.fingerprint() != second.fingerprint()


def test_positions_are_those_of_the_model(tiny_vision_path: Path) -> None:
    """Of two sequences in one row, one with two images, and of two samples that have their prompt once."""
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(tiny_vision_path).model
    pad = model.config.image_token_id
    processor = Processor(7, 2, {"shortest_edge": 784, "longest_edge": 3136}, pad=pad)
    a, b = image_of(2, 3, mark=1), image_of(4, 1, mark=2)
    sequences = [[5, *[a] * 6, 6, 7, *[b] * 4, 8, 8], [3, 4, *[b] * 4, 5]]

    def theirs(sequence: list[int]) -> torch.Tensor:
        ids = torch.tensor([[pad if t < 0 else t for t in sequence]])
        numbers = list(dict.fromkeys(t for t in sequence if t < 0))
        grid = torch.tensor([[1, 2 * album[n].rows, 2 * album[n].columns] for n in numbers])
        return model.get_rope_index(ids, (ids == pad).int(), grid)[0][:, 0]

    row = torch.tensor([[t for s in sequences for t in s]])
    text = torch.tensor([[n for s in sequences for n in range(len(s))]])
    processor.patches = lambda n: (np.zeros((1, 1), np.float32), (1, 2, 2))  # type: ignore[method-assign]
    ids, positions, shown = show(row, text, processor)
    assert torch.equal(positions[:, 0], torch.cat([theirs(s) for s in sequences], 1))
    assert shown is not None and (ids[0] == pad).sum() == 14 == len(shown.places_k)
    assert shown.features_k[-4:].tolist() == shown.features_k[6:10].tolist()  # b, which the tower sees once
    # a second sample of the first prompt: its tokens go on from the prompt's end
    shared = torch.tensor([[*sequences[0], 7, 7]])
    places = torch.tensor([[*range(len(sequences[0])), len(sequences[0]) - 2, len(sequences[0]) - 1]])
    _, positions, _ = show(shared, places, processor)
    assert torch.equal(positions[:, 0, -2:], positions[:, 0, -4:-2])
    assert len(blank(processor).places_k) == 0


def test_marks_and_parts() -> None:
    assert marks.placed("what?", 2, "row 1") == "<image><image>what?"
    assert marks.placed("a <image> b", 1, "row 1") == "a <image> b"
    chat = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "u"},
        {"role": "user", "content": "v"},
    ]
    assert [m["content"] for m in marks.placed(chat, 1, "row 1")] == ["s", "<image>u", "v"]  # type: ignore[index]
    for text, images, said in (
        ("<image><image>", 1, "its text has <image> 2 times and it has 1 image;"),
        ("<image>", 3, "its text has <image> 1 times and it has 3 images;"),
    ):
        with pytest.raises(UserError, match=f"d.jsonl row 7: {said}"):
            marks.placed(text, images, "d.jsonl row 7")
    assert marks.parts("a<image><image>b") == [
        {"type": "text", "text": "a"},
        {"type": "image"},
        {"type": "image"},
        {"type": "text", "text": "b"},
    ]
    assert marks.marked([{"type": "image"}, {"type": "text", "text": "x"}], "row 1") == "<image>x"
    with pytest.raises(UserError, match="a part of a message is video; it must be text or image"):
        marks.marked([{"type": "video"}], "row 1")
