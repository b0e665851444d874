"""What the responses to a bench are like as texts."""

from __future__ import annotations

from rlvr_cli.evaluation.scores import Row
from rlvr_cli.sampling.wording import Text, means, sums_of


def spoken(rows: list[Row]) -> dict[str, float]:
    """`text/*` over all samples (sampling/wording.py); nothing of rows without responses."""
    return means(sums_of((row["prompt"], texts(row)) for row in rows if "responses" in row))


def texts(row: Row) -> list[Text]:
    parts = zip(row["responses"], row["lengths"], row["correct"], strict=True)
    return [
        Text(response=response, tokens=length, correct=None if right is None else float(right), source="")
        for response, length, right in parts
    ]
