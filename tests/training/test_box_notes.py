"""What is said of gold boxes before a run where each row declares how its own are written."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from rlvr_cli.core.types import Problem
from rlvr_cli.training.box_checks import box_notes
from rlvr_cli.verifiers.boxes.units import Unit
from rlvr_cli.verifiers.vtriune import Vtriune

SIZE = (400, 300)


def problems(
    written: str, normalised: bool | None, count: int = 60, verifier: str = "detection"
) -> list[Problem]:
    """Boxes all over an image of 400 x 300 that the model sees as 392 x 280."""
    rng, found = Random(5), []
    span = {"per_mille": (1000, 1000), "seen": (392, 280), "fraction": (1, 1)}[written]
    for n in range(count):
        x, y = (sorted(rng.uniform(0, 1) for _ in range(2)) for _ in "xy")
        box = [round(v * side, 3) for v, side in zip((x[0], y[0], x[1], y[1]), span * 2, strict=True)]
        judged: dict[str, Any] = {"verifier": verifier, "verifier_parm": {"det_reward_ratio": {"map": 1.0}}}
        judged["verifier_parm"]["det_verifier_normalized"] = normalised
        if verifier != "detection":
            judged["verifier_parm"] = {"gold": "pixels", "boxes": "pixels"}
        extra = {"reward_model": judged, "image_size": [*SIZE], "image_grid_thw": [1, 20, 28]}
        answer = json.dumps([{"bbox_2d": box, "label": "cat"}])
        found.append(
            Problem(id=f"{n}", prompt="?", tokens=[], answer=answer, source="s", verifiers=["v"], extra=extra)
        )
    return found


@pytest.mark.parametrize(
    ("written", "normalised", "said"),
    [
        ("per_mille", True, None),
        ("seen", None, None),
        (
            "per_mille",
            False,
            "all fit per_mille xyxy: set reward_model.verifier_parm.det_verifier_normalized of",
        ),
        (
            "seen",
            True,
            "all fit seen xyxy: set reward_model.verifier_parm.det_verifier_normalized of these rows",
        ),
        ("fraction", True, "all fit fraction xyxy: write them in 0-1000, x before y, with reward_model."),
    ],
)
def test_rows_that_say_how_their_boxes_are_written(
    written: str, normalised: bool | None, said: str | None
) -> None:
    notes = box_notes(problems(written, normalised), [], {"v": Vtriune(boxes=Unit.seen)})
    if said is None:
        assert notes == []
        return
    [line] = notes
    assert said in line and "gold boxes" in line and "\n" not in line
    assert line.endswith("to true" if normalised is False else "to false" if written == "seen" else "true")


def test_each_declaration_has_its_own_line_and_other_rows_none() -> None:
    judge = Vtriune(boxes=Unit.seen)
    others = problems("per_mille", None, 20)
    for each in others:
        each.extra["reward_model"] = {"verifier": "mathverify"}
        each.answer = "[12, 900]"
    rows = problems("per_mille", False) + problems("seen", True) + others
    notes = box_notes(rows, [], {"v": judge})
    assert len(notes) == 2 and "as seen xyxy" in notes[0] and "as per_mille xyxy" in notes[1]
    assert box_notes(problems("per_mille", True) + others, [], {"v": judge}) == []


def test_a_row_may_name_another_verifier_of_boxes() -> None:
    [line] = box_notes(problems("per_mille", None, verifier="iou"), [], {"v": Vtriune(boxes=Unit.seen)})
    assert "reach out of their images as pixels xyxy" in line and "all fit per_mille xyxy" in line
