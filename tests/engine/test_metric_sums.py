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


def test_numbers_of_sequences_are_means_over_sequences() -> None:
    """Two micro-batches, of two sequences and of one; a token's place is known in some of them."""
    tally, nan = MetricSums(), float("nan")
    for ppl, tenth in (([2.0, 4.0], [1.0, nan, 3.0]), ([9.0], [nan, nan])):
        metrics = {"mismatch_rollout_ppl": torch.tensor(ppl), "entropy/tenth_1": torch.tensor(tenth)}
        tally.add(
            torch.tensor(0.0), metrics | {"entropy/tenth_2": torch.tensor([nan])}, torch.ones(len(tenth))
        )
    found = tally.reduced()
    assert found["mismatch_rollout_ppl"] == 5 and found["entropy/tenth_1"] == 2
    assert "entropy/tenth_2" not in found
