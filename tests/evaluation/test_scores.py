"""Metrics of evaluations against hand-computed values, enumeration and simulation."""

from collections import Counter
from itertools import combinations
from math import comb, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr_cli.evaluation import breakdown, scores
from rlvr_cli.evaluation.scores import g_pass_at_k, maj_at_k, mg_pass_at_k, pass_at_k, summarise


def row(correct, extracted=None, reasons=None, lengths=None, **more):
    n = len(correct)
    return {
        "correct": [None if x is None else x == 1 for x in correct],
        "scores": correct,
        "extracted": extracted or ["7" if c else None for c in correct],
        "reasons": reasons or ["correct" if c == 1 else "wrong" for c in correct],
        "details": [""] * n,
        "lengths": lengths or [10] * n,
        "truncated": [False] * n,
        **more,
    }


def test_pass_and_g_pass_equal_enumeration_for_all_n_up_to_12():
    for n in range(1, 13):
        for c in range(n + 1):
            samples = [i < c for i in range(n)]
            for k in range(1, n + 1):
                counts = Counter(sum(chosen) for chosen in combinations(samples, k))
                total = comb(n, k)
                assert pass_at_k(n, c, k) == pytest.approx(1 - counts[0] / total)
                for tau in (0.25, 0.5, 0.75, 1.0):
                    enough = sum(number for hits, number in counts.items() if hits and hits >= tau * k)
                    assert g_pass_at_k(n, c, k, tau) == pytest.approx(enough / total)


def vote(samples):
    """Share of the first prize that the right answer gets among these samples."""
    counts = Counter("right" if ok else answer for ok, answer in samples if ok or answer is not None)
    best = [name for name, number in counts.items() if number == max(counts.values())]
    return ("right" in best) / len(best) if best else 0.0


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from(["a", "b", "c", None])), min_size=1, max_size=9),
    st.integers(1, 9),
)
def test_majority_is_the_mean_over_all_subsets(samples, k):
    if k > len(samples):
        return
    subsets = [vote(chosen) for chosen in combinations(samples, k)]
    got = maj_at_k([ok for ok, _ in samples], [answer for _, answer in samples], k)
    assert got == pytest.approx(sum(subsets) / len(subsets))


def test_majority_by_hand():
    right = [True, True, False, False]
    assert maj_at_k(right, ["7", "7.0", "5", "5"], 4) == 0.5  # two against two: a tie
    assert maj_at_k(right, ["7", "7.0", "5", None], 4) == 1.0  # who says nothing has no vote
    assert maj_at_k([True, False, False, False], ["7", "5", "5", None], 4) == 0.0
    assert maj_at_k([False] * 3, [None] * 3, 3) == 0.0
    assert maj_at_k([i < 20 for i in range(64)], [str(i) for i in range(64)], 64) == 1.0


def test_summary_of_hand_computed_rows():
    rows = [row([1.0, 0.0, 0.0, 1.0]), row([0.0] * 4), row([1.0] * 4, lengths=[20, 20, 20, 20])]
    summary = summarise(rows)
    assert summary["avg@4"] == pytest.approx(0.5)
    # one problem varies: s^2 = 1/3, / 4 samples; half width 1.96 sqrt(1/12) / 3 problems
    half = 1.959964 * sqrt(1 / 12) / 3
    assert summary["sampling95_low"] == pytest.approx(0.5 - half)
    assert summary["sampling95_high"] == pytest.approx(0.5 + half)
    assert summary["pass@1"] == pytest.approx(0.5)
    assert summary["pass@2"] == pytest.approx((1 - 1 / 6 + 0 + 1) / 3)
    assert summary["pass@4"] == pytest.approx(2 / 3)
    assert summary["gpass@4_0.5"] == pytest.approx(2 / 3) and summary["gpass@4_1.0"] == pytest.approx(1 / 3)
    # the two wrong samples of the first problem say nothing, so it is won whenever one right one is drawn
    assert summary["maj@2"] == pytest.approx((5 / 6 + 0 + 1) / 3)
    assert summary["response_length"] == pytest.approx((40 + 40 + 80) / 12)
    assert "maj@4" not in summarise(rows, majority=False)
    assert [name for name in summarise(rows, pass_at=[3]) if name.startswith("pass@")] == ["pass@3"]


def test_interval_over_problems_by_hand():
    # ten problems, half of them solved: the exact bootstrap distribution is binomial(10, 1/2) / 10
    low, high = scores.over_problems([0.0, 1.0] * 5)
    tail = 0.00853  # normal cdf of -sqrt(10/9) * 2.2622 (t with 9 degrees of freedom)
    cdf = np.cumsum([comb(10, i) / 2**10 for i in range(11)])
    assert low == pytest.approx(np.searchsorted(cdf, tail) / 10) and high == pytest.approx(1 - low)
    assert scores.over_problems([0.5]) is None
    # ten of ten wrong: an upper limit of 1 - 0.025 ** (1/10), as Clopper and Pearson give it
    assert scores.over_problems([0.0] * 10) == pytest.approx((0.0, 0.3085), abs=1e-4)
    assert scores.over_problems([1.0] * 10) == pytest.approx((0.6915, 1.0), abs=1e-4)
    assert scores.sampling_only([[0.0] * 5] * 2) == pytest.approx((0.0, 0.3085), abs=1e-4)
    assert scores.over_problems([0.0] * 10, bounds=(-1, 1)) == (0.0, 0.0)
    assert scores.over_problems([0.3] * 9) == pytest.approx((0.3, 0.3))
    assert scores.over_problems([0.1, 0.4, 0.9], seed=1) == scores.over_problems([0.1, 0.4, 0.9], seed=1)
    assert scores.sampling_only([[1.0], [0.0]]) is None


def test_the_interval_of_a_summary_is_over_problems_and_not_over_samples():
    """Four samples of each of ten problems, all alike: they say no more of other problems than one does."""
    rows = [row([float(solved)] * 4) for solved in [0, 1] * 5]
    summary = summarise(rows)
    # the bootstrap distribution is binomial(10, 1/2) / 10; of 40 samples it would be half as wide
    assert (summary["ci95_low"], summary["ci95_high"]) == (pytest.approx(0.1), pytest.approx(0.9))
    assert (summary["sampling95_low"], summary["sampling95_high"]) == (0.5, 0.5)
    mixed = summarise([row([1.0, 0.0, 0.0, 0.0]), row([1.0] * 4), row([1.0, 1.0, 0.0, 0.0])])
    assert (mixed["ci95_low"], mixed["ci95_high"]) == scores.over_problems([0.25, 1.0, 0.5])


def test_student_quantiles():
    for freedom, wanted in ((4, 2.776), (9, 2.262), (29, 2.045), (499, 1.965)):
        assert scores._student(freedom) == pytest.approx(wanted, abs=0.01)


@pytest.mark.slow
def test_coverage_of_both_intervals():
    generator = np.random.default_rng(0)
    problems, samples, trials, mean = 40, 8, 2000, 0.4
    chances = generator.beta(2, 3, size=(trials, problems))
    hits = (generator.random((trials, problems, samples)) < chances[:, :, None]).astype(float)
    over = samplewise = 0
    for trial in range(trials):
        low, high = scores.over_problems(list(hits[trial].mean(1)), seed=trial, resamples=1000)
        over += low <= mean <= high
        low, high = scores.sampling_only(hits[trial].tolist())
        samplewise += low <= chances[trial].mean() <= high
    assert over / trials == pytest.approx(0.95, abs=0.015)
    assert samplewise / trials == pytest.approx(0.95, abs=0.015)


def test_what_distorts_a_score_is_counted():
    rows = [
        row([0.0, None], reasons=["no_answer", "timeout"]),
        row([1.0, 0.0], reasons=["correct", "malformed"]),
        row([1.0, None], reasons=["correct", "crash"], disputed=[True, False]),
        row([0.5, 0.5]),
    ]
    rows[0]["truncated"] = [True, False]
    summary = summarise(rows)
    assert summary["no_answer_fraction"] == 2 / 8
    assert (summary["timeout_fraction"], summary["crash_fraction"]) == (1 / 8, 1 / 8)
    assert summary["disputed_fraction"] == summary["truncated_fraction"] == 1 / 8


def test_samples_without_a_verdict_are_no_part_of_a_score():
    """Three problems: right of 1 and 1 missing, half of 2, none of 0 and 2 missing."""
    nothing = row([None, None], reasons=["crash", "timeout"])
    rows = [row([1.0, None], reasons=["correct", "crash"]), row([1.0, 0.0]), nothing]
    summary = summarise(rows)
    assert summary["avg@2"] == pytest.approx((1 + 1 / 2) / 2)
    assert summary["pass@1"] == pytest.approx((1 + 1 / 2) / 2)
    assert summary["pass@2"] == summary["maj@2"] == 1.0, "of the one problem with two verdicts"
    assert summary["problems"] == 3 and summary["crash_fraction"] == pytest.approx(2 / 6)
    one_more = summarise([*rows[:2], nothing, nothing])
    assert "crash_fraction" in one_more and not any("@" in name or name == "score" for name in one_more)
    assert scores.curves([*rows[:2], nothing, nothing]) == {}
    assert breakdown.by_subject([r | {"extra": {"level": n}} for n, r in enumerate(rows)])[
        "level"
    ].keys() == {
        "0",
        "1",
    }


def test_partial_credit_is_a_score_and_not_correct():
    """A judge that calls 0.8 correct, and 0.5 for a wrong answer."""
    summary = summarise([row([0.8, 0.5]) | {"correct": [True, False]}, row([0.0, 0.5])])
    assert (summary["avg@2"], summary["pass@2"]) == (0.25, 0.5)
    assert summary["score"] == pytest.approx((0.65 + 0.25) / 2)


def test_tables_and_distributions():
    rows = [
        row([1.0, 0.0], lengths=[10, 30], extra={"subject": "algebra", "level": 1}),
        row([0.0, 0.0], lengths=[20, 40], extra={"subject": "algebra", "level": 2}),
        row([1.0, 1.0], lengths=[50, 60], extra={"subject": "geometry", "level": 1}),
    ]
    rows[1]["truncated"] = [True, True]
    tables = breakdown.by_subject(rows)
    assert tables["subject"]["algebra"] == {
        "problems": 2,
        "avg": 0.25,
        "pass": 0.5,
        "truncated_fraction": 0.5,
    }
    assert tables["level"]["1"]["avg"] == 0.75 and set(tables) == {"subject", "level"}
    found = breakdown.distributions(rows)
    assert found["response_length"]["all"]["p50"] == 35 and found["response_length"]["right"]["p100"] == 60
    assert found["truncated_samples"] == {"0": 2, "2": 1}
    assert list(scores.curves(rows)["pass@"]) == ["1", "2"] and scores.powers(6) == [1, 2, 4, 6]


def test_g_pass_worked_by_hand_and_its_mean():
    assert g_pass_at_k(4, 2, 2, 1.0) == pytest.approx(1 / 6)
    assert g_pass_at_k(4, 2, 2, 0.5) == pytest.approx(5 / 6)
    # k = 2: the one threshold above a half is 1; k = 4: at least 3, and all 4
    assert mg_pass_at_k(4, 2, 2) == pytest.approx(1 / 6)
    assert mg_pass_at_k(8, 6, 4) == pytest.approx(
        (2 / 4) * ((comb(6, 3) * 2 + comb(6, 4)) + comb(6, 4)) / comb(8, 4)
    )
    for k in (2, 4, 8, 16):
        assert mg_pass_at_k(48, 48, k) == 1 and mg_pass_at_k(48, 0, k) == 0
    assert mg_pass_at_k(9, 9, 3) == pytest.approx(2 / 3), "an odd k cannot reach 1, as published"


def test_steadiness_is_in_the_summary_and_its_curves():
    rows = [row([1.0, 1.0, 1.0, 0.0]), row([1.0] * 4), row([1.0, 1.0, 0.0, 0.0])]
    summary = summarise(rows)
    assert summary["mgpass@4"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert summary["mgpass@2"] == pytest.approx((1 / 2 + 1 + 1 / 6) / 3)
    assert (summary["gpass@4_0.25"], summary["gpass@4_0.75"]) == (1.0, pytest.approx(2 / 3))
    found = scores.curves(rows)["mgpass@"]
    assert list(found) == ["2", "3", "4"] and found["4"] == summary["mgpass@4"]
    assert "mgpass@1" not in summarise([row([1.0])]) and scores.curves([row([1.0])])["mgpass@"] == {}
