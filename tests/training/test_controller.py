"""When the stability controller acts."""

from __future__ import annotations

from types import SimpleNamespace

from small_parts import recipe, small_parts

from rlvr_cli.diagnosis import Finding, Severity
from rlvr_cli.schema import Controller
from rlvr_cli.training.controller import due


def test_the_controller_waits_as_many_steps_as_it_is_told() -> None:
    """It acted after step 3 and may again after step 5: two steps later, not three."""
    settings = Controller(enabled=True, every=2, max_actions=3)
    finding = Finding(rule="kl_drift", severity=Severity.warning, begins=True, step=1, message="why")
    parts = small_parts(recipe(controller=settings), watch=SimpleNamespace(active=[finding]))
    parts.step = 3
    assert due(parts) is finding  # nothing done yet
    parts.state["controller"] |= {"taken": 1, "last": 3}
    seen = []
    for parts.step in (3, 4, 5, 6):
        seen.append(due(parts) is finding)
    assert seen == [False, False, True, True]
    parts.state["controller"] |= {"taken": 3}
    assert due(parts) is None
