"""V-Triune's rows and VLAA-Thinking's types: worked numbers, weights of rows, gates, the gain over a gold."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rlvr_cli.core import progress
from rlvr_cli.core.progress import Progress
from rlvr_cli.core.types import Reason
from rlvr_cli.verifiers.boxes.published import boxes_in, four_tags, one_element
from rlvr_cli.verifiers.boxes.thresholds import Count
from rlvr_cli.verifiers.boxes.units import Unit
from rlvr_cli.verifiers.gain import Remembered, of_gain
from rlvr_cli.verifiers.vlaa import Vlaa
from rlvr_cli.verifiers.vtriune import Vtriune

ONE = [{"bbox_2d": [0, 0, 10, 10], "label": "cat"}]
TWO = [*ONE, {"bbox_2d": [50, 50, 60, 60], "label": "dog"}]
NINE = [{"bbox_2d": [0, 0, 10, 9], "label": "cat"}]


def said(answer: Any) -> str:
    text = answer if isinstance(answer, str) else json.dumps(answer)
    return f"<think>\nso\n</think>\n<answer>\n{text}\n</answer>"


def row(
    verifier: str = "detection", parm: dict[str, Any] | None = None, **ratios: float | None
) -> dict[str, Any]:
    struct = {
        "accuracy_ratio": None,
        "format_ratio": None,
        "verifier": verifier,
        "verifier_parm": parm,
    } | ratios
    return {"reward_model": struct}


def det(normalised: bool | None = None, **shares: float) -> dict[str, Any]:
    return {"det_verifier_normalized": normalised, "det_reward_ratio": shares}


def test_four_tags() -> None:
    whole = said(r"\boxed{5}")
    assert four_tags(whole) == 1.0
    assert four_tags("<think>\n" + whole) == 0.75  # a prompt that opens <think> and a response that does too
    assert four_tags(whole.replace("\n</think>\n", "\n</think>\n\n")) == 1.0 and four_tags("5") == 0
    assert (
        four_tags(whole.replace("\n</think>\n", "</think>")) == 0.5
    )  # the tag behind it lacks its break too
    twice = "\n<answer>\n" + said(ONE)
    assert (one_element(twice, False), one_element(twice, True), one_element(said(ONE), True)) == (
        False,
        True,
        True,
    )


def test_mathematics_and_the_weights_of_a_row() -> None:
    verifier = Vtriune()
    right = verifier.verify(said(r"\boxed{\text{Yes}}"), "yes", row("mathverify"))
    assert (right.score, right.judged, right.reason) == (1.0, 1.0, Reason.correct)
    assert right.more == {"accuracy": 1.0, "format": 1.0}
    wrong = verifier.verify(said(r"\boxed{6}"), "5", row("mathverify"))
    assert wrong.score == pytest.approx(0.1 / 1.1) and (wrong.judged, wrong.reason) == (0.0, Reason.wrong)
    free = verifier.verify(
        r"it is \boxed{5}", r"<answer>\boxed{5}</answer>", row("mathverify", format_ratio=0.0)
    )
    assert free.score == 1.0
    quarter = verifier.verify("<answer>\n\\boxed{5}\n</answer>", "5", row("mathverify", format_ratio=1.0))
    assert quarter.score == pytest.approx(0.5 + 0.5 * 0.25)
    for accuracy, form, a, f, wanted in (
        (0.75, 1, 1, 0.1, 0.7727),
        (0.75, 1, 0.9, 0.1, 0.775),
        (0.75, 1, 1, 1, 0.875),
    ):
        assert accuracy * a / (a + f) + form * f / (a + f) == pytest.approx(wanted, abs=5e-5)


def test_detection_by_the_worked_numbers() -> None:
    """Two of gold, one predicted with IoU .9: s .54, times .6; and its format counts a tenth."""
    shares, early = det(iou_max_iou_first=1.0, iou_completeness=0.3), {progress.KEY: Progress(1, 100)}
    found = Vtriune().verify(said(NINE), json.dumps(TWO), row(parm=shares) | early)
    assert found.judged == pytest.approx(0.324) and found.more["threshold"] == 0.85
    assert found.score == pytest.approx((0.324 + 0.1) / 1.1)
    for step, stage in ((10, 0.85), (11, 0.95), (25, 0.95), (26, 0.99)):
        now = Vtriune().verify(
            said(NINE), json.dumps(TWO), row(parm=shares) | {progress.KEY: Progress(step, 100)}
        )
        assert (now.more["threshold"], now.judged) == (stage, pytest.approx(0.324 if stage == 0.85 else 0.0))
    late = Vtriune().verify(said(NINE), json.dumps(TWO), row(parm=shares))
    assert late.judged == 0 and late.score == pytest.approx(0.1 / 1.1), "the form is there"
    average = Vtriune(count=Count.average).verify(said(NINE), json.dumps(TWO), row(parm=shares))
    assert average.judged == pytest.approx(9 / 11 * 0.324)
    mixed = det(map=1.0, map50=1.0, iou_max_label_first=2.0)  # 2 is no share: it counts 0
    only_map = Vtriune().verify(said(ONE), json.dumps(TWO), row(parm=mixed))
    assert only_map.judged == pytest.approx(0.6 * 0.5)


def test_slips_of_the_public_code_by_option() -> None:
    shares = det(iou_max_iou_first=1.0, iou_completeness=0.3)
    poor = [*ONE, {"bbox_2d": [50, 50, 53, 53], "label": "dog"}]
    early = row(parm=shares) | {progress.KEY: Progress(1, 100)}
    ours = Vtriune().verify(said(poor), json.dumps(TWO), early)
    theirs = Vtriune(published=True).verify(said(poor), json.dumps(TWO), early)
    assert (ours.judged, theirs.judged) == (0.5, 1.0)
    single = "[{'bbox_2d': [0, 0, 10, 10], 'label': 'Cat'}, {'bbox_2d': [0, 0, 10, 10], 'label': 'dog'}]"
    assert [each.label for each in boxes_in(single, False)] == ["cat", "dog"]
    assert [each.label for each in boxes_in(single, True)] == ["cat"]
    assert len(boxes_in('[{"bbox_2d": [0, 0, 1, 1], "label": "a"}, {"bbox_2d": [0, 0,', False)) == 1
    for nothing in (
        None,
        "",
        "[]",
        "[NaN]",
        "x",
        "[" * 10_000,
        '[{"bbox_2d": [1, 2, 3, Infinity], "label": "a"}]',
    ):
        assert boxes_in(nothing, False) == []


def test_normalised_boxes() -> None:
    """The model writes seen pixels, the gold is 0 to 1000; two different factors."""
    parm = det(True, iou_max_iou_first=1.0)
    gold = json.dumps([{"bbox_2d": [228, 320, 961, 970], "label": "cat"}])
    seen = [{"bbox_2d": [121, 116, 511, 353], "label": "cat"}]  # 364 x 532
    image = row(parm=parm) | {"image_grid_thw": [[1, 26, 38]], progress.KEY: Progress(1, 100)}
    assert Vtriune().verify(said(seen), gold, image).judged > 0.98
    assert Vtriune(boxes=Unit.per_mille).verify(said(seen), gold, image).judged == 0
    size = row(parm=parm) | {"image_size": [640, 428], progress.KEY: Progress(1, 100)}
    assert Vtriune(max_pixels=256 * 784).verify(said(seen), gold, size).judged > 0.98
    fault = Vtriune().check_gold(gold, row(parm=parm))
    assert fault is not None and "set boxes=per_mille" in fault
    assert Vtriune(boxes=Unit.per_mille).check_gold(gold, row(parm=parm)) is None


def test_other_verifiers_by_name_with_a_rows_own_options() -> None:
    """A struct of a parquet file has every key that any row has: null is absent."""
    parm = {"extraction": "answer_tags", "tolerance": None, "measure": None, "det_verifier_normalized": None}
    verifier = Vtriune()
    assert verifier.verify(said("three"), "3", row("counting", parm)).score == 1.0
    assert verifier.verify(said("ac"), "ab", row("ocr", {"measure": "similarity"})).judged == 0.5
    box = {"boxes": "pixels", "form": "numbers", "count": "dynamic"}
    assert verifier.verify(said("0 0 10 9"), "0 0 10 10", row("iou", box)).judged == 0
    early = row("iou", box) | {progress.KEY: Progress(1, 100)}
    assert verifier.verify(said("0 0 10 9"), "0 0 10 10", early).judged == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({}, "the row has no column 'reward_model' with a `verifier`"),
        (row("detektion", {}), "there is no verifier 'detektion'"),
        (row("counting", {"tolerance": 1}), "'counting' has no option 'tolerance'"),
        (
            row("ocr", {"measure": "anlss"}),
            "ocr: measure is 'anlss'; it must be one of anls, similarity, exact",
        ),
        (row("ocr", {"threshold": 10**400}), "int too large to convert to float"),
        (row("mathverify", accuracy_ratio=10**400), "it must be a number from 0 on"),
        (row("ocr", {"threshold": "half"}), "ocr: threshold is 'half'; it must be float"),
        (row("iou", {}), "'iou' needs the option boxes"),
        (row("reward_model", {"path": "m"}), "route to it with verifiers_by"),
        (row("mathverify", accuracy_ratio=0.0, format_ratio=0.0), "has no ratio above 0"),
        (row("mathverify", accuracy_ratio=-1.0), "accuracy_ratio -1.0; it must be a number from 0 on"),
        (
            {"reward_model": {"verifier": "mathverify", "verifier_parm": "{}"}},
            "the verifier_parm of its row is '{}'",
        ),
        (row(parm={"det_reward_ratio": [1.0]}), "the det_reward_ratio of its row is [1.0]"),
        (row(parm=det(map=3.0)), "`det_reward_ratio` of its row has no weight in (0, 1]"),
    ],
)
def test_rows_that_ask_for_what_is_not_there(columns: dict[str, Any], says: str) -> None:
    """Named before a run, and no verdict where nobody has looked."""
    assert says in str(Vtriune().check_gold(json.dumps(ONE), columns))
    found = Vtriune().verify(said(ONE), json.dumps(ONE), columns)
    assert found.reason is Reason.crash or "det_reward_ratio" in says


def test_vlaa_dispatches_by_type_and_needs_an_answer_in_its_tags() -> None:
    verifier = Vlaa(boxes=Unit.pixels)
    for kind, right, gold, row in (
        ("digit", "7", "7", {}),
        ("choice", "(b)", "B", {"options": ["x", "y"]}),
        ("math", r"\frac12", "0.5", {}),
        ("iou", json.dumps([{"bbox_2d": [0, 0, 10, 10]}]), "[0, 0, 10, 10]", {}),
    ):
        columns = {"type": kind} | row
        assert verifier.verify(f"<answer>{right}</answer>", gold, columns).score == 1
        for gone in (right, f"<answer>{right}", f"{right}</answer>"):
            found = verifier.verify(gone, gold, columns)
            assert found.score == 0 and found.reason in (Reason.no_answer, Reason.malformed)
    half = verifier.verify(
        '<answer>[{"bbox_2d": [5, 0, 15, 10]}]</answer>', "[0, 0, 10, 10]", {"type": "iou"}
    )
    assert half.score == pytest.approx(1 / 3)
    mapped = Vlaa(boxes=Unit.pixels, column="source", kinds={"clevr": "digit"})
    assert mapped.verify("<answer>7</answer>", "7", {"source": "clevr"}).score == 1
    assert "must be one of clevr" in str(mapped.check_gold("7", {"source": "docvqa"}))
    with pytest.raises(ValueError, match=r"kinds\.a is b"):
        Vlaa(boxes=Unit.pixels, kinds={"a": "b"})


def test_gain_over_the_gold() -> None:
    assert of_gain(2.3 - 1.5, 1.0) == pytest.approx(0.5507, abs=5e-5)
    assert of_gain(2.3 - 1.5, 0.5) == pytest.approx(0.3297, abs=5e-5)
    assert of_gain(0.0, 1.0) == of_gain(-3.0, 1.0) == 0.0 and of_gain(1e9, 1.0) == 1.0
    gains = [of_gain(n / 10, 0.7) for n in range(-5, 60)]
    assert gains == sorted(gains)


def test_a_golds_score_is_asked_for_once() -> None:
    asked: list[str] = []

    def ask(rows: list[tuple[str, dict[str, Any]]]) -> list[tuple[float, float]]:
        asked.extend(gold for gold, _ in rows)
        return [(float(len(gold)), 0.0) for gold, _ in rows]

    memory = Remembered()
    rows: dict[bytes, tuple[str, dict[str, Any]]] = {b"a": ("x", {}), b"b": ("yy", {})}
    assert [score for score, _ in memory.of(rows, [b"a", b"b", b"a"], ask)] == [1, 2, 1]
    assert [score for score, _ in memory.of(rows, [b"b"], ask)] == [2] and asked == ["x", "yy"]
