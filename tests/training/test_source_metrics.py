"""Rewards, lengths and measures by the values of a column."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from thread_ranks import on_ranks

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Completion, Group, Problem, Reason, Verdict
from rlvr_cli.schema import Source
from rlvr_cli.training.sample_metrics import sample_metrics
from rlvr_cli.training.source_metrics import check_values_of

DATA = {"mix": Source(path="here", metrics_by="data_source"), "plain": Source(path="there")}


def problem(value: Any, source: str = "mix") -> Problem:
    return Problem(
        id="1",
        prompt="p",
        tokens=[1],
        answer="",
        source=source,
        verifiers=["box"],
        extra={"data_source": value},
    )


def group(value: str, right: list[float], lengths: list[int], source: str = "mix") -> Group:
    """Of samples that are right (1), wrong (0) or without a verdict (NaN)."""
    none = np.zeros(0, np.float32)
    return Group(
        problem=problem(value, source),
        index=0,
        completions=[
            Completion(tokens=np.zeros(n, np.int32), logprobs=none, text="", finished=n < 9) for n in lengths
        ],
        verdicts=[
            {"box": Verdict(score=x, reason=Reason.wrong, more={"iou": x / 2, "said": "text"})}
            if x == x
            else {"box": Verdict(score=0.0, reason=Reason.timeout, more={"iou": 9.0})}
            for x in right
        ],
        correct=right,
        first_scores=right,
        rewards=right,
    )


def test_every_value_has_its_own_and_groups_of_one_kind_have_no_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over two ranks; all of `ocr` are wrong, all of `coco/2017` right but one without a verdict."""
    mine = [
        [group("coco/2017", [1.0, 1.0], [4, 8]), group("x", [1.0], [3], "plain")],
        [group("ocr", [0.0, 0.0], [2, 9]), group("coco/2017", [math.nan], [6])],
    ]
    found = on_ranks(monkeypatch, 2, lambda rank: sample_metrics(mine[rank], DATA))
    assert found[0] == found[1] and not any(math.isnan(value) for value in found[0].values())
    coco, ocr = "source/mix:coco_2017", "source/mix:ocr"
    assert {name: value for name, value in found[0].items() if coco in name} == {
        f"response_length/{coco}/mean": 6.0,
        f"response_length/{coco}/correct": 6.0,
        f"response_length/{coco}/truncated_fraction": 0.0,
        f"reward/{coco}/correct_fraction": 1.0,
        f"reward/{coco}/score": 1.0,
        f"reward/{coco}/mean": 1.0,
        f"reward/{coco}/box/iou": 0.5,
    }
    assert (
        found[0][f"response_length/{ocr}/wrong"] == 5.5 and f"response_length/{ocr}/correct" not in found[0]
    )
    assert found[0][f"response_length/{ocr}/truncated_fraction"] == 0.5
    assert not any("plain:" in name for name in found[0])
    assert not any(":" in name for name in sample_metrics(mine[0], {"plain": DATA["plain"]}))


def test_columns_that_tell_nothing_apart() -> None:
    check_values_of("mix", "data_source", [problem("a"), problem("b")])
    with pytest.raises(UserError, match=r"data\.mix: a row has no column 'sauce' \(metrics_by\)"):
        check_values_of("mix", "sauce", [problem("a")])
    with pytest.raises(UserError, match="has no column"):
        check_values_of("mix", "data_source", [problem("a"), problem(None)])
    with pytest.raises(UserError, match="'data_source' has 101 values"):
        check_values_of("mix", "data_source", [problem(n) for n in range(101)])
