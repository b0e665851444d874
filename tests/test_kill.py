"""A run that is killed as a whole, again and again, ends as if nothing had happened."""

from pathlib import Path

import pytest
from kills import kill


@pytest.mark.slow
def test_killed_at_random_moments_and_resumed_a_run_is_the_same_to_the_bit(tmp_path: Path) -> None:
    """DAPO, ZeRO-2 on 2 ranks, vLLM; `benchmarks/kill.py` does it as often as one likes."""
    made, found = kill.experiment(tmp_path, kills=6, seed=1, overrides=[])
    assert found == [] and len(made) == 6
    phases = {each.phase for each in made}
    assert {"rollout", "update"} <= phases and any(each.writing for each in made)
