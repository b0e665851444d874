"""Images in a dry run: sizes and tokens of a prompt's, from the model's files, without transformers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from rlvr_cli.core.model_paths import TINY_VISION
from rlvr_cli.engine.tiny import BOS, EOS
from rlvr_cli.engine.tiny_vision import AREAS, IMAGE, MARKS, MERGE, PATCH, VIDEO
from rlvr_cli.schema import Model
from rlvr_cli.vision.album import album, shortened
from rlvr_cli.vision.processor import KNOWN, Processor

SPECIAL = re.compile("|".join(map(re.escape, (BOS, EOS, *MARKS, IMAGE, VIDEO))))


def processor_of_files(model: Model, folder: Path | None) -> Processor | None:
    """Sizes as the model sees them, without its pixels; None where its files say of no image."""
    if model.path == TINY_VISION:
        settings: dict[str, Any] = {"patch_size": PATCH, "merge_size": MERGE, "size": AREAS}
        pad = TINY_PAD
    elif folder is None:
        return None
    else:
        config = _json(folder / "config.json")
        settings = _json(folder / "preprocessor_config.json")
        if config.get("model_type") not in KNOWN or "patch_size" not in settings:
            return None
        pad = int(config.get("image_token_id", -1))
    size = settings.get("size") or {}
    areas = {
        "shortest_edge": model.min_pixels or settings.get("min_pixels") or size["shortest_edge"],
        "longest_edge": model.max_pixels or settings.get("max_pixels") or size["longest_edge"],
    }
    return Processor(int(settings["patch_size"]), int(settings["merge_size"]), areas, pad)


TINY_PAD = 10_000
"""Stands for the built-in model's image token: its tokenizer is made when the run begins."""


def split_special(text: str) -> list[str | int]:
    """Text of the built-in model: what stands between its special tokens, and a number for each of them."""
    found: list[str | int] = []
    place = 0
    for each in SPECIAL.finditer(text):
        found += [text[place : each.start()], TINY_PAD if each[0] == IMAGE else TINY_PAD + 1]
        place = each.end()
    return [*found, text[place:]]


def described(tokens: list[int], processor: Processor) -> str:
    """`, 10 before its images are expanded; image 1: 480 x 640 pixels, seen as ...`"""
    short, numbers = shortened(tokens, processor.pad)
    each = []
    for place, number in enumerate(numbers, 1):
        image = album[number]
        grid = f"1 x {image.height // processor.patch} x {image.width // processor.patch}"
        each.append(
            f"image {place}: {image.original[0]} x {image.original[1]} pixels, seen as {image.width} x "
            f"{image.height}, grid {grid}, {image.tokens} tokens"
        )
    return f", {len(short)} before its images are expanded; {'; '.join(each)}"


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
