"""Edits of a library: the worked examples of both published forms, and what contradicts itself."""

from __future__ import annotations

from rlvr_cli.data.experiences import Experience
from rlvr_cli.experience.editing import origins
from rlvr_cli.experience.operations import (
    Experiences,
    Kind,
    Operation,
    merged,
    renumbered,
    settled,
    updated,
)


def library(**texts: str) -> Experiences:
    return {key: Experience(text=text, problems=(f"of {key}",), step=1) for key, text in texts.items()}


def texts(experiences: Experiences) -> dict[str, str]:
    return {key: each.text for key, each in experiences.items()}


def add(text: str, *problems: str) -> Operation:
    return Operation(kind=Kind.add, text=text, problems=problems)


def modify(text: str, key: str) -> Operation:
    return Operation(kind=Kind.modify, text=text, ids=(key,))


def merge(text: str, *keys: str) -> Operation:
    return Operation(kind=Kind.merge, text=text, ids=keys)


def update(text: str, key: str, *problems: str) -> Operation:
    return Operation(kind=Kind.update, text=text, ids=(key,), problems=problems)


def delete(key: str) -> Operation:
    return Operation(kind=Kind.delete, ids=(key,))


def test_the_worked_example_of_form_merge() -> None:
    """E = {G0: a, G1: b, G2: c}; add d; modify G1 -> b'; merge [G0, G2] -> m."""
    plan = [add("d"), modify("b'", "G1"), merge("m", "G0", "G2")]
    found, changes = merged(library(G0="a", G1="b", G2="c"), plan)
    assert texts(found) == {"G1": "b'", "C0": "d", "C1": "m"} and list(found) == ["G1", "C0", "C1"]
    assert [change.id for change in changes] == ["C0", "G1", "C1"]
    numbered, names = renumbered(found)
    assert texts(numbered) == {"G0": "b'", "G1": "d", "G2": "m"}
    assert names == {"G1": "G0", "C0": "G1", "C1": "G2"}


def test_what_form_merge_does_not_find_is_ignored() -> None:
    before = library(G0="a")
    found, changes = merged(before, [modify("x", "G7"), merge("y", "G8", "C9")])
    assert (found, changes) == (before, [])
    found, _ = merged(before, [merge("m", "G0", "G8", "G0")])  # of its sources those that are there, once
    assert texts(found) == {"C0": "m"}


def test_candidates_are_edited_by_the_plan_and_no_id_comes_twice() -> None:
    candidates, _ = merged(library(G0="a"), [add("x", "p1"), add("y", "p2"), add("z", "p3")])
    assert list(candidates) == ["G0", "C0", "C1", "C2"]
    found, _ = merged(candidates, [merge("xz", "C0", "C2"), merge("all", "C3", "C1")], step=4)
    assert texts(found) == {"G0": "a", "C4": "all"}
    assert found["C4"].problems == ("p1", "p3", "p2") and found["C4"].step == 4
    assert found["G0"] == library(G0="a")["G0"]


def test_the_worked_example_of_form_update() -> None:
    """[UPDATE 5 'x', DELETE 1, ADD 'y'] on three items: the missing 5 is added as id 3."""
    plan = [update("x", "G5"), delete("G1"), add("y")]
    found, changes = updated(library(G0="a", G1="b", G2="c"), plan)
    assert texts(found) == {"G0": "a", "G2": "c", "G3": "x", "G4": "y"}
    assert [change.id for change in changes] == ["G3", None, "G4"]
    assert texts(renumbered(found)[0]) == {"G0": "a", "G1": "c", "G2": "x", "G3": "y"}


def test_form_update_skips_what_is_empty_or_not_there() -> None:
    before = library(G0="a")
    plan = [add("  "), update("", "G0"), delete("G4"), Operation(kind=Kind.none)]
    assert updated(before, plan) == (before, [])
    found, _ = updated(before, [update("a2", "G0", "p")], step=3)
    assert found == {"G0": Experience(text="a2", problems=("of G0", "p"), step=3)}
    assert texts(updated({}, [add("first")])[0]) == {"G0": "first"}


def test_a_delete_beats_updates_the_last_update_counts_and_the_same_is_added_once() -> None:
    plan = [
        update("u1", "G0"),
        delete("G1"),
        update("u2", "G1"),
        add("Carry the one."),
        update("u3", "G0"),
        delete("G1"),
        add("carry the ONE"),
        add("another"),
    ]
    kept = settled(plan)
    assert kept == [plan[1], plan[3], plan[4], plan[7]]
    found, _ = updated(library(G0="a", G1="b"), kept)
    assert texts(found) == {"G0": "u3", "G2": "Carry the one.", "G3": "another"}


def test_where_an_operation_of_the_plan_comes_from() -> None:
    proposed = [add("Carry!", "p1"), update("b2", "G1", "p2"), add("other", "p3")]
    assert origins(update("b3", "G1"), proposed) == ("p2",)
    assert origins(add("carry"), proposed) == ("p1",)
    assert origins(add("both at once"), proposed) == ("p1", "p2", "p3")
