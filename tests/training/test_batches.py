"""From kept groups to batches: which tokens train."""

import math

import torch
from f1 import make

from rlvr_cli.training.batches import keep_mask


def test_samples_without_a_reward_have_no_part_in_the_quantile() -> None:
    """The second sample's verifier timed out; its entropies would fill the top fifth."""
    entropies = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 9.0, 9.0, 9.0, 0.6, 0.7])
    lengths, finished = torch.tensor([5, 3, 2]), torch.zeros(3, dtype=torch.bool)
    scored = torch.tensor([True, False, True])
    top = make("token_weights", "top_entropy", fraction=0.25)
    assert keep_mask(top, scored, entropies, None, lengths, finished).nonzero().flatten().tolist() == [8, 9]
    rare = make("token_weights", "low_probability", rho=0.5)
    trains = keep_mask(rare, scored, None, torch.full((10,), math.log(0.4)), lengths, finished)
    assert trains.tolist() == [True] * 5 + [False] * 3 + [True] * 2
