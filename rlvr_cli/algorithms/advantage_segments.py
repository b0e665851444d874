"""Reward -> advantage segment by segment, from the values of states within a response (SPO).

The option maps AdvantageInputs (see `advantage.py`; it needs state_values_N, float with NaN where no state
was measured, and logprobs_N) to advantages_N, in the dtype of the rewards. _K: the measured states.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from rlvr_cli.algorithms import option
from rlvr_cli.algorithms.advantage import AdvantageInputs
from rlvr_cli.algorithms.advantage_tokens import whiten
from rlvr_cli.algorithms.check import require
from rlvr_cli.algorithms.ratio import finite
from rlvr_cli.algorithms.segments import owners, segment_sum, spread

if TYPE_CHECKING:
    from torch import Tensor


def segment_advantages(state_values_N: Tensor, rewards_B: Tensor, lengths_B: Tensor) -> Tensor:
    """V(state after the segment) - V(state before it) for each token, float64: _N.

    state_values_N is the value of the state before each token, NaN where it was not measured: segments
    begin at the measured ones. The state after the last token is worth the reward. Tokens before the first
    measured state get 0. Along a response, segment advantages add up to reward - first value.
    """
    values_N = state_values_N.double()
    begins_N = ~values_N.isnan()
    owner_N = owners(lengths_B)
    values_K, owner_K = values_N[begins_N], owner_N[begins_N]
    after_K = rewards_B.double()[owner_K]
    inside_K = owner_K[1:] == owner_K[:-1]
    after_K[:-1] = values_K[1:].where(inside_K, after_K[:-1])
    segment_N = begins_N.cumsum(0) - 1
    known_N = segment_N >= 0
    known_N[known_N.clone()] &= owner_K[segment_N[known_N]] == owner_N[known_N]
    advantages_N = values_N.new_zeros(len(values_N))
    advantages_N[known_N] = (after_K - values_K)[segment_N[known_N]]
    return advantages_N


@option("advantage")
class Segment:
    """SPO-chain (2505.23564): a segment's advantage is what it adds to the expected reward.

        A = V(state after the segment) - V(state before it)

    Segments begin before every `interval`-th token with pi(token) < rho, where the policy decides
    something, the first such token included (the paper's cutpoints); with `fixed` before every `interval`-th
    token, whatever its probability, the first of the response included (its ablation). The loop measures V
    there as the mean reward of `samples` continuations (Monte Carlo), so one response alone has a signal; the
    cost is up to samples * segments further generations for each response. pi is the rollout engine's (the
    authors' code: the trainer's). Tokens with pi >= rho get 0, and whitening leaves them out: use with
    token_weights=low_probability of the same rho (rho=1: no mask but of tokens that were certain, which have
    no gradient). A segment that adds nothing gets 0 before whitening, a response without a token below rho 0
    throughout. Whitening: all advantages equal gives 0 (as in the code).
    SPO-tree, which trains on the edges of a sampled tree, is `tree`.

    Where the authors' code differs: a truncated continuation scores 0 (here what its verifier and the shaping
    say); losses are averaged over the micro-batch (here the update); the k3 KL is summed over the tokens and
    averaged over sequences (here it adds up like the loss); log-ratios are clamped to +-10 (here 20), and a
    batch with a mean ratio above 10 is skipped (here not).
    """

    name: str = "segment"
    interval: int = 5
    """Tokens below rho in a segment; with `fixed` tokens."""
    samples: int = 9
    """Continuations that measure the value of a state."""
    rho: float = 0.9
    """Tokens at least this probable neither begin a segment nor train."""
    fixed: bool = False
    """Segments of equally many tokens, in the place of equally many tokens below rho."""
    whiten: bool = True
    """Bring the advantages of the batch to mean 0 and variance 1 (ddof 1)."""
    needs_group: ClassVar[bool] = False
    needs_critic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require(self.interval >= 1, "advantage.interval", self.interval, "at least 1")
        require(self.samples >= 1, "advantage.samples", self.samples, "at least 1")
        require(0 < self.rho <= 1, "advantage.rho", self.rho, "in (0, 1]")

    def decides(self, logprobs_N: Tensor) -> Tensor:
        """Tokens with pi < rho: bool _N."""
        return finite(logprobs_N) < math.log(self.rho)

    def boundaries(self, logprobs_N: Tensor, lengths_B: Tensor) -> Tensor:
        """Tokens before which a segment begins, in terms of the sampling logprobs: bool _N."""
        decides_N = logprobs_N.new_ones(len(logprobs_N)).bool() if self.fixed else self.decides(logprobs_N)
        per_B = segment_sum(decides_N.double(), lengths_B)
        rank_N = decides_N.cumsum(0) - 1 - spread(per_B.cumsum(0) - per_B, lengths_B)
        return decides_N & (rank_N % self.interval == 0)

    def __call__(self, inputs: AdvantageInputs) -> Tensor:
        if inputs.state_values_N is None or inputs.logprobs_N is None:
            raise ValueError("segment needs state_values_N and logprobs_N")
        rewards_B = inputs.rewards_PG.flatten()
        advantages_N = segment_advantages(inputs.state_values_N, rewards_B, inputs.lengths_B)
        trains_N = self.decides(inputs.logprobs_N) & spread(~rewards_B.isnan(), inputs.lengths_B)
        if self.whiten:
            advantages_N = whiten(advantages_N, trains_N.double(), ddof=1)
        return advantages_N.masked_fill(~trains_N, 0).to(inputs.rewards_PG.dtype)
