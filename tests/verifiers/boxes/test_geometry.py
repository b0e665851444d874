"""Overlap, matching, average precision, resizes: the worked numbers, and what holds for all boxes."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr_cli.verifiers.boxes.average_precision import average_precisions
from rlvr_cli.verifiers.boxes.detection import Detected, Weights, detected
from rlvr_cli.verifiers.boxes.geometry import Box, giou, holds, iou
from rlvr_cli.verifiers.boxes.masks import inside, mask_of
from rlvr_cli.verifiers.boxes.matching import (
    Labelled,
    iou_first,
    label_first,
    overlaps,
    published_iou_first,
    tally,
)
from rlvr_cli.verifiers.boxes.units import Order, Resize, Sizes, Unit, factors, in_order, scaled

A: Box = (0, 0, 10, 10)
FAR: Box = (50, 50, 60, 60)
HUB = Resize(28, 3136, 12_845_056)
CLASS = Resize(28, 3136, 1_003_520)
SMALL = Resize(28, 3136, 256 * 784)
QWEN3 = Resize(32, 65_536, 16_777_216)
QWEN3_SMALL = Resize(32, 65_536, 1_310_720)
ONLY_IOU = Weights(iou_first=1, label_first=0, map=0, map50=0, map75=0, completeness=0.3)
ONLY_LABEL = Weights(iou_first=0, label_first=1, map=0, map50=0, map75=0, completeness=0.3)


def boxes(*given: Box, label: str = "a") -> list[Labelled]:
    return [Labelled(box, label) for box in given]


def score(
    predicted: list[Labelled],
    gold: list[Labelled],
    threshold: float,
    weights: Weights = ONLY_IOU,
    published: bool = False,
) -> Detected:
    return detected(predicted, gold, [threshold], weights, 0.6, published)


def test_worked_overlaps() -> None:
    for a, b, wanted in (
        (A, (5, 0, 15, 10), 1 / 3),
        (A, (2, 2, 8, 8), 0.36),
        (A, (10, 0, 20, 10), 0.0),  # touching
        ((3, 3, 3, 3), (3, 3, 3, 3), 0.0),  # without area, and never NaN
        (A, A, 1.0),
        (A, (9, 0, 19, 10), 10 / 190),  # one pixel in common counts
        ((10, 40, 30, 60), (40, 10, 60, 30), 0.0),  # axes exchanged
        ((10, 10, 0, 0), A, 0.0),  # both sides negative: their product is not
        ((0, 0, 100, 100), (1, 0, 101, 100), 99 / 101),
        ((0, 0, 100, 100), (1, 1, 101, 101), 9801 / 10199),
        ((0, 0, 500, 500), (1, 1, 501, 501), 249001 / 250999),
    ):
        assert iou(a, b) == pytest.approx(wanted, abs=1e-12)
    assert giou(A, (20, 0, 30, 10)) == pytest.approx(-1 / 3)
    assert giou(A, (5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert giou((3, 3, 3, 3), (3, 3, 3, 3)) == 0 and giou((0, 0, 0, 0), (5, 5, 5, 5)) == -1


def test_worked_matchings() -> None:
    predicted, gold = boxes(A, (50, 50, 53, 53)), boxes(A, FAR)
    right, published = score(predicted, gold, 0.5), score(predicted, gold, 0.5, published=True)
    assert (right.score, published.score) == (0.5, 1.0)
    assert right.measures["mean_iou"] == right.measures["precision_50"] == right.measures["recall_50"] == 0.5
    cat, dog = Labelled(A, "cat"), Labelled(FAR, "dog")
    assert score([cat, dog], [dog, cat], 0.5).score == 1.0
    found = published_iou_first([cat, dog], [dog, cat], overlaps([cat, dog], [dog, cat]), 0.5)
    assert sum(match.iou for match in found) == 0.0  # as the public code has it
    mine, theirs = [Labelled(A, "dog")], [Labelled(A, "cat")]
    assert score(mine, theirs, 0.5).score == pytest.approx(0.3)  # used up, and counts nothing
    assert score(mine, theirs, 0.5, ONLY_LABEL).score == 0.0
    nine = score(boxes((0, 0, 10, 9)), gold, 0.85)
    assert nine.parts["iou_first"] == pytest.approx(0.54) and nine.score == pytest.approx(0.324)
    counts = tally(iou_first(boxes((0, 0, 10, 9)), gold, [[0.9, 0.0]], 0.85), 1, 2)
    assert (counts.mean_iou, counts.recall, counts.precision, counts.completeness) == (0.45, 0.5, 1.0, 0.75)
    assert score(boxes((0, 0, 10, 9)), gold, 0.95).score == 0.0
    assert score(boxes(FAR), boxes(A), 0.5).score == 0.0  # a miss and a false alarm: completeness 0


def test_greedy_is_not_the_best_assignment() -> None:
    predicted, gold = boxes((2, 0, 12, 10), (-4, 0, 6, 10)), boxes(A, (5, 0, 15, 10))
    found = overlaps(predicted, gold)
    assert [[round(x, 4) for x in row] for row in found] == [[0.6667, 0.5385], [0.4286, 0.0526]]
    greedy = sum(match.iou for match in iou_first(predicted, gold, found, 0.01))
    best = max(sum(found[i][j] for i, j in enumerate(order)) for order in permutations(range(2)))
    assert (round(greedy, 3), round(best, 3)) == (0.719, 0.967)


def test_size_penalty() -> None:
    wanted = (1.0, 0.6, 0.36, 0.216, 0.1296)
    gold = boxes(*((100 * n, 0, 100 * n + 10, 10) for n in range(5)))
    weights = Weights(iou_first=1, label_first=0, map=0, map50=0, map75=0, completeness=0)
    for missing, penalty in enumerate(wanted):
        share = (5 - missing) / 5
        assert detected(gold[missing:], gold, [0.5], weights, 0.6).score == pytest.approx(share * penalty)


def test_worked_average_precisions() -> None:
    def at(predicted: list[Labelled], gold: list[Labelled]) -> list[float]:
        found = average_precisions(predicted, gold, overlaps(predicted, gold))
        return [round(x, 4) for x in (sum(found) / 10, found[0], found[5])]

    one, two, false = boxes(A), boxes(A, FAR), boxes((80, 80, 90, 90), (70, 0, 80, 10))
    assert at(one, one) == [1, 1, 1]
    assert at(boxes((0, 0, 10, 8.2)), one) == [0.7, 1, 1]
    assert at(one, two) == [0.505] * 3
    assert at(boxes((0, 0, 17, 10)), boxes((0, 0, 20, 10))) == [0.8, 1, 1]  # .85 is a threshold, and reached
    assert at(false + two, two) == [0.5] * 3
    assert at(two + false, two) == [1, 1, 1]  # false ones behind the right ones are free
    assert at(one + one, one) == [1, 1, 1]
    assert at(boxes(A, label="b"), one) == [0, 0, 0]
    assert at(one, one + boxes(FAR, label="b")) == [0.5] * 3
    assert at([], one) == [0, 0, 0]
    assert average_precisions([], [], [])[0] == 1 and average_precisions(one, [], [[]])[0] == 0
    spray = boxes(*((n, 200, n + 5, 205) for n in range(100)))
    assert at(spray[:99] + one, one) == [0.01] * 3
    assert at(spray + one, one) == [0, 0, 0]  # at most a hundred are looked at


def test_worked_resizes() -> None:
    for resize, height, width, seen, tokens in (
        (HUB, 480, 640, (476, 644), 391),
        (HUB, 428, 640, (420, 644), 345),
        (HUB, 368, 434, (364, 448), 208),
        (HUB, 1080, 1920, (1092, 1932), 2691),
        (CLASS, 1080, 1920, (728, 1316), 1222),
        (CLASS, 2160, 3840, (728, 1316), 1222),
        (SMALL, 480, 640, (364, 504), 234),
        (SMALL, 1080, 1920, (336, 588), 252),
        (HUB, 30, 30, (56, 56), 4),
        (HUB, 14, 1400, (28, 560), 20),
        (QWEN3, 480, 640, (480, 640), 300),
        (QWEN3, 428, 640, (416, 640), 260),
        (QWEN3, 1080, 1920, (1088, 1920), 2040),
        (QWEN3_SMALL, 1080, 1920, (832, 1504), 1222),
        (QWEN3, 56, 56, (256, 256), 64),
        (QWEN3, 14, 1400, (32, 2560), 80),
    ):
        w, h = resize(width, height)
        assert ((h, w), h * w // resize.factor**2) == (seen, tokens)
    with pytest.raises(ValueError, match="is refused by the processor"):
        HUB(14, 2814)


def test_a_box_in_the_models_units() -> None:
    gold: Box = (146, 137, 615, 415)
    for resize, wanted, forgotten in (
        (HUB, (147, 134, 619, 407), 0.9509),
        (CLASS, (147, 134, 619, 407), 0.9509),
        (SMALL, (121, 117, 511, 353), 0.5491),
        (Resize(28, 3136, 64 * 784), (57, 54, 242, 163), 0.0169),
    ):
        sizes = Sizes((640, 428), resize(640, 428))
        said = scaled(gold, factors(sizes, Unit.pixels, Unit.seen))
        assert tuple(map(round, said)) == wanted
        assert round(iou(gold, wanted), 4) == forgotten
        assert scaled(said, factors(sizes, Unit.seen, Unit.pixels)) == pytest.approx(gold)
    per_mille = scaled(gold, factors(Sizes((640, 428)), Unit.pixels, Unit.per_mille))
    assert tuple(map(round, per_mille)) == (228, 320, 961, 970)
    assert round(iou(gold, (228, 320, 961, 970)), 4) == 0.0645
    screen = scaled(
        (900, 500, 1100, 600), factors(Sizes((1920, 1080), CLASS(1920, 1080)), Unit.pixels, Unit.seen)
    )
    assert tuple(map(round, screen)) == (617, 337, 754, 404)
    y_first = in_order((256, 128, 768, 896), Order.yxyx)
    assert scaled(y_first, factors(Sizes((640, 480)), Unit.bins, Unit.pixels)) == pytest.approx(
        (80, 120, 560, 360)
    )
    assert in_order((42, 1102, 197, 70), Order.xywh) == (42, 1102, 239, 1172)
    assert holds((42, 1102, 239, 1172), (140, 1137)) and not holds((42, 1102, 197, 70), (140, 1137))
    small = (100, 100, 112, 112)
    assert round(iou(small, (100.96, 100.54, 112.96, 112.54)), 4) == 0.7835


def test_masks() -> None:
    rows = [
        [int(2 <= x < 8 and 2 <= y < 8 and not (4 <= x < 6 and 4 <= y < 6)) for x in range(10)]
        for y in range(10)
    ]
    ring, box = mask_of({"mask": rows}), (2, 2, 8, 8)
    for point, in_box, in_mask in (
        ((5, 5), True, False),
        ((2, 2), True, True),
        ((8, 8), True, False),
        ((2.9, 7.9), True, True),
        ((-0.5, 2), False, False),
    ):
        assert (inside(box, point), inside(ring, point)) == (in_box, in_mask), point
    assert all(inside(ring, (x + 0.5, y + 0.5)) == bool(rows[y][x]) for x in range(10) for y in range(10))
    coded = mask_of({"size": [2, 3], "counts": [1, 2, 3]})  # down the columns: (1,0), (0,1)
    assert [(x, y) for x in range(3) for y in range(2) if inside(coded, (x, y))] == [(0, 1), (1, 0)]
    for bad in (
        {"size": [2, 3], "counts": [1, 2]},
        {"size": ["2", 3], "counts": [1, 2, 3]},
        {"counts": "abc", "size": [1, 1]},
        {"mask": [[1], [1, 0]]},
        5,
    ):
        with pytest.raises(ValueError):
            mask_of(bad)


def box(low: int = -30, high: int = 30) -> st.SearchStrategy[Box]:
    side = st.integers(low, high).map(lambda n: n / 2)
    return st.tuples(side, side, side, side)


any_number = st.floats(-1e7, 1e7, allow_nan=False)


@settings(max_examples=50, deadline=None)
@given(st.tuples(*[any_number] * 4), st.tuples(*[any_number] * 4), st.integers(-20, 20))
def test_overlap_is_symmetric_bounded_and_blind_to_scale(a: Box, b: Box, power: int) -> None:
    found = iou(a, b)
    assert 0 <= found <= 1 and found == iou(b, a) and -1 <= giou(a, b) <= found + 1e-12
    by = math.ldexp(1.0, power)
    if min(abs(x) for x in (*a, *b)) > 1e-3:
        assert iou(scaled(a, (by, by)), scaled(b, (by, by))) == pytest.approx(found, abs=1e-9)


labelled = st.builds(Labelled, box(), st.sampled_from("ab"))


@settings(max_examples=40, deadline=None)
@given(st.lists(labelled, max_size=5), st.lists(labelled, min_size=1, max_size=4), st.randoms())
def test_matching_uses_no_box_twice_and_the_order_of_predictions_is_of_no_account(
    predicted, gold, random
) -> None:
    found = overlaps(predicted, gold)
    for match in (iou_first, label_first, published_iou_first):
        for threshold in (0.1, 0.5):
            pairs = match(predicted, gold, found, threshold)
            assert len({p.predicted for p in pairs}) == len({p.gold for p in pairs}) == len(pairs)
            assert all(p.overlap >= threshold and p.iou in (0.0, p.overlap) for p in pairs)
            if match is label_first:
                assert all(predicted[p.predicted].label == gold[p.gold].label for p in pairs)
    shuffled, reordered = random.sample(predicted, len(predicted)), random.sample(gold, len(gold))
    for weights, other in ((ONLY_IOU, reordered), (ONLY_LABEL, gold)):
        one, two = score(predicted, gold, 0.3, weights), score(shuffled, other, 0.3, weights)
        assert one.score == pytest.approx(two.score) and 0 <= one.score <= 1


@settings(max_examples=50, deadline=None)
@given(st.lists(labelled, min_size=1, max_size=5, unique=True))
def test_the_gold_itself_scores_one(gold: list[Labelled]) -> None:
    gold = [each for each in gold if each.box[0] < each.box[2] and each.box[1] < each.box[3]]
    if gold:
        every = Weights(iou_first=1, label_first=1, map=1, map50=1, map75=1, completeness=0.3)
        assert detected(gold, gold, [0.5, 0.99], every, 0.6).score == pytest.approx(1.0)
