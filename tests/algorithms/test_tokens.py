"""Which tokens count, and sums over sequences laid end to end."""

import math

import numpy as np
import torch
from f1 import (
    ENTROPY,
    LENGTHS,
    OLD,
    ZSCORED,
    aggregation,
    algorithm,
    flat,
    make,
    near,
    total,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr_cli.algorithms import segments
from rlvr_cli.algorithms.token_weights import Scope, top

NOBODY = torch.zeros(4, dtype=torch.bool)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0, 5, width=32), min_size=1, max_size=40),
    st.sampled_from([0.1, 0.2, 0.3, 0.5, 0.9, 1.0]),
)
def test_top_agrees_with_numpy(values: list[float], fraction: float) -> None:
    keep = top(torch.tensor(values, dtype=torch.float64), fraction)
    count = int(keep.sum())
    threshold = np.quantile(np.array(values), 1 - fraction)
    # np.quantile may miss an order statistic by one rounding, so ties at the threshold are left open.
    assert (
        (np.array(values) > threshold + 1e-9).sum() <= count <= (np.array(values) >= threshold - 1e-9).sum()
    )
    assert count >= 1


def test_top_entropy_counts() -> None:
    assert int(top(torch.arange(10.0), 0.2).sum()) == 2
    assert int(top(torch.arange(11.0), 0.2).sum()) == 3
    assert int(top(torch.zeros(10), 0.2).sum()) == 10  # ties are all kept
    assert int(top(torch.arange(11.0), 0.3).sum()) == 4


def test_top_entropy_of_everything_is_all() -> None:
    option = make("token_weights", "top_entropy", fraction=1.0)
    assert option(ENTROPY, None, LENGTHS, NOBODY).all()
    dapo = algorithm(loss=make("loss", "clipped", clip_ratio_high=0.28))
    assert float(total(dapo, ZSCORED, option(ENTROPY, None, LENGTHS, NOBODY))) == near(0.331920)


def test_top_entropy_within_sequences() -> None:
    option = make("token_weights", "top_entropy", fraction=0.5, scope=Scope.sequence)
    keep = option(ENTROPY, None, LENGTHS, torch.tensor([False, False, True, False]))
    assert keep.nonzero().flatten().tolist() == [1, 2, 4, 6, 8, 9]
    dropping = make("token_weights", "top_entropy", fraction=0.5, scope=Scope.sequence, drop_truncated=True)
    kept = dropping(ENTROPY, None, LENGTHS, torch.tensor([False, False, True, False]))
    assert kept.nonzero().flatten().tolist() == [1, 2, 4, 9]


def test_dropping_truncated_responses() -> None:
    truncated = torch.tensor([False, True, False, True])
    for name in ("all", "top_entropy", "low_probability"):
        values = (
            {"fraction": 1.0} if name == "top_entropy" else {"rho": 1.0} if name == "low_probability" else {}
        )
        option = make("token_weights", name, drop_truncated=True, **values)
        assert option(ENTROPY, OLD, LENGTHS, truncated).tolist() == [True] * 2 + [False] * 4 + [True] * 3 + [
            False
        ]
        assert not option(ENTROPY, OLD, LENGTHS, ~NOBODY).any()
        assert make("token_weights", name, **values)(ENTROPY, OLD, LENGTHS, truncated).all()


def test_truncated_responses_leave_the_entropy_quantile() -> None:
    option = make("token_weights", "top_entropy", drop_truncated=True)
    keep = option(ENTROPY, None, LENGTHS, torch.tensor([False, True, False, False]))
    assert keep.nonzero().flatten().tolist() == [1, 6]  # of six tokens 1.2 and .9


def test_probability_mask() -> None:
    probabilities = flat([0.99, 0.5, 0.95, 0.3, 0.8, 0.99, 0.2])
    lengths, truncated = torch.tensor([7]), torch.tensor([False])
    keep = make("token_weights", "low_probability")(None, probabilities.log(), lengths, truncated)
    assert keep.int().tolist() == [0, 1, 0, 1, 1, 0, 1]
    # SPO's chain example: advantages of segments, on-policy loss over the mask
    weights = aggregation("token_mean")(keep, lengths)
    loss_N, _ = make("loss", "clipped")(
        probabilities.log(), probabilities.log(), flat([0, 0.3, 0, 0.3, 0.3, 0, 0.3]), lengths
    )
    assert float((loss_N * weights).sum()) == near(-0.3)


def test_each_token_has_its_pass() -> None:
    """Unlikely tokens first (F1 with eta 0.5: 1, 3, 4 and 6), then the rest; all together train."""
    option = make("token_weights", "lopti")
    keep = option(None, OLD, LENGTHS, torch.zeros(4, dtype=torch.bool))
    assert option.passes == 2 and bool(keep.all())
    first, second = (option.of_pass(number, OLD) for number in range(2))
    assert first.nonzero().flatten().tolist() == [1, 3, 4, 6] and torch.equal(second, ~first)
    assert all(make("token_weights", name).passes == 1 for name in ("all", "top_entropy", "low_probability"))


def test_segments() -> None:
    x_N, lengths = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([0, 3, 0, 1, 0])
    assert segments.segment_sum(x_N, lengths).tolist() == [0, 6, 0, 4, 0]
    assert segments.segment_mean(x_N, lengths).tolist() == [0, 2, 0, 4, 0]
    assert segments.suffix_sum(x_N, lengths).tolist() == [6, 5, 3, 4]
    assert segments.spread(torch.arange(5), lengths).tolist() == [1, 1, 1, 3]
    assert segments.at_end(torch.arange(5.0), lengths).tolist() == [0, 0, 1, 3]
    assert segments.last(x_N, lengths).tolist() == [0, 3, 0, 4, 0]
    assert segments.mask(lengths[1:4]).tolist() == [[True] * 3, [False] * 3, [True, False, False]]


def test_a_nan_stays_in_its_segment() -> None:
    x_N = torch.tensor([1.0, math.nan, 3.0])
    assert segments.segment_sum(x_N, torch.tensor([1, 1, 1]))[[0, 2]].tolist() == [1, 3]
