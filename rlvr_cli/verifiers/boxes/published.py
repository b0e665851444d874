"""Detections as V-Triune's rows and responses have them, and its format scores (2505.18129)."""

from __future__ import annotations

import json
from typing import Any

from rlvr_cli.verifiers.boxes.geometry import Box
from rlvr_cli.verifiers.boxes.matching import Labelled
from rlvr_cli.verifiers.boxes.reader import coordinate

OPENING, CLOSING = "<answer>", "</answer>"
TAGS = ("<think>\n", "\n</think>\n", "\n<answer>\n", "\n</answer>")
"""What the format of answers without boxes asks for, each once; with these line breaks."""
NORMAL = 1000
"""Sides of normalised boxes."""


def element(text: str, first: bool = False) -> str | None:
    """Content of the last `<answer>...</answer>`; `first`: of the first. None: there is none."""
    start = text.find(OPENING) if first else text.rfind(OPENING)
    end = text.find(CLOSING, start) if start >= 0 else -1
    return text[start + len(OPENING) : end].strip() if end >= 0 else None


def four_tags(response: str) -> float:
    """A quarter for each of TAGS that is there exactly once."""
    return sum(response.count(tag) == 1 for tag in TAGS) / len(TAGS)


def one_element(response: str, published: bool) -> bool:
    """Whether there is one pair of answer tags.

    `published`: with its line breaks, and several opening ones pass, since the public code counts the closing
    one only.
    """
    if published:
        return "\n<answer>\n" in response and response.count("\n</answer>") == 1
    return response.count(OPENING) == response.count(CLOSING) == 1


def boxes_in(text: str | None, published: bool) -> list[Labelled]:
    """The boxes of a JSON list as V-Triune reads it: single quotes count as double ones, `[[` as `[`, a list
    that is cut off ends behind its last whole entry, entries that are no box with a label are passed over.

    Doubles are dropped; `published`: those with another label too, and inverted boxes, which else overlap
    nothing.
    """
    if text is None or not text.strip():
        return []
    text = text.lower().replace("[[", "[").replace("]]", "]")
    if not text.endswith("]"):
        text = text.rsplit("},", 1)[0] + "}]"
    try:
        entries = json.loads(text.replace("'", '"').replace("\\", ""), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return []
    found: dict[Any, Labelled] = {}
    for entry in entries if isinstance(entries, list) else []:
        if (each := _labelled(entry)) is None:
            continue
        if published and not (each.box[0] <= each.box[2] and each.box[1] <= each.box[3]):
            continue
        found.setdefault(each.box if published else each, each)
    return list(found.values())


def _labelled(entry: Any) -> Labelled | None:
    box, label = (entry.get("bbox_2d"), entry.get("label")) if isinstance(entry, dict) else (None, None)
    if (
        not isinstance(box, list)
        or len(box) != 4
        or not all(map(coordinate, box))
        or not isinstance(label, str)
    ):
        return None
    return Labelled((float(box[0]), float(box[1]), float(box[2]), float(box[3])), label)


def _refuse(name: str) -> Any:
    raise ValueError(name)


def normalised(box: Box, width: float, height: float, published: bool) -> Box:
    """Seen pixels as 0 to 1000 of each side; `published`: cut to whole numbers."""
    x1, y1, x2, y2 = (v / side * NORMAL for v, side in zip(box, (width, height) * 2, strict=True))
    return (int(x1), int(y1), int(x2), int(y2)) if published else (x1, y1, x2, y2)
