from itertools import combinations
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlvr_cli.evaluate import pass_at_k, summarise


def row(correct, reasons=None, lengths=None):
    n = len(correct)
    return {
        "correct": correct,
        "reasons": reasons or ["correct" if c else "wrong" for c in correct],
        "lengths": lengths or [10] * n,
        "truncated": [False] * n,
    }


@given(st.lists(st.booleans(), min_size=1, max_size=10), st.integers(1, 10))
def test_pass_at_k_is_the_share_of_k_subsets_with_a_right_answer(right, k):
    if k > len(right):
        return
    subsets = list(combinations(right, k))
    assert pass_at_k(len(right), sum(right), k) == pytest.approx(sum(any(s) for s in subsets) / len(subsets))


def test_summary_of_hand_computed_rows():
    rows = [row([1.0, 0.0, 0.0, 1.0]), row([0.0] * 4), row([1.0] * 4, lengths=[20, 20, 20, 20])]
    summary = summarise(rows)
    # per-problem means .5, 0, 1: mean .5, sd (ddof 1) .5, half width 1.96 * .5 / sqrt(3)
    assert summary["avg@4"] == pytest.approx(0.5)
    assert summary["ci95_low"] == pytest.approx(max(0.0, 0.5 - 1.96 * 0.5 / sqrt(3)))
    assert summary["ci95_high"] == pytest.approx(min(1.0, 0.5 + 1.96 * 0.5 / sqrt(3)))
    assert summary["pass@4"] == pytest.approx(2 / 3)
    assert summary["response_length"] == pytest.approx((40 + 40 + 80) / 12)


def test_what_distorts_a_score_is_counted():
    rows = [row([0.0, 0.0], ["no_answer", "timeout"]), row([1.0, 0.0], ["correct", "malformed"])]
    rows[0]["truncated"] = [True, False]
    summary = summarise(rows)
    assert summary["no_answer_fraction"] == 0.5
    assert summary["timeout_fraction"] == 0.25
    assert summary["truncated_fraction"] == 0.25
