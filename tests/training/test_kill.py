"""A run that is killed as a whole, again and again, ends as if nothing had happened."""

from pathlib import Path

import pytest
from kills import kill


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_in_rollout_update_and_while_writing_a_run_is_the_same_to_the_bit(tmp_path: Path) -> None:
    """DAPO, ZeRO-2 on 2 ranks, vLLM. Each kill costs a start."""
    aims = ("rollout", "update", "writing")
    made, found = kill.experiment(tmp_path, kills=len(aims), seed=1, overrides=[], aims=aims)
    assert found == [] and len(made) == len(aims)
    assert made[0].phase == "rollout" and made[1].phase == "update" and any(each.writing for each in made)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_killed_twenty_times_at_random_moments_a_run_is_the_same_to_the_bit(tmp_path: Path) -> None:
    made, found = kill.experiment(tmp_path, kills=20, seed=1, overrides=[])
    assert found == [] and len(made) == 20
    phases = {each.phase for each in made}
    assert {"rollout", "update", "sync"} <= phases and any(each.writing for each in made)
