"""The metrics of a step over all ranks."""

from __future__ import annotations

import pytest
from small_parts import problem, two_tokens
from thread_ranks import on_ranks

from rlvr_cli.core.types import Group, Reason, Verdict
from rlvr_cli.training.metrics import verifier_metrics


def group(*scores: float | None) -> Group:
    """None: the verifier timed out."""
    known = [float("nan") if s is None else s for s in scores]
    return Group(
        problem=problem(0),
        index=0,
        completions=[two_tokens(n) for n in range(len(scores))],
        verdicts=[
            {"even": Verdict(score=s or 0.0, reason=Reason.timeout if s is None else Reason.wrong)}
            for s in scores
        ],
        correct=known,
        rewards=known,
    )


def test_means_of_verdicts_are_over_the_verdicts_of_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rank 0 has 1, 1, 1 and a timeout, rank 1 has 0: the mean is 3/4, not that of 1 and 0, and not 1."""
    mine = [[group(1.0, 1.0), group(1.0, None)], [group(0.0)]]
    found = on_ranks(monkeypatch, 2, lambda rank: verifier_metrics(mine[rank]))
    assert found[0] == found[1]
    assert found[0]["reward/even/mean"] == pytest.approx(3 / 4)
    assert found[0]["reward/source/train/correct_fraction"] == pytest.approx(3 / 4)
    assert found[0]["reward/timeout_fraction"] == pytest.approx(1 / 5)
    nothing = on_ranks(monkeypatch, 2, lambda rank: verifier_metrics(mine[0] if rank else []))
    assert nothing[0]["reward/even/mean"] == 1.0, "a rank without groups has means too"
