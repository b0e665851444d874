"""Which samples the second verifier judges."""

from __future__ import annotations

from dataclasses import replace

from small_parts import Even, problem, two_tokens

from rlvr_cli.core.types import Group
from rlvr_cli.schema import Diagnosis
from rlvr_cli.tracking import Timer
from rlvr_cli.training.second_verifier import Audit


def judged(numbers: list[int], *, seed: int = 0, first: str = "odd") -> dict[int, set[int]]:
    """Index of the group -> those of its four samples that a quarter share falls on."""
    audit = Audit(Even(), Diagnosis(second_verifier="even", second_share=0.25), seed)
    groups = [
        Group(
            problem=replace(problem(n), verifiers=[first]),
            index=n,
            completions=[two_tokens(s) for s in range(4)],
        )
        for n in numbers
    ]
    for group in groups:
        audit.submit(group)
    audit.settle(Timer())
    return {group.index: set(group.audits) for group in groups}


def test_the_second_verifier_judges_its_share_and_other_samples_of_every_group() -> None:
    """Of 200 groups of four: about 200 of 800 samples, about 50 of each place in the group."""
    found = judged(list(range(200)))
    assert 150 < sum(map(len, found.values())) < 250
    for sample in range(4):
        assert 25 < sum(sample in samples for samples in found.values()) < 75


def test_which_samples_it_judges_hangs_on_seed_and_group_alone() -> None:
    """Not on the order in which groups are finished, nor on which of them this rank has."""
    found = judged(list(range(40)))
    assert judged(list(range(39, -1, -2))) == {n: found[n] for n in range(1, 40, 2)}
    assert judged(list(range(40)), seed=1) != found


def test_of_what_it_judges_first_it_is_not_asked_a_second_time() -> None:
    """Rows may name their verifiers: it would agree with itself."""
    assert not any(judged(list(range(40)), first="even").values())
