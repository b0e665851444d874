"""Answers of every kind that public reports got wrong (math_kinds.txt), and what the options change."""

from __future__ import annotations

import re
from pathlib import Path
from time import process_time
from typing import Any

import pytest
from doc_pages import VERIFIER_PAGES
from doc_tables import section, tables

from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.verifiers.extract import Boxes, Rejected
from rlvr_cli.verifiers.math import Math, units_of
from rlvr_cli.verifiers.mathematics import equal, read
from rlvr_cli.verifiers.mathematics.rules import LetterCase, Order, Units
from rlvr_cli.verifiers.mathematics.symbolic import symbolic

Row = tuple[str, str, bool]


def kinds() -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for line in (Path(__file__).parent / "math_kinds.txt").read_text().splitlines():
        if line.startswith("## "):
            rows = found[line[3:]] = []
        elif line and not line.startswith("# "):
            same = " == " in line
            said, _, gold = line.partition(" == " if same else " != ")
            rows.append((said, gold, same))
    return found


KINDS = kinds()


def verdict(said: str, gold: str, **options: Any) -> Verdict:
    return Math(**options).verify(f"So it is \\boxed{{{said}}}.", gold, {})


def misjudged(rows: list[Row], **options: Any) -> list[tuple[str, str, Verdict]]:
    judged = [(said, gold, same, verdict(said, gold, **options)) for said, gold, same in rows]
    return [(said, gold, found) for said, gold, same, found in judged if found.score != same]


def test_the_table_has_all_kinds() -> None:
    assert len(KINDS) >= 20 and sum(map(len, KINDS.values())) > 500
    assert all({same for _, _, same in rows} == {True, False} for rows in KINDS.values())


@pytest.mark.parametrize("kind", KINDS)
def test_kind(kind: str) -> None:
    assert misjudged(KINDS[kind]) == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_parent_says_the_same_where_it_says_anything(kind: str) -> None:
    for said, gold, same in KINDS[kind]:
        found = Math().inline(f"\\boxed{{{said}}}", gold, {})
        assert found is None or found.score == same, (said, gold, found)


def decided(said: str, gold: str) -> bool | None:
    try:
        return equal(read(said), read(gold))
    except Rejected:
        return None


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_equal_is_equal_the_other_way_round(kind: str) -> None:
    """One rule for each pair of types; only inequalities and names in capitals go one way."""
    for said, gold, _ in KINDS[kind]:
        if gold not in ("x>3", "1<x<2", "DPRH"):
            assert decided(said, gold) == decided(gold, said), (said, gold)


UNITS = [
    *(("10 kg", "10 m", False), ("10", "10 kg", True), ("10 kg", "10", True), ("1 km", "1000 m", True)),
    *(("1 km", "1 m", False), ("10 m", "10 m", True), ("10 m", "10 s", False), ("60 km/h", "60 mph", False)),
    ("60 km/h", r"60 \mathrm{~km} / \mathrm{h}", True),
    (r"36\text{ km/h}", r"10 \mathrm{~m/s}", True),
    *(("90 degrees", r"90^\circ", True), (r"90^\circ", "90 radians", False), (r"\$5", "5 dollars", True)),
    *((r"\$5", "5 euros", False), (r"\$5", "500 cents", True), ("5 apples", "5 oranges", False)),
    *(("5 apple", "5 apples", True), ("2 hours", "120 minutes", True), ("5 cm^2", "5 cm", False)),
    *(("5 square cm", "5 cm^2", True), ("5 m^2", "50000 cm^2", True), ("3t", "3", False)),
    *(("12 months", "1 year", True), ("365 days", "1 year", False), ("1 L", "1000 cm^3", True)),
    *(("1 inch", "2.54 cm", True), ("3 cm, 4 cm", "4 cm, 3 cm", True), ("3 cm, 4 cm", "4 m, 3 cm", False)),
    *(
        ("x = 5 cm", "5 cm", True),
        ("25 °C", r"25^\circ\text{C}", True),
        ("25 °C", r"25^\circ\text{F}", False),
    ),
    *(("5 N", "5 J", False), ("1 kJ", "1000 J", True), (r"864 \mbox{ inches}^2", "6 square feet", True)),
]
REQUIRED = [
    *(("10", "10 kg", False), ("10 kg", "10 kg", True), ("10 kg", "10", True), ("10", "10 m", False)),
    *(("1 km", "1000 m", True), ("90", r"90^\circ", False), ("5", r"\$5", False), ("x=10", "10 kg", False)),
    *(("10", "x = 10 kg", False), ("3, 4", "3 cm, 4 cm", False), ("x=10 kg", "x = 10 kg", True)),
]
NO_CASE = [
    (r"\frac{r}{R}", "1", True),
    ("abc", "ABC", True),
    ("r", "R", True),
    ("hth", "HTH", True),
    ("x+c", "x+C", True),
    ("Y", "x", False),
]
ALL_CASE = [("Yes", "yes", False), ("yes", "yes", True), ("c", "C", False), (r"\text{Tom}", "tom", False)]
AS_GIVEN = [("1,2", "2,1", False), ("1,2", "1,2", True), (r"\{1,2\}", r"\{2,1\}", True)]


@pytest.mark.parametrize(
    ("rows", "options"),
    [
        (UNITS, {"units": Units.if_given}),
        (REQUIRED, {"units": Units.require}),
        (NO_CASE, {"letter_case": LetterCase.none}),
        (ALL_CASE, {"letter_case": LetterCase.all}),
        (AS_GIVEN, {"order": Order.as_given}),
    ],
)
def test_options(rows: list[Row], options: dict[str, Any]) -> None:
    assert misjudged(rows, **options) == []
    assert misjudged(rows) != []  # the option is what decides


def test_several_boxes() -> None:
    response = r"First \boxed{4}, no, \boxed{5}."
    assert Math().verify(response, "5", {}).score == 1 and Math().verify(response, "4", {}).score == 0
    refused = Math(boxes=Boxes.refuse_hedging).verify(response, "5", {})
    assert (refused.score, refused.reason) == (0, Reason.refused)


def test_a_gold_with_several_boxes_is_what_cannot_be_used() -> None:
    gold = r"It is \boxed{4} or \boxed{5}."
    assert Math().check_gold(gold, {}) == "several different boxes side by side"
    found = Math().verify(r"\boxed{5}", gold, {})
    assert found.reason is Reason.crash and found.detail.startswith("the gold answer cannot be used: several")
    assert Math().check_gold(r"First \boxed{4}." + " So it goes on. " * 9 + r"Thus \boxed{5}.", {}) is None


def test_units_of_golds() -> None:
    carried = {"10 kg": "kg", "10 m": "m", r"3\text{ cm}, 4\text{ cm}": "cm", "x = 5 cm": "cm", r"\$5": "$"}
    assert {gold: units_of(gold) for gold in carried} == carried
    assert [gold for gold in ("5", "3t", "50%", "x^2", "9^{9^{9}}", "Tom") if units_of(gold)] == []
    assert Math().gold_note("10 kg") == "the unit kg"
    assert Math(units=Units.if_given).gold_note("10 kg") is None


COSTLY = [
    r"(1+x)^{9999}",
    r"(x+y+z+w)^{300}",
    r"(\sqrt{2}+\sqrt{3}+\sqrt{5}+\sqrt{7}+\sqrt{11}+\sqrt{13})^{50}",
    r"\sin(\sin(\sin(x)))^{500}",
    r"\frac{x^{9999}-1}{x-1}",
    r"\prod_{k=1}^{9999}(x+k)",
    r"x^{x^{x^{x}}}",
    r"((x^{99})^{99})^{99}",
    r"\sqrt{2}^{100000}",
    r"5000!^{5000}\sqrt{2}",
    r"\cos(10^{-2000})+\sin(e^{2000})",
    r"\binom{5000}{2500}\sqrt{2}" + r"+\binom{5000}{2499}" * 9,
]


@pytest.mark.parametrize("answer", COSTLY)
@pytest.mark.parametrize("gold", ["5", r"\frac{1}{2}", r"\sqrt{2}", "x+1", "x=1"])
def test_size_is_never_a_way_out(answer: str, gold: str) -> None:
    """A wrong answer that is large is wrong or refused, and soon."""
    started = process_time()
    found = verdict(answer, gold)
    assert found.scored and found.score == 0
    assert process_time() - started < 1


@pytest.mark.parametrize("small", ["10^{-40}", "10^{-400}", "e^{-1000}", "2^{-1500}", "10^{-30}x"])
def test_nothing_is_too_small_to_count(small: str) -> None:
    assert verdict(rf"\sqrt{{2}}+{small}", r"\sqrt{2}").score == 0
    assert verdict(rf"\sqrt{{2}}+{small}", rf"{small}+\sqrt{{2}}").score == 1


def test_a_claim_of_the_algebra_system_is_checked() -> None:
    """math-verify calls small numbers equal."""
    equal_by_it, doubt = symbolic("2^{-98}", "2^{-99}")
    assert not equal_by_it and doubt.startswith("math-verify calls them equal; they are ")
    assert symbolic(r"\sqrt{8}", r"2\sqrt{2}") == (True, "")


def spelled(gold: str) -> list[str]:
    """Other ways of writing the same."""
    made = [gold, f"${gold}$", f" {gold} ", f"{gold}.", rf"\displaystyle {gold}", gold.replace("-", "−")]
    made += [gold.replace(r"\frac", r"\dfrac"), gold.replace(r"\cdot", r"\times")]
    made.append(gold.replace(r"\left", "").replace(r"\right", ""))
    if "," not in gold and "text" not in gold and "box" not in gold:
        made.append(gold.replace("+", " + ").replace("=", " = "))
    return [text for text in dict.fromkeys(made) if not ("$" in gold and text.startswith("$"))]


def test_golds_of_benches_are_equal_to_themselves_and_to_other_spellings() -> None:
    golds = (Path(__file__).parent / "math_golds.txt").read_text().splitlines()
    rows = [(text, gold, True) for gold in golds for text in spelled(gold)]
    assert len(rows) > 600 and misjudged(rows) == []
    assert [gold for gold in golds if Math().check_gold(gold, {})] == []


def rules_of_the_page() -> list[tuple[str, list[Row]]]:
    """(rule, its examples) of the table in docs/verifiers/math.md."""
    found = []
    for row in tables(section(VERIFIER_PAGES["math"].read_text(), "When two answers are equal"))[0]:
        pairs = re.findall(r"`([^`]+)` (=|≠) `([^`]+)`", f"{row['equal']} {row['not equal']}")
        found.append((row["rule"], [(said, gold, sign == "=") for said, sign, gold in pairs]))
    return found


def test_the_rules_of_the_page_hold() -> None:
    rules = rules_of_the_page()
    assert len(rules) >= 18
    for rule, rows in rules:
        assert {same for _, _, same in rows} == {True, False}, rule
        assert misjudged(rows) == [], rule


def test_values_have_all_their_digits() -> None:
    """Floats among the points would make equal quotients differ, or different ones equal."""
    for said, gold in (
        (r"\frac{x}{y}\cdot\frac{y}{x}", "1"),
        (r"\frac{x^2-y^2}{x-y}", "x+y"),
        (r"x^{-1}y", r"\frac{y}{x}"),
    ):
        assert verdict(said, gold).score == 1
        assert verdict(f"{said}+10^{{-30}}x", gold).score == 0
