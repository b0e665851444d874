"""A run that is killed as a whole, again and again, ends as if nothing had happened."""

from pathlib import Path

import pytest
from kills import kill


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_killed_at_random_moments_and_resumed_a_run_is_the_same_to_the_bit(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """DAPO, ZeRO-2 on 2 ranks, vLLM. Each kill costs a start; `make test-kill` does 20."""
    kills = request.config.getoption("--kills")
    made, found = kill.experiment(tmp_path, kills=kills, seed=1, overrides=[])
    assert found == [] and len(made) == kills
    phases = {each.phase for each in made}
    assert {"rollout", "update"} <= phases and any(each.writing for each in made)
