"""Boxes and points out of an answer's text, by one declared form.

Forms are never tried one after the other, and an answer is read as a whole: what stands beside the boxes, a
number that is none, a list that is not closed make it `malformed`. Linear in the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from enum import Enum
from math import isfinite
from typing import Any

from rlvr_cli.core.types import Reason
from rlvr_cli.verifiers.boxes.geometry import Point
from rlvr_cli.verifiers.boxes.matching import Labelled
from rlvr_cli.verifiers.boxes.units import Order, in_order
from rlvr_cli.verifiers.rejected import Rejected

LARGEST = 1e7
"""A coordinate beyond it is none: products of such stay far from overflow."""


class Form(Enum):
    json = "json"
    """`[{"bbox_2d": [x1, y1, x2, y2], "label": "cat"}]`, one object, or bare lists; also in a code fence
    (Qwen2.5-VL, Qwen3-VL, GLM)."""
    internvl = "internvl"
    """`<ref>cat</ref><box>[[x1, y1, x2, y2]]</box>`"""
    qwen2 = "qwen2"
    """`<|object_ref_start|>cat<|object_ref_end|><|box_start|>(x1,y1),(x2,y2)<|box_end|>` (Qwen2-VL)"""
    loc = "loc"
    """`<loc0256><loc0128><loc0768><loc0896> cat ; ...` (PaliGemma)"""
    molmo = "molmo"
    """`<point x="61.5" y="40.4" alt="cat">cat</point>` or, of several, `x1= y1= x2= ...`: points only."""
    numbers = "numbers"
    """Numbers and what separates them: `14 07 35 28`, `[12.5, 3, 40, 9]`; no labels."""


_NUMBER = r"[-+]?(?:[0-9]{1,9}(?:\.[0-9]{1,9})?|\.[0-9]{1,9})"
_NUMBERS = re.compile(_NUMBER + r"(?![0-9.])")
_BESIDE = re.compile(r"[\s,;|()\[\]<>/]*+")
_FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*?)\n?[ \t]*```", re.DOTALL)
_INTERNVL = re.compile(r"\s*+(?:<ref>([^<]{0,200})</ref>)?\s*+<box>([^<]*+)</box>")
_QWEN2 = re.compile(
    r"\s*+(?:<\|object_ref_start\|>([^<]{0,200})<\|object_ref_end\|>)?\s*+<\|box_start\|>([^<]*+)<\|box_end\|>"
)
_LOC = re.compile(r"\s*+((?:<loc[0-9]{4}>){4})\s*+([^<;]{0,200})(?:;|\Z)")
_MOLMO = re.compile(
    r"\s*+<points?((?:\s++[a-z]+[0-9]{0,4}=\"[^\"<>]{0,200}\")++)\s*+>([^<]{0,200})</points?>"
)
_ATTRIBUTE = re.compile(r"\s([a-z]+)([0-9]{0,4})=\"([^\"]*)\"")


def read_boxes(text: str, form: Form, order: Order, most: int, keys: tuple[str, str]) -> list[Labelled]:
    """All boxes of a text, labels in lower case. Rejected: it is not in the form, or has more than `most`.

    `keys`: those of box and label in JSON.
    """
    return [Labelled(in_order(each, order), label) for each, label in _read(text, form, 4, most, keys)]


def read_points(text: str, form: Form, yx: bool, most: int, keys: tuple[str, str]) -> list[tuple[Point, str]]:
    """All points of a text; where the form has four numbers in a place, the centre of that box.

    `yx`: y stands first.
    """
    found = []
    for numbers, label in _read(text, form, 2, most, keys):
        if len(numbers) == 4:
            numbers = [(numbers[0] + numbers[2]) / 2, (numbers[1] + numbers[3]) / 2]
        found.append(((numbers[1], numbers[0]) if yx else (numbers[0], numbers[1]), label))
    return found


def _read(
    text: str, form: Form, size: int, most: int, keys: tuple[str, str]
) -> list[tuple[list[float], str]]:
    found = _READERS[form](text, size, keys)
    if len(found) > most:
        raise Rejected(Reason.refused, f"{len(found)} boxes or points; at most {most} are looked at")
    return [(numbers, " ".join(label.lower().split())) for numbers, label in found]


def malformed(why: str, text: str) -> Rejected:
    return Rejected(Reason.malformed, why, text[:300])


# ------------------------------------------------------------------------------------------------- JSON


def from_json(text: str) -> Any:
    """What JSON text says; Rejected for all else, NaN and numbers without end included."""
    fenced = _FENCE.search(text) if "```" in text else None
    try:
        return json.loads(fenced[1] if fenced else text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise malformed(f"no JSON: {str(error)[:100]}", text) from None


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no coordinate")


def coordinate(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= LARGEST and isfinite(value)


def _json(text: str, size: int, keys: tuple[str, str]) -> list[tuple[list[float], str]]:
    value = from_json(text)
    if isinstance(value, dict) or (
        isinstance(value, list) and value and not isinstance(value[0], list | dict)
    ):
        value = [value]
    if not isinstance(value, list):
        raise malformed("no list of boxes", text)
    return [_of_json(each, size, keys, text) for each in value]


def _of_json(item: Any, size: int, keys: tuple[str, str], text: str) -> tuple[list[float], str]:
    label = ""
    if isinstance(item, dict):
        label = item.get(keys[1], "")
        item = item.get(keys[0])
    wanted = (2, 4) if size == 2 else (4,)
    if not isinstance(item, list) or len(item) not in wanted or not all(map(coordinate, item)):
        raise malformed(f"an entry of the list has no {size} numbers under '{keys[0]}'", text)
    if not isinstance(label, str):
        raise malformed(f"a '{keys[1]}' is no text", text)
    return [float(number) for number in item], label


# ------------------------------------------------------------------------------------------------- text


def _numbers(text: str, size: int, keys: tuple[str, str]) -> list[tuple[list[float], str]]:
    return [(group, "") for group in _grouped(_all_numbers(text), size, text)]


def _all_numbers(text: str) -> list[float]:
    """The numbers of a text that has nothing else in it but what separates numbers."""
    found, at = [], _BESIDE.match(text).end()  # type: ignore[union-attr]
    while at < len(text):
        number = _NUMBERS.match(text, at)
        if number is None or abs(float(number[0])) > LARGEST:
            raise malformed(f"{text[at : at + 20]!r} is no number", text)
        found.append(float(number[0]))
        beside = _BESIDE.match(text, number.end())
        at = beside.end() if beside else number.end()
        if at == number.end() and at < len(text):
            raise malformed(f"{text[at : at + 20]!r} follows a number", text)
    return found


def _grouped(numbers: Sequence[float], size: int, text: str) -> list[list[float]]:
    if not numbers or len(numbers) % size:
        raise malformed(f"{len(numbers)} numbers; there must be {size} each", text)
    return [list(numbers[n : n + size]) for n in range(0, len(numbers), size)]


def _parts(pattern: re.Pattern[str], text: str) -> list[re.Match[str]]:
    """What matches one after the other, with nothing between."""
    found, at = [], 0
    end = len(text.rstrip())
    while at < end:
        part = pattern.match(text, at)
        if part is None:
            raise malformed(f"{text[at : at + 20]!r} is not in the form", text)
        found.append(part)
        at = part.end()
    if not found:
        raise malformed("it is empty", text)
    return found


def _internvl(text: str, size: int, keys: tuple[str, str]) -> list[tuple[list[float], str]]:
    return [
        (group, part[1] or "")
        for part in _parts(_INTERNVL, text)
        for group in _grouped(_all_numbers(part[2]), 4, text)
    ]


def _qwen2(text: str, size: int, keys: tuple[str, str]) -> list[tuple[list[float], str]]:
    found = []
    for part in _parts(_QWEN2, text):
        numbers = _all_numbers(part[2])
        found += [
            (group, part[1] or "") for group in _grouped(numbers, 2 if len(numbers) == size == 2 else 4, text)
        ]
    return found


def _loc(text: str, size: int, keys: tuple[str, str]) -> list[tuple[list[float], str]]:
    return [
        ([float(number) for number in re.findall(r"[0-9]{4}", part[1])], part[2])
        for part in _parts(_LOC, text)
    ]


def _molmo(text: str, size: int, keys: tuple[str, str]) -> list[tuple[list[float], str]]:
    if size == 4:
        raise malformed("the form molmo has points and no boxes", text)
    found = []
    for part in _parts(_MOLMO, text):
        axes: dict[str, dict[str, float]] = {"x": {}, "y": {}}
        for name, number, value in _ATTRIBUTE.findall(part[1]):
            if name in axes:
                if not re.fullmatch(_NUMBER, value.strip()):
                    raise malformed(f"{value[:20]!r} is no number", text)
                axes[name][number] = float(value)
        if not axes["x"] or list(axes["x"]) != list(axes["y"]):
            raise malformed("a point lacks its x or its y", text)
        found += [([axes["x"][n], axes["y"][n]], part[2]) for n in axes["x"]]
    return found


_READERS = {
    Form.json: _json,
    Form.internvl: _internvl,
    Form.qwen2: _qwen2,
    Form.loc: _loc,
    Form.molmo: _molmo,
    Form.numbers: _numbers,
}
