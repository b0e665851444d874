"""Synthetic images: text and picture agree, and evaluation shows scenes that training never does."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from rlvr_cli.core.errors import UserError
from rlvr_cli.data.synthetic import generate
from rlvr_cli.vision import scenes

FAMILIES = ("shapes_count", "shapes_colour", "shapes_digit", "shapes_bigger", "shapes_box")


def things(scene: str) -> list[list[str]]:
    return [thing.split(",") for thing in scene.partition(";")[2].split(";")]


def coloured(pixels: np.ndarray, colour: str) -> np.ndarray:
    """Which pixels have nearly this colour."""
    gap = np.abs(pixels.astype(int) - scenes.COLOURS[colour])
    return (gap <= scenes.NOISE).all(-1)


@pytest.mark.parametrize("name", FAMILIES)
def test_train_and_eval_show_other_scenes_whatever_the_seed(name: str) -> None:
    train = generate(name, "train", {"size": 600}, seed=1)
    evaluated = generate(name, "eval", {"size": 60}, seed=2)
    shapes = [{row["image"].partition(";")[2] for row in rows} for rows in (train, evaluated)]
    assert not shapes[0] & shapes[1]
    assert len({row["id"] for row in train}) == 600 and train == generate(name, "train", {"size": 600}, 1)
    assert all(row["completion"] == row["answer"] for row in train)


def test_answers_are_what_the_picture_shows() -> None:
    for row in generate("shapes_count", "train", {"size": 40, "most": 5}, 0):
        assert int(row["answer"]) == len(things(row["image"]))
    for row in generate("shapes_colour", "train", {"size": 40}, 0):
        assert row["answer"] == next(colour for kind, colour, *_ in things(row["image"]) if kind == "square")
    for row in generate("shapes_digit", "train", {"size": 40}, 0):
        assert row["answer"] == things(row["image"])[0][0]
    for row in generate("shapes_bigger", "train", {"size": 40}, 0):
        sizes = {kind: int(right) - int(left) for kind, _, left, _, right, _ in things(row["image"])}
        assert row["answer"] == ("left" if sizes["square"] > sizes["disc"] else "right")
        assert abs(sizes["square"] - sizes["disc"]) >= 3


def test_a_box_holds_the_square_and_nothing_else() -> None:
    for row in generate("shapes_box", "train", {"size": 40}, 0):
        x1, y1, x2, y2 = map(int, row["answer"].split())
        kinds = {kind: colour for kind, colour, *_ in things(row["image"])}
        found = coloured(scenes.draw(row["image"]), kinds["square"])
        assert found[y1:y2, x1:x2].all() and {x1 % 7, y1 % 7, x2 % 7, y2 % 7} == {0}
        if kinds["square"] != kinds["disc"]:
            assert found.sum() == (x2 - x1) * (y2 - y1)


def test_pictures_are_the_same_everywhere() -> None:
    """Another process draws the same numbers; noise is small and the ground gray."""
    scene = "scene:240,77;disc,blue,10,20,24,34;5,green,28,7,7"
    pixels = scenes.draw(scene)
    code = f"from rlvr_cli.vision.scenes import draw; print(int(draw({scene!r}).astype(int).sum()))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == str(int(pixels.sum()))
    assert pixels.shape == (56, 56, 3) and np.abs(pixels[50:, 50:].astype(int) - 240).max() <= 6
    assert coloured(pixels, "blue").sum() == pytest.approx(np.pi * 49, abs=6)
    assert coloured(pixels, "green").sum() == 11 * 49  # the cells of a 5
    assert (
        scenes.draw("scene:240,78;disc,blue,10,20,24,34") != scenes.draw("scene:240,79;disc,blue,10,20,24,34")
    ).any()


def test_no_library_of_images_or_the_network_for_texts() -> None:
    code = (
        "import sys; from rlvr_cli.data.synthetic import generate; from rlvr_cli import compose; "
        "import rlvr_cli.data.prompts, rlvr_cli.data.sft; "
        "compose.load('tiny_dapo', ['model.path=builtin:tiny']); "
        "generate('addition', 'train', {'size': 5}, 0); "
        "print(sorted({'PIL', 'httpx', 'httpcore'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_options() -> None:
    with pytest.raises(UserError, match=r"options.most is 9; it must be a whole number from 1 to 6"):
        generate("shapes_count", "train", {"most": 9}, 0)
    free = generate("shapes_box", "train", {"size": 30, "step": 1}, 0)
    assert any(int(row["answer"].split()[0]) % 7 for row in free)
