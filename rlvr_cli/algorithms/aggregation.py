"""How tokens add up: per-token weights w, computed once over the whole update, with

    loss = sum_N(token_loss_N * w_N)

so that any split of the update over micro-batches and ranks sums to the same loss. Dividing by a
micro-batch's own token count instead would silently turn token_mean into a mean of means.
Dropped tokens weigh 0. A sequence without a kept token leaves the sequence count B as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlvr_cli.algorithms import option
from rlvr_cli.algorithms.check import require
from rlvr_cli.algorithms.segments import segment_sum, spread

if TYPE_CHECKING:
    from torch import Tensor


def kept_per_sequence(keep_N: Tensor, lengths_B: Tensor) -> Tensor:
    """Kept tokens of each sequence, exact in float64: _B."""
    return segment_sum(keep_N.double(), lengths_B)


def sequence_count(keep_N: Tensor, lengths_B: Tensor) -> Tensor:
    """Sequences with a kept token, at least 1: a scalar."""
    return (kept_per_sequence(keep_N, lengths_B) > 0).sum().clamp(min=1)


@option("aggregation")
class TokenMean:
    """sum(loss) / number of kept tokens: DAPO (2503.14476), verl's default. Long responses weigh more."""

    name: str = "token_mean"

    def __call__(self, keep_N: Tensor, lengths_B: Tensor) -> Tensor:
        return keep_N.float() / keep_N.sum().clamp(min=1)


@option("aggregation")
class SeqMeanTokenMean:
    """mean over sequences of the mean over their kept tokens: GRPO (2402.03300) and GSPO.

    Each response weighs the same, so tokens of long wrong answers are punished less.
    """

    name: str = "seq_mean_token_mean"

    def __call__(self, keep_N: Tensor, lengths_B: Tensor) -> Tensor:
        kept_B = kept_per_sequence(keep_N, lengths_B).clamp(min=1)
        return (keep_N / (spread(kept_B, lengths_B) * sequence_count(keep_N, lengths_B))).float()


@option("aggregation")
class SeqMeanTokenSum:
    """mean over sequences of the sum over their kept tokens: the policy gradient of whole responses (RLOO).

    Grows with response length: compare learning rates with that in mind.
    """

    name: str = "seq_mean_token_sum"

    def __call__(self, keep_N: Tensor, lengths_B: Tensor) -> Tensor:
        return keep_N.float() / sequence_count(keep_N, lengths_B)


@option("aggregation")
class Constant:
    """sum(loss) / (B * length): Dr.GRPO (2503.20783), where length is the longest response generated.

    Unbiased as a sum over tokens, and of a size that does not depend on how long responses are. verl's
    default constant is the width of the padded tensor, which changes from batch to batch.
    """

    name: str = "constant"
    length: int | None = None
    """The divisor; usually ${rollout.max_tokens}. It must be given."""

    def __post_init__(self) -> None:
        require(self.length is None or self.length > 0, "aggregation.length", self.length, "positive")

    def __call__(self, keep_N: Tensor, lengths_B: Tensor) -> Tensor:
        if self.length is None:
            raise ValueError("algorithm.aggregation.length is null; it must be positive")
        return keep_N.float() / (sequence_count(keep_N, lengths_B) * self.length)
