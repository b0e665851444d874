"""Boxes in another coordinate system than is declared are found and named; right ones never are."""

from __future__ import annotations

import math
from itertools import product
from random import Random

import pytest

from rlvr_cli.data import synthetic
from rlvr_cli.verifiers.boxes.doubts import Numbers, System, doubt, settings, told
from rlvr_cli.verifiers.boxes.overlaps import Means, added, explained, overlaps
from rlvr_cli.verifiers.boxes.reader import Form
from rlvr_cli.verifiers.boxes.units import Order, Resize, Sizes, Unit
from rlvr_cli.verifiers.iou import Iou

RESIZE = Resize(28, 3136, 1_003_520)
KINDS = {
    "photographs": lambda rng: rng.choice([(640, 480), (480, 640), (500, 375), (640, 427)]),
    "screens": lambda rng: rng.choice([(1920, 1080), (1280, 800), (2560, 1440)]),
    "large": lambda rng: (rng.randint(2500, 6000), rng.randint(2000, 4000)),
    "all alike": lambda rng: (640, 480),
}
PIXELS = System(Unit.pixels, Order.xyxy)


def image(rng: Random, kind: str) -> Sizes:
    width, height = KINDS[kind](rng)
    return Sizes((width, height), RESIZE(width, height))


def written(rng: Random, sizes: Sizes, system: System, whole: bool = True) -> tuple[float, ...]:
    """A box somewhere in an image, as a system has it."""
    x1, x2 = sorted(rng.sample(range(0, 1001), 2))
    y1, y2 = sorted(rng.sample(range(0, 1001), 2))
    span = sizes.span(system.unit)
    assert span is not None
    a, b, c, d = (each * side / 1000 for each, side in zip((x1, y1, x2, y2), (*span, *span), strict=True))
    if whole and system.unit is not Unit.fraction:
        a, b, c, d = (round(each) for each in (a, b, c, d))
        a, b = min(a, math.floor(span[0]) - 1), min(b, math.floor(span[1]) - 1)
        c, d = max(c, a + 1), max(d, b + 1)
    four = {
        Order.xyxy: (a, b, c, d),
        Order.yxyx: (b, a, d, c),
        Order.xywh: (a, b, c - a, d - b),
    }
    return four[system.order]


def sample(seed: int, kind: str, system: System, many: int) -> list[Numbers]:
    rng = Random(seed)
    found = []
    for n in range(many):
        sizes = image(rng, kind)
        found.append(Numbers(str(n), written(rng, sizes, system), sizes))  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("many", [10, 60, 200])
def test_right_boxes_are_never_doubted(kind: str, many: int) -> None:
    for seed, (unit, order) in product(range(4), product(Unit, Order)):
        system = System(unit, order)
        assert doubt(sample(seed, kind, system, many), system) is None, (seed, system)


@pytest.mark.parametrize("kind", KINDS)
def test_another_system_is_named_rightly_or_not_at_all(kind: str) -> None:
    """Of 18 x 17 pairs of systems; what is named is always the one that the boxes were written in, or one
    that says the same of these images."""
    named = 0
    for seed, (one, other) in enumerate(product(product(Unit, Order), repeat=2)):
        truth, declared = System(*one), System(*other)
        if truth == declared:
            continue
        found = doubt(sample(seed, kind, truth, 60), declared)
        if found is not None and found.system is not None:
            assert found.system == truth or same(found.system, truth, kind, declared), (
                truth,
                declared,
                found,
            )
            named += 1
    assert named >= 200, named


def test_boxes_that_are_all_in_a_corner_blame_no_system() -> None:
    rng, found = Random(5), []
    for n in range(300):  # of menus, upper left on every screen
        sizes = image(rng, "screens")
        x, y = rng.randint(0, 300), rng.randint(0, 200)
        found.append(Numbers(str(n), (x, y, x + 90, y + 20), sizes))
    assert doubt(found, PIXELS) is None


def same(one: System, other: System, kind: str, declared: System | None = None) -> bool:
    """Units that differ by a few percent in these images; and which axis comes first where both are as long,
    of which nothing is said: it stays as declared."""
    near = {frozenset((Unit.per_mille, Unit.bins))}
    if kind in ("photographs", "all alike"):  # of 640 x 480 and the like
        near |= {frozenset((Unit.pixels, Unit.seen))}
    square = one.unit not in (Unit.pixels, Unit.seen) and Order.xywh not in (one.order, other.order)
    if square and declared is not None and one.order is declared.order:
        return one.unit is other.unit or frozenset((one.unit, other.unit)) in near
    return one.order is other.order and frozenset((one.unit, other.unit)) in near


@pytest.mark.parametrize(
    ("truth", "said"),
    [
        (System(Unit.fraction, Order.xyxy), "fit fraction xyxy: set verifiers.v.gold=fraction"),
        (System(Unit.per_mille, Order.xyxy), "fit per_mille xyxy: set verifiers.v.gold=per_mille"),
        (System(Unit.pixels, Order.xywh), "fit pixels xywh: set verifiers.v.gold_order=xywh"),
        (System(Unit.pixels, Order.yxyx), "fit pixels yxyx: set verifiers.v.gold_order=yxyx"),
        (
            System(Unit.percent, Order.xywh),
            "fit percent xywh: set verifiers.v.gold=percent and verifiers.v.gold_order=xywh",
        ),
    ],
)
def test_what_is_said_has_counts_the_worst_row_and_the_keys(truth: System, said: str) -> None:
    found = doubt(sample(1, "photographs", truth, 100), PIXELS)
    assert found is not None
    line = told("gold boxes", found, PIXELS, ("verifiers.v.gold", "verifiers.v.gold_order"))
    assert line.endswith(said) and " of 100 gold boxes" in line and "(e.g. row " in line and "\n" not in line


def test_a_few_boxes_outside_are_counted_and_blame_no_system() -> None:
    found = sample(2, "photographs", PIXELS, 100)
    sizes = found[7].sizes
    assert sizes.original is not None
    found[7] = Numbers("7", (5.0, 5.0, sizes.original[0] + 300, 20.0), sizes)
    found[8] = Numbers("8", (9, 9, 9, 20), sizes)
    doubts = doubt(found, PIXELS)
    assert doubts is not None and doubts.system is None
    assert (doubts.outside, doubts.empty, doubts.worst.row) == (1, 1, "7")
    line = told("gold boxes", doubts, PIXELS, ("a", "b"))
    assert line.startswith(
        "1 of 100 gold boxes reach out of their images and 1 of 100 gold boxes have no area"
    )
    assert f"5 5 {sizes.original[0] + 300:g} 20" in line


def test_the_families_of_this_project_are_not_doubted() -> None:
    iou = Iou(boxes=Unit.pixels, form=Form.numbers, extraction=None)
    rows = list(synthetic.generate("shapes_box", "train", {"size": 400}, 0))
    extra = {"image_size": [56, 56], "image_grid_thw": [1, 8, 8]}
    numbers = [each for n, row in enumerate(rows) for each in iou.gold_numbers(str(n), row["answer"], extra)]
    assert len(numbers) == 400 and doubt(numbers, iou.systems[0]) is None


@pytest.mark.parametrize("unit", Unit)
@pytest.mark.parametrize("order", Order)
def test_what_a_policy_writes_in_is_found_by_its_overlap_with_the_golds(unit: Unit, order: Order) -> None:
    """A policy that is off by some pixels, read in pixels; and one that knows nothing is blamed for none."""
    rng, truth = Random(3), System(unit, order)
    means, idle = Means(), Means()
    for _ in range(60):
        sizes = image(rng, "photographs")
        x1, y1 = (rng.uniform(0.05, 0.4) for _ in "xy")
        x2, y2 = (rng.uniform(0.55, 0.95) for _ in "xy")
        gold = tuple(v * side for v, side in zip((x1, y1, x2, y2), sizes.original * 2, strict=True))  # type: ignore[misc]
        span = sizes.span(unit)
        assert span is not None
        a, b, c, d = (
            (v + rng.uniform(-0.03, 0.03)) * side for v, side in zip((x1, y1, x2, y2), span * 2, strict=True)
        )
        four = {Order.xyxy: (a, b, c, d), Order.yxyx: (b, a, d, c), Order.xywh: (a, b, c - a, d - b)}
        means = added(means, overlaps([four[order]], [gold], Unit.pixels, sizes))  # type: ignore[list-item]
        guess = tuple(rng.uniform(0, 40) for _ in range(4))
        idle = added(idle, overlaps([guess], [gold], Unit.pixels, sizes))  # type: ignore[list-item]
    found = explained(means, PIXELS)
    assert explained(idle, PIXELS) is None
    if unit in (Unit.pixels, Unit.seen) and order is Order.xyxy:
        assert found is None
        return
    assert found is not None and found[0].order is order and found[1] > 0.7
    assert found[0].unit is unit or same(found[0], truth, "photographs")
    assert settings(found[0], PIXELS, ("boxes", "order")).startswith("set ")
