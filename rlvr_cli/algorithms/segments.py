"""Sums, means and suffix sums over sequences laid end to end.

x_N holds the tokens of all sequences one after another and lengths_B says how many each has.
Results in half precision would drown in rounding (bfloat16 cannot count past 256), so `widen`
comes before every sum; float32 and float64 are left as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def widen(x: Tensor) -> Tensor:
    """At least float32; booleans and integers become float32."""
    return x if x.is_floating_point() and x.dtype.itemsize >= 4 else x.float()


def spread(x_B: Tensor, lengths_B: Tensor) -> Tensor:
    """Each sequence's value at each of its tokens: _B -> _N."""
    return x_B.repeat_interleave(lengths_B, dim=0)


def segment_sum(x_N: Tensor, lengths_B: Tensor) -> Tensor:
    """Sum over the tokens of each sequence, 0 for an empty one: _N -> _B.

    A NaN stays in its own sequence, which differences of one running sum would not promise.
    """
    x_N = widen(x_N)
    return x_N.new_zeros(len(lengths_B)).index_add(0, owners(lengths_B), x_N)


def segment_mean(x_N: Tensor, lengths_B: Tensor) -> Tensor:
    """Mean over the tokens of each sequence, 0 for an empty one: _N -> _B."""
    return segment_sum(x_N, lengths_B) / lengths_B.clamp(min=1)


def suffix_sum(x_N: Tensor, lengths_B: Tensor) -> Tensor:
    """x_t + x_{t+1} + ... up to the end of the sequence: _N -> float64 _N.

    float64 because it is a difference of two sums that run over the whole batch.
    """
    x_N = x_N.double()
    through_B = segment_sum(x_N, lengths_B).cumsum(0)
    return spread(through_B, lengths_B) - x_N.cumsum(0) + x_N


def head_sum(x_N: Tensor, lengths_B: Tensor, counts_B: Tensor) -> Tensor:
    """Sum over the first counts_B tokens of each sequence: _N -> _B."""
    return segment_sum(x_N * (positions(lengths_B) < spread(counts_B, lengths_B)), lengths_B)


def positions(lengths_B: Tensor) -> Tensor:
    """Each token's place in its sequence, from 0: _N."""
    starts_B = lengths_B.cumsum(0) - lengths_B
    return lengths_B.new_ones(int(lengths_B.sum())).cumsum(0) - 1 - spread(starts_B, lengths_B)


def owners(lengths_B: Tensor) -> Tensor:
    """Each token's sequence, from 0: _N."""
    return spread(lengths_B.new_ones(len(lengths_B)).cumsum(0) - 1, lengths_B)


def at_end(x_B: Tensor, lengths_B: Tensor) -> Tensor:
    """Each sequence's value at its last token and 0 elsewhere; empty sequences vanish: _B -> _N."""
    some_B = lengths_B > 0
    last_B = lengths_B.cumsum(0)[some_B] - 1
    return x_B.new_zeros(int(lengths_B.sum())).index_add(0, last_B, x_B[some_B])


def last(x_N: Tensor, lengths_B: Tensor) -> Tensor:
    """The value at each sequence's last token, 0 for an empty one: _N -> _B."""
    some_B = lengths_B > 0
    x_B = x_N.new_zeros(len(lengths_B))
    x_B[some_B] = x_N[lengths_B.cumsum(0)[some_B] - 1]
    return x_B


def mask(lengths_B: Tensor) -> Tensor:
    """bool _BT, True where sequence b has a token t. x_BT[mask] = x_N pads, x_BT[mask] flattens."""
    longest = int(lengths_B.max()) if len(lengths_B) else 0
    position_T = lengths_B.new_ones(longest).cumsum(0) - 1
    return position_T < lengths_B[:, None]
