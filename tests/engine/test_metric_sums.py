"""Token means of an update: over which tokens."""

import pytest
import torch

from rlvr_cli.engine.metric_sums import MetricSums


def test_what_describes_the_policy_is_a_mean_over_all_tokens() -> None:
    """Two micro-batches; the mask keeps the uncertain token of each, as `high_entropy` does."""
    tally = MetricSums()
    for entropy in ([0.0, 0.0, 3.0], [0.0, 1.0]):
        values, weights = torch.tensor(entropy), torch.tensor([0.0] * (len(entropy) - 1) + [0.5])
        gaps = torch.tensor([7.0] + [1.0] * (len(entropy) - 1))
        metrics = {
            "entropy": values,
            "ref_kl": 2 * values,
            "clip_ratio_high": values > 2,
            "mismatch_abs": gaps,
        }
        tally.add((values * weights).sum(), metrics, weights)
    found = tally.reduced()
    assert found["entropy"] == pytest.approx(4 / 5) and found["ref_kl"] == pytest.approx(8 / 5)
    assert found["clip_ratio_high"] == pytest.approx(1 / 2)  # of the tokens that train
    assert found["mismatch_max"] == 7 and found["loss"] == 2
