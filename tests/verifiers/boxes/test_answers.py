"""Answers with boxes and points: forms, units, thresholds over a run, and what a policy may write instead."""

from __future__ import annotations

import json
from time import process_time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr_cli.core import progress
from rlvr_cli.core.progress import Progress
from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.schema import Verification
from rlvr_cli.verifiers.boxes.reader import Form, read_boxes, read_points
from rlvr_cli.verifiers.boxes.thresholds import Count
from rlvr_cli.verifiers.boxes.units import Order, Unit, size_seen
from rlvr_cli.verifiers.detection import Detection
from rlvr_cli.verifiers.iou import Earns, Iou
from rlvr_cli.verifiers.pointing import Pointing, Want
from rlvr_cli.verifiers.pool import Pool
from rlvr_cli.verifiers.rejected import Rejected
from rlvr_cli.verifiers.user_code.case import Surroundings

KEYS = ("bbox_2d", "label")
GOLD = "[14, 7, 35, 28]"
IMAGE = {"image_size": [640, 428]}


def said(text: Any) -> str:
    return f"<think>so</think>\n<answer>\n{text if isinstance(text, str) else json.dumps(text)}\n</answer>"


def listed(*boxes: list[float], label: str = "cat") -> list[dict[str, Any]]:
    return [{"bbox_2d": box, "label": label} for box in boxes]


@pytest.mark.parametrize(
    ("form", "order", "text"),
    [
        (Form.json, Order.xyxy, '[{"bbox_2d": [14, 7, 35, 28], "label": "Red  cat"}]'),
        (
            Form.json,
            Order.xyxy,
            'Here:\n```json\n{"bbox_2d": [14, 7, 35, 28], "label": "red cat", "score": 1}\n```',
        ),
        (Form.json, Order.xywh, '[{"bbox_2d": [14, 7, 21, 21], "label": "red cat"}]'),
        (Form.internvl, Order.xyxy, "<ref>red cat</ref><box>[[14, 7, 35, 28]]</box>"),
        (
            Form.qwen2,
            Order.xyxy,
            "<|object_ref_start|>red cat<|object_ref_end|><|box_start|>(14,7),(35,28)<|box_end|>",
        ),
        (Form.loc, Order.yxyx, "<loc0007><loc0014><loc0028><loc0035> red cat"),
        (Form.numbers, Order.xyxy, "14 07 35 28"),
        (Form.numbers, Order.xyxy, "[14.0, 7, 35.0, 28]"),
        (Form.json, Order.xyxy, "[14, 7, 35, 28]"),
    ],
)
def test_forms(form: Form, order: Order, text: str) -> None:
    [found] = read_boxes(text, form, order, 1, KEYS)
    assert found.box == (14, 7, 35, 28)
    assert found.label == ("" if form is Form.numbers or text[1] == "1" else "red cat")


def test_several_and_points() -> None:
    two = "<ref>a</ref><box>[[1, 2, 3, 4], [5, 6, 7, 8]]</box> <ref>b</ref><box>[[0,0,1,1]]</box>"
    assert [each.label for each in read_boxes(two, Form.internvl, Order.xyxy, 9, KEYS)] == ["a", "a", "b"]
    molmo = '<points x1="61.5" y1="40.4" x2="1" y2="2" alt="cat">cat</points>'
    assert [p for p, _ in read_points(molmo, Form.molmo, False, 9, KEYS)] == [(61.5, 40.4), (1, 2)]
    one = '<point x="61.5" y="40.4" alt="cat">cat</point>'
    assert read_points(one, Form.molmo, False, 9, KEYS) == [((61.5, 40.4), "cat")]
    assert read_points("[[2, 4, 4, 8], [1, 2]]", Form.json, True, 9, KEYS)[0][0] == (6, 3)


BAD = [
    *("", "no box", "14 7 35", "14 7 35 28 and more", "14, 7, 35, 2e9", "1 2 3 99999999999", "nan 1 2 3"),
    *("1.2.3 4 5 6", "[14, 7, 35, 28", '[{"bbox_2d": [14, 7, 35]}]', '[{"bbox_2d": [NaN, 7, 35, 28]}]'),
    *(
        '[{"bbox_2d": [1e999, 7, 35, 28]}]',
        '[{"bbox_2d": [Infinity, 7, 35, 28]}]',
        '{"box": [14, 7, 35, 28]}',
    ),
    *('[{"bbox_2d": [true, 7, 35, 28]}]', '[{"bbox_2d": "14 7 35 28"}]', "[{}]", "null", "3", "9" * 100_000),
    *('[{"bbox_2d": [14, 7, 35, 28], "label": 3}]', '[{"bbox_2d": [' + "9" * 9000 + ", 1, 2, 3]}]"),
    *("[" * 100_000, '{"a":' * 50_000, "<box>[[1,2,3]]</box>", "<loc0001><loc0002><loc0003>"),
    *('<point x="1">a</point>', "<|box_start|>(1,2),(3)<|box_end|>"),
]


@pytest.mark.parametrize("form", [form for form in Form if form is not Form.molmo])
def test_what_is_no_box_is_refused_cheaply(form: Form) -> None:
    units = {"boxes": Unit.bins, "order": Order.yxyx} if form is Form.loc else {"boxes": Unit.pixels}
    verifier = Iou(form=form, gold=units["boxes"], **units)  # type: ignore[arg-type]
    started = process_time()
    for text in BAD:
        if form is Form.numbers and text == "[14, 7, 35, 28":  # brackets separate numbers there
            continue
        verdict = verifier.verify(said(text), GOLD, {})
        assert verdict.score == 0 and verdict.reason in (
            Reason.malformed,
            Reason.no_answer,
            Reason.refused,
        ), text
    assert process_time() - started < 5


def test_inverted_degenerate_and_duplicate_boxes() -> None:
    iou, detection = Iou(boxes=Unit.pixels), Detection(boxes=Unit.pixels, count=Count.fixed)
    for box in ([35, 28, 14, 7], [14, 28, 35, 7], [14, 7, 14, 28]):
        found = iou.verify(said(listed(box)), GOLD, {})
        assert (found.score, found.reason, found.more["iou"]) == (0, Reason.wrong, 0)
    gold = json.dumps(listed([14, 7, 35, 28]))
    right = detection.verify(said(listed([14, 7, 35, 28])), gold, {}).score
    assert right == detection.verify(said(listed(*[[14, 7, 35, 28]] * 9)), gold, {}).score == 1
    inverted = listed([14, 7, 35, 28], [35, 28, 14, 7])
    assert detection.verify(said(inverted), gold, {}).score == pytest.approx(0.6 * (0.7 + 0.3 * 0.75))
    assert iou.verify(said(listed([14, 7, 35, 28], [1, 2, 3, 4])), GOLD, {}).reason is Reason.refused


def test_ten_thousand_boxes_take_bounded_time() -> None:
    many = said(listed(*([n, 0, n + 5, 5] for n in range(10_000))))
    gold = json.dumps(listed(*([9 * n, 0, 9 * n + 5, 5] for n in range(20))))
    started = process_time()
    found = Detection(boxes=Unit.pixels).verify(many, gold, {})
    assert (found.score, found.reason) == (0, Reason.refused) and "10000 boxes" in found.detail
    most = said(listed(*([n, 0, n + 5, 5] for n in range(500))))
    assert Detection(boxes=Unit.pixels).verify(most, gold, {}).score < 1e-90
    assert process_time() - started < 10


def test_units_are_declared_and_never_guessed() -> None:
    gold = "[146, 137, 615, 415]"
    for unit, box in (
        (Unit.pixels, [146, 137, 615, 415]),
        (Unit.seen, [146.9125, 134.4392523, 618.84375, 407.2429907]),
        (Unit.per_mille, [228.125, 320.0934579, 960.9375, 969.6261682]),
        (Unit.fraction, [0.228125, 0.3200934579, 0.9609375, 0.9696261682]),
        (Unit.percent, [22.8125, 32.00934579, 96.09375, 96.96261682]),
    ):
        assert Iou(boxes=unit).verify(said(listed(box)), gold, IMAGE).score == pytest.approx(1, abs=1e-6), (
            unit
        )
    # The grid says what the model saw, whatever the limits here are.
    grid = {"image_size": [640, 428], "image_grid_thw": [[1, 26, 38]]}
    assert Iou(boxes=Unit.seen).verify(said(listed([121, 117, 511, 353])), gold, grid).score > 0.99
    forgotten = Iou(boxes=Unit.pixels).verify(said(listed([121, 117, 511, 353])), gold, grid)
    assert forgotten.score == pytest.approx(0.5491, abs=1e-4)
    lost = Iou(boxes=Unit.seen).verify(said(listed([121, 117, 511, 353])), gold, {})
    assert lost.reason is Reason.crash and "take the size of the image" in lost.detail
    for size in ({}, {"image_size": [10**400, 428]}):
        assert "image_size" in str(Iou(boxes=Unit.seen).check_gold(gold, size))
    beyond = Iou(boxes=Unit.pixels).verify(said(listed([10, 10, 900, 400])), gold, IMAGE)
    assert beyond.more["outside"] == 1 and forgotten.more["outside"] == 0


def test_golds_out_of_a_column_and_in_another_order() -> None:
    coco = Iou(boxes=Unit.pixels, gold_column="bbox", gold_order=Order.xywh)
    assert coco.verify(said(listed([42, 1102, 239, 1172])), "", {"bbox": [42, 1102, 197, 70]}).score == 1
    assert coco.check_gold("", {"bbox": [42, 1102, 197, 70]}) is None
    assert "no column 'bbox'" in str(coco.check_gold("", {}))
    assert "has no area" in str(Iou(boxes=Unit.pixels).check_gold("42 1102 39 70", {}))
    assert "2 boxes" in str(Iou(boxes=Unit.pixels).check_gold("1 2 3 4 5 6 7 8", {}))


def test_thresholds() -> None:
    overlap = {0.9: [0, 0, 10, 9], 0.96: [0, 0, 10, 9.6], 1.0: [0, 0, 10, 10]}

    def scores(verifier: Iou, told: Progress | None = None) -> list[float]:
        extra = {} if told is None else {progress.KEY: told}
        return [
            round(verifier.verify(said(listed(b)), "0 0 10 10", extra).score, 4) for b in overlap.values()
        ]

    pixels: dict[str, Any] = {"boxes": Unit.pixels}
    assert scores(Iou(**pixels)) == [0.9, 0.96, 1]
    assert scores(Iou(**pixels, count=Count.fixed, threshold=0.95)) == [0, 0.96, 1]
    assert scores(Iou(**pixels, count=Count.fixed, threshold=0.95, earns=Earns.one)) == [0, 1, 1]
    assert scores(Iou(**pixels, count=Count.average, earns=Earns.one)) == [
        round(9 / 11, 4),
        round(10 / 11, 4),
        1,
    ]
    assert scores(Iou(**pixels, earns=Earns.giou)) == [0.95, 0.98, 1]
    dynamic = Iou(**pixels, count=Count.dynamic)
    for step, stage in ((0, 0.85), (10, 0.85), (11, 0.95), (25, 0.95), (26, 0.99), (100, 0.99)):
        assert dynamic.counted_from({progress.KEY: Progress(step, 100)}) == [stage]
        assert scores(dynamic, Progress(step, 100)) == [o if o >= stage else 0 for o in overlap]
    assert dynamic.counted_from({}) == [0.99], "where nothing is trained the last stage holds"
    assert Iou(**pixels, count=Count.dynamic, at=0.05).counted_from({}) == [0.85]
    assert dynamic.counted_from({progress.KEY: {"step": 1, "total_steps": 100}}) == [0.99], (
        "a column is no progress"
    )
    verdict = dynamic.verify(said(listed([0, 0, 10, 9])), "0 0 10 10", {progress.KEY: Progress(1, 100)})
    assert verdict.more == {"iou": 0.9, "threshold": 0.85}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"count": Count.fixed, "threshold": 0.0}, "threshold is 0.0; an IoU is above 0 and at most 1"),
        (
            {"stages": [0.9, 0.95]},
            "stages has 2 entries and stage_ends 2; every stage but the last has an end",
        ),
        ({"stage_ends": [0.5, 0.2]}, "stage_ends is [0.5, 0.2]; shares of the run rise"),
        ({"at": 2.0}, "at is 2.0; a share of the run is from 0 to 1"),
        ({"form": Form.loc}, "form=loc writes bins, y first: set boxes=bins and order=yxyx"),
        ({"max_pixels": 10}, "max_pixels is 10, below min_pixels"),
        ({"form": Form.molmo}, "form=molmo has points and no boxes"),
        ({"earns": Earns.one}, "earns=one scores every box 1 with count=soft"),
        ({"earns": Earns.giou, "count": Count.fixed}, "earns=giou rewards boxes that do not overlap"),
    ],
)
def test_settings_that_contradict_each_other(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError) as caught:
        Iou(boxes=Unit.pixels, **settings)
    assert says in str(caught.value)


def test_pointing() -> None:
    two = json.dumps([[0, 0, 10, 10], [20, 0, 30, 10]])

    def verdict(points: list[list[float]], want: Want, gold: str = two) -> Verdict:
        return Pointing(boxes=Unit.pixels, want=want).verify(
            said([{"point_2d": p} for p in points]), gold, {}
        )

    assert verdict([[5, 5]], Want.one).score == verdict([[10, 10]], Want.one).score == 1  # edges count
    assert verdict([[15, 5]], Want.one).score == verdict([[-1, 5]], Want.one).score == 0
    assert verdict([[5, 5], [5, 6]], Want.one).reason is Reason.refused
    assert verdict([[5, 5], [15, 5]], Want.first).score == 1
    assert verdict([[5, 5], [15, 5]], Want.share).score == 0.5
    assert verdict([[25, 5], [5, 5]], Want.each).score == 1
    assert verdict([[5, 5], [6, 6]], Want.each).score == verdict([[5, 5]], Want.each).score == 0
    over = json.dumps([[0, 0, 10, 10], [0, 0, 30, 10]])
    assert verdict([[5, 5], [25, 5]], Want.each, over).score == 1  # the first point must leave the wide box
    ring = json.dumps({"mask": [[1, 1, 1], [1, 0, 1], [1, 1, 1]]})
    assert verdict([[1.5, 1.5]], Want.one, ring).score == 0 and verdict([[2.9, 0]], Want.one, ring).score == 1
    molmo = Pointing(boxes=Unit.percent, form=Form.molmo)
    assert molmo.verify(said('<point x="50" y="50" alt="a">a</point>'), "310 210 330 220", IMAGE).score == 1
    centre = Pointing(boxes=Unit.pixels, box_key="bbox_2d")
    assert centre.verify(said(listed([0, 0, 4, 4])), "1 1 3 3", {}).score == 1
    assert "no target" in str(centre.check_gold("[", {})) and "pixels" in str(
        Pointing(boxes=Unit.per_mille, gold=Unit.per_mille).check_gold(ring, {})
    )


def test_self_tests_hold() -> None:
    coco = json.dumps(listed([14, 7, 35, 28], [1, 2, 3, 4]))
    for verifier, gold in (
        (Iou(boxes=Unit.seen), GOLD),
        (Iou(boxes=Unit.per_mille, form=Form.qwen2), GOLD),
        (Iou(boxes=Unit.fraction, form=Form.numbers, order=Order.xywh), GOLD),
        (Detection(boxes=Unit.percent), coco),
        (Detection(boxes=Unit.per_mille, form=Form.internvl, map=1.0), coco),
        (Pointing(boxes=Unit.seen), GOLD),
        (Pointing(boxes=Unit.seen, want=Want.each, order=Order.yxyx), "[[14, 7, 35, 28], [1, 2, 3, 4]]"),
    ):
        assert verifier.check_gold(gold, IMAGE) is None
        right = verifier.gold_responses(gold, IMAGE)
        assert right and all(verifier.verify(text, gold, IMAGE).score > 0.9999 for text in right)
        assert not any(verifier.verify(text, gold, IMAGE).score for text in verifier.mutate(gold, IMAGE))


@settings(max_examples=40, deadline=None)
@given(st.text('0123456789[]{},.-: "boxlabe_d2<>/|()', max_size=40), st.sampled_from(Form))
def test_no_text_makes_a_reader_raise(text: str, form: Form) -> None:
    for read in (read_boxes, read_points):
        try:
            read(text, form, Order.xyxy if read is read_boxes else False, 9, KEYS)  # type: ignore[operator]
        except Rejected as rejected:
            assert rejected.verdict.score == 0


def test_progress_reaches_the_verifiers_that_train_and_no_others() -> None:
    dynamic = Iou(boxes=Unit.pixels, count=Count.dynamic)
    around = Surroundings(steps=100, trained_by=frozenset({"iou"}))
    with Pool({"iou": dynamic, "bench": dynamic}, Verification(workers=1), around=around) as pool:
        for finished, stage in ((0, 0.85), (9, 0.85), (10, 0.95), (24, 0.95), (25, 0.99), (99, 0.99)):
            pool.around.step = finished  # the next one is the step that the responses are for
            for name, wanted in (("iou", stage), ("bench", 0.99)):
                one = pool.submit(name, said(listed([0, 0, 10, 9])), "0 0 10 10", {"rlvr.progress": "x"})
                [group] = pool.submit_group(name, [said(listed([0, 0, 10, 9]))], "0 0 10 10", {})
                assert one.result(9).more["threshold"] == group.result(9).more["threshold"] == wanted
    for bad in ((-1, 5), (6, 5), (0, 0)):
        with pytest.raises(ValueError, match="it must be from 0 to total_steps"):
            Progress(*bad)


def test_the_size_that_a_run_has_shown_needs_no_patch() -> None:
    """A grid of 8 x 8 patches of 7 pixels, read with the default patch of 14, would be twice as large."""
    row: dict[str, Any] = {"image_size": [112, 112], "image_grid_thw": [1, 8, 8]}
    shown = row | {"images": [{"width": 112, "height": 112, "seen_width": 56, "seen_height": 56}]}
    verifier = Iou(boxes=Unit.seen)
    said = '<answer>[{"bbox_2d": [7, 14, 28, 42]}]</answer>'
    assert verifier.verify(said, "14 28 56 84", shown).score == 1.0
    assert verifier.verify(said, "14 28 56 84", row).score < 1.0
    assert size_seen([]) is size_seen(["a.png"]) is size_seen(None) is None
