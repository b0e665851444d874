"""What a tier needs and what a box has for itself, without starting one."""

from __future__ import annotations

import os

import pytest

from rlvr_cli.verifiers.sandbox import box_process, landlock, tiers
from rlvr_cli.verifiers.sandbox.box_process import claimed_uid


def test_no_two_boxes_have_a_uid_in_common(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits on processes are counted by uid. Where all are taken, boxes share some."""
    monkeypatch.setattr(box_process, "UIDS", range(70_000, 70_003))
    monkeypatch.setattr(box_process, "_serial", iter([5, 5, 5, 5, 5]))
    (first, a), (second, b), (third, c) = claimed_uid(), claimed_uid(), claimed_uid()
    assert {first, second, third} == {70_000, 70_001, 70_002}
    shared, e = claimed_uid()
    assert shared in (first, second, third)
    e.close()
    b.close()
    again, d = claimed_uid()
    assert again == second  # the first that is free
    for claim in (a, c, d):
        claim.close()


@pytest.mark.parametrize(("version", "user", "works"), [(0, 1000, False), (0, 0, True), (7, 1000, True)])
def test_without_landlock_no_user_has_the_tier_without_a_box(
    version: int, user: int, works: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program would be the user's, and the user's processes open to it: /proc/PID/mem."""
    monkeypatch.setattr(landlock, "version", lambda: version)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(tiers, "Box", lambda *_: pytest.fail("tried"))
    if works:
        with pytest.raises(pytest.fail.Exception, match="tried"):
            tiers.trial("rlimit")
    else:
        assert tiers.trial("rlimit").startswith("needs Landlock")
