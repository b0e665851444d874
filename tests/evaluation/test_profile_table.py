"""What a profile says of a data set: histogram, costs and advice, worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from rlvr_cli.evaluation.profile_table import cost, histogram, lines_of, savings, signal
from rlvr_cli.schema import ProfileRecipe


def row(correct: int, judged: int = 10, *, tokens: float = 20.0, **other: Any) -> dict[str, Any]:
    found = {"source": "train", "correct": correct, "judged": judged, "tokens": tokens, "truncated": 0.0}
    found |= {"pass@1": correct / judged if judged else None, "score_varies": 0 < correct < judged}
    reasons = {"correct": correct, "wrong": judged - correct} if judged else {"timeout": 10}
    return found | {"reasons": {k: n for k, n in reasons.items() if n}} | other


def recipe(**given: Any) -> ProfileRecipe:
    return ProfileRecipe(**{"k": 10, "file": "p.jsonl", "group_size": 2, "prompts_per_step": 1, **given})


def test_pass_rates_fall_into_fifths_whose_upper_ends_belong_to_them() -> None:
    rows = [row(n, 5) for n in (0, 1, 2, 3, 4, 5)] + [row(1, 100), row(99, 100)]
    assert list(histogram(rows).values()) == [1, 2, 1, 1, 1, 1, 1]
    assert sum(histogram([row(n) for n in range(11)]).values()) == 11


def test_the_chance_of_a_signal_by_hand() -> None:
    # After 0 right of 1, p ~ Beta(0.5, 1.5): E[p^2] = 0.5/2 * 1.5/3, E[(1-p)^2] = 1.5/2 * 2.5/3.
    assert signal(row(0, 1), 2) == pytest.approx(1 - 0.125 - 0.625)
    assert signal(row(5), 2) == pytest.approx(1 - 2 * 5.5 / 11 * 6.5 / 12)
    assert signal(row(0, score_varies=True), 2) == 1.0  # partial credit is a signal
    assert signal(row(0, 1000), 8) < 0.01 < signal(row(0, 10), 8)


def test_what_a_band_saves_by_hand() -> None:
    rows = [row(5, tokens=10), row(5, tokens=10), row(0, tokens=40), row(10, tokens=20)]
    use, waste = signal(rows[0], 2), signal(rows[2], 2)
    whole = 2 * 80 / (2 * use + 2 * waste)
    assert cost(rows, 2) == pytest.approx(whole)
    found = savings(rows, recipe())
    assert found == {band: (2, pytest.approx(1 - 2 * 20 / (2 * use) / whole)) for band in found}
    assert list(found) == [(0.05, 0.95), (0.1, 0.9), (0.2, 0.8)]
    assert savings(rows, recipe(prompts_per_step=3)) == {}


def test_the_widest_band_that_saves_as_much_is_advised() -> None:
    rows = [row(5), row(5), row(0), row(10)]
    lines = lines_of(rows, recipe())
    assert lines["profiled"] == "4 problems x 10 samples" and "band: [0.05, 0.95]}" in lines["advice"]
    assert lines["pass rate 0 (never)"].split()[:2] == ["1", "25.0%"]
    assert lines["band [0.1, 0.9]"].startswith("keeps 2 (50%), tokens -")
    assert lines["verdicts"] == "correct 50.0%, wrong 50.0%" and "without a verdict" not in lines
    assert lines_of([row(5)] * 4, recipe())["advice"] == "no band: the best saves little"


def test_what_is_not_known_is_told() -> None:
    lines = lines_of([row(5), row(0, 0)], recipe())
    assert lines["without a verdict"].startswith("1 problems") and lines["pass@k"] == "@1 50.0%"
    assert lines_of([row(0, 0)], recipe()).keys() == {
        "profiled",
        "without a verdict",
        "verdicts",
        "a response",
    }
    assert lines_of([row(0, score_varies=True), row(5)], recipe())["partial credit"].startswith("1 problems")
    several = lines_of([row(0), row(5, source="other")], recipe())
    assert several["data.train"] == "1 problems, pass rate 0.0%; never solved 100.0%, always 0.0%"
