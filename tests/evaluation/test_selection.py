"""What `--select otv` makes of rows: votes, replayed rules, and samples that were really ended early."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlvr_cli.core.errors import UserError
from rlvr_cli.evaluation.selection import cut_short, selected, with_selection
from rlvr_cli.schema import Bench, Prune, Select, SelectBy

BENCH = Bench(k=4, max_tokens=16)


def row(name: str, right: list[bool], said: list[str], scores: list[float], **more: Any) -> dict[str, Any]:
    """Four samples of 16 tokens, probed every four, with the same confidence all along."""
    told = [
        {"tokens": [4, 8, 12, 16], "confidences": [c] * 4, "dropped": False, "recomputed": 20} for c in scores
    ]
    return {
        "id": name,
        "correct": right,
        "scores": [float(x) for x in right],
        "extracted": said,
        "reasons": ["correct" if x else "wrong" for x in right],
        "details": [""] * 4,
        "lengths": [16] * 4,
        "truncated": [False] * 4,
        "probes": told,
    } | more


ROWS = [
    row("p", [True, False, False, False], ["A", "B", "B", "C"], [0.9, 0.2, 0.3, 0.1]),
    row("q", [True, True, True, False], ["A", "A", "A", "B"], [0.6, 0.7, 0.8, 0.9]),
]


def settings(**more: Any) -> Select:
    return Select(by=SelectBy.otv, verifier="v", every=4, **more)


def test_each_way_on_two_problems() -> None:
    found = selected(ROWS, settings(below=0.25, min_tokens=8, above=0.85), BENCH)
    assert found["maj@4"] == 0.5 and found["weighted@4"] == 1.0, ".9 against .5; 2.1 against .9"
    assert found["best@4"] == 0.5, "of q the wrong one is surest"
    assert found["filtered@4"] == 0.5, "two are left: .9, .3 of p, right; .9, .8 of q, wrong"
    assert found["tokens"] == 128
    # L/4 and L/2, so 2 * 4 + 8 + 16 = 32 tokens of 64 a problem
    assert found["halving_tokens"] == 64 and found["halving_saved"] == 0.5 and found["halving@4"] == 0.5
    # of p two end after 8 tokens
    assert found["threshold_tokens"] == 112 and found["threshold_saved"] == pytest.approx(0.125)
    assert found["winner@4"] == 0.5 and found["winner_saved"] == 0, "all end at once"
    pairs = [(r, w) for r in (0.9, 0.6, 0.7, 0.8) for w in (0.2, 0.3, 0.1, 0.9)]
    assert found["auroc"] == pytest.approx(sum(1.0 if r > w else 0.5 if r == w else 0 for r, w in pairs) / 16)
    assert found["probes"] == 32 and found["recomputed_tokens"] == 160
    assert found["ci95_weighted@4_low"] <= 1 <= found["ci95_weighted@4_high"]


def test_plain_evaluation_is_left_as_it_is() -> None:
    assert with_selection({"avg@4": 0.5}, ROWS, Select(), BENCH) == {"avg@4": 0.5}
    with pytest.raises(UserError, match="have no confidences"):
        selected([{k: v for k, v in ROWS[0].items() if k != "probes"}], settings(), BENCH)


def test_samples_that_were_cut_short_have_no_average_and_are_compared_with_full_ones(tmp_path: Path) -> None:
    def early(name: str) -> dict[str, Any]:
        whole = next(r for r in ROWS if r["id"] == name)
        probes = [dict(p, dropped=n > 0) for n, p in enumerate(whole["probes"])]
        return whole | {"probes": probes, "lengths": [16, 4, 4, 4]}

    rows = [early("p"), early("q")]
    assert cut_short(rows) and not cut_short(ROWS)
    full = tmp_path / "full.json"
    keys = {"bench": "b", "summary": {}, "protocol": {}, "source": {}, "verifier": {}}
    full.write_text(json.dumps(keys | {"problems": ROWS}))
    select = settings(prune=Prune.winner, full=str(full))
    found = with_selection({"avg@4": 0.4, "maj@4": 0.3, "left_out": 1.0}, rows, select, BENCH)
    assert "avg@4" not in found and "maj@4" not in found and found["left_out"] == 1
    assert found["winner@4"] == 1 and found["winner_tokens"] == 56
    assert found["winner_saved"] == pytest.approx(1 - 56 / 128)
    # Judged anew from their file, where no rule ends anything any more, they are cut short all the same.
    again = with_selection({"avg@4": 0.4, "maj@4": 0.3, "left_out": 1.0}, rows, Select(), BENCH)
    assert "avg@4" not in again and "maj@4" not in again and again["left_out"] == 1
    with pytest.raises(UserError, match="these samples were ended early"):
        with_selection({}, rows, settings(), BENCH)
    full.write_text(json.dumps(keys | {"problems": ROWS[:1]}))
    with pytest.raises(UserError, match="has no problem q"):
        selected(rows, select, BENCH)
    full.write_text(json.dumps(keys | {"problems": rows}))
    with pytest.raises(UserError, match="ended early too"):
        selected(rows, select, BENCH)


def test_combinations_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match=r"select\.keep is for select\.by=otv"):
        Select(keep=0.2)
    with pytest.raises(ValueError, match=r"select\.full is what pruning is compared with"):
        settings(full="x.json")
    with pytest.raises(ValueError, match="they must rise"):
        settings(milestones=[8, 4])
