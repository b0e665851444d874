"""How many prompts may be begun, and which groups cannot wait for a later step."""

from __future__ import annotations

from random import Random

import pytest

from rlvr_cli.training.admission import cannot_wait, capacity


@pytest.mark.parametrize(("accepted", "room"), [(96, 54), (250, -4)])
def test_areals_rule(accepted: int, room: int) -> None:
    """min(64 - 10, (4 + 3 + 1) * 32 - (accepted + 10))."""
    found = capacity(running=10, accepted=accepted, version=3, staleness=4, prompts=32, most=64)
    assert found == room


def test_without_staleness_a_step_begins_what_it_trains_on() -> None:
    """At version 7 seven steps of 32 groups have trained."""
    assert capacity(running=0, accepted=7 * 32, version=7, staleness=0, prompts=32) == 32
    assert capacity(running=32, accepted=7 * 32, version=7, staleness=0, prompts=32) == 0


def test_groups_that_later_steps_have_no_place_for_are_due_now() -> None:
    """Two prompts a step, at version 5, staleness 2: groups of version 3 are due, of 4 in the next step."""
    due = dict(version=5, staleness=2, prompts=2)
    assert cannot_wait([], **due) == 0
    assert cannot_wait([5, 5, 5, 5], **due) == 0
    assert cannot_wait([3, 5], **due) == 1
    assert cannot_wait([5, 4, 4, 4], **due) == 1, "step 6 has places for two of three"
    assert cannot_wait([4, 4, 3, 5, 5, 5], **due) == 2, "steps 6 and 7 have places for four of six"


def test_whoever_takes_what_is_due_never_has_more_of_it_than_places() -> None:
    """Groups begun by the rule finish in any order; each step takes what is due, the rest by chance."""
    random = Random(0)
    for staleness in (1, 2, 5):
        flying: list[int] = []
        for version in range(200):
            room = capacity(
                running=len(flying), accepted=version * 4, version=version, staleness=staleness, prompts=4
            )
            flying = sorted(flying + [version] * room)
            due = cannot_wait(flying, version=version, staleness=staleness, prompts=4)
            assert due <= 4 and version - flying[0] <= staleness
            rest = flying[due:]
            random.shuffle(rest)
            flying = rest[4 - due :]
