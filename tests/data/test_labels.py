"""Majority labels in the place of golds: which problems train, by what they are judged, what is told."""

from __future__ import annotations

import pytest

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Problem
from rlvr_cli.data.labels import identity, labelled
from rlvr_cli.data.profiles import Profile, key_of
from rlvr_cli.data.sampler import Sampler
from rlvr_cli.schema import Labels, LabelsKept


def problem(n: int) -> Problem:
    return Problem(
        id=f"{n}",
        prompt=f"<{n}>",
        tokens=[n],
        answer=f"{n}",
        alternatives=[f"{n}.0"],
        source="train",
        verifiers=["math", "truth"],
        extra={"prompt": f"p{n}"},
    )


LABELS = {
    key_of(problem(n)): (label, label == str(n))
    for n, label in enumerate(["0", "7", "2", "8", None, r"\bad"])  # 1 and 3 are wrong; 6 is not there
}


def fault(problem: Problem, label: str) -> str | None:
    return "unreadable" if label.startswith("\\") else None


def choose(keep: LabelsKept) -> tuple[dict[str, str | None], str]:
    settings = Labels(file="l.jsonl", keep=keep)
    kept, said = labelled("train", settings, [problem(n) for n in range(7)], LABELS, fault)
    return {each.id: each.label for each in kept}, said


def test_every_problem_with_a_label_or_those_alone_whose_label_is_wrong() -> None:
    left = "1 without an answer of any sample, 1 with a label that math cannot use, 1 not in l.jsonl"
    found, said = choose(LabelsKept.all)
    assert found == {"0": "0", "1": "7", "2": "2", "3": "8"}
    assert said == f"train: 4 of 7 problems by majority label, 2 wrong, {left}"
    found, said = choose(LabelsKept.wrong)
    assert found == {"1": "7", "3": "8"}
    assert said == f"train: 2 of 7 problems by majority label, 2 wrong, 2 whose label is right, {left}"


def test_only_the_first_verifier_judges_by_the_label() -> None:
    one = problem(1)
    assert one.golds_of("math") == one.golds_of("truth") == ["1", "1.0"]
    one.label = "7"
    assert one.golds_of("math") == ["7"] and one.golds_of("truth") == ["1", "1.0"] == one.golds


def test_where_nothing_is_left_it_is_an_error() -> None:
    with pytest.raises(UserError, match=r"nothing is left of 1 problems, 1 whose label is right"):
        labelled("train", Labels(file="l", keep=LabelsKept.wrong), [problem(0)], LABELS, fault)
    with pytest.raises(UserError, match=r"nothing is left of 1 problems, 1 not in l"):
        labelled("train", Labels(file="l"), [problem(9)], LABELS, fault)


def test_other_labels_are_other_data() -> None:
    def sampler(label: str) -> Sampler[Problem]:
        first, second = problem(0), problem(1)
        first.label = second.label = label
        items = {"train": [first, second], "plain": [problem(2)]}
        marks = {"train": identity(items["train"])}
        return Sampler(items, {"train": 1.0, "plain": 1.0}, seed=0, labels=marks)

    before = sampler("5")
    before.take(3)
    after = sampler("5")
    after.load(before.state())
    assert [p.id for _, p in after.take(4)] == [p.id for _, p in before.take(4)]
    other = sampler("6")
    with pytest.raises(UserError, match="the data changed since the checkpoint"):
        other.load(before.state())
    other.load(before.state(), adopt=True)  # the changed source begins, the other one goes on
    assert other.drawn == {"train": 0, "plain": before.drawn["plain"]}


def test_of_two_sources_with_a_problem_each_has_its_own_label() -> None:
    rows = [
        {"source": name, "key": "k", "label": label, "label_right": name == "a"}
        for name, label in (("a", "1"), ("b", "2"))
    ]
    profile = Profile({}, rows)
    assert profile.labels("a") == {"k": ("1", True)} and profile.labels("b") == {"k": ("2", False)}
    assert profile.labels("c")["k"][0] in ("1", "2")
