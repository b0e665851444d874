"""Parts of a result: scores by subject, lengths by outcome."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from rlvr_cli.evaluation.scores import Row, health, share_right

SUBJECTS = ("subject", "level", "category", "difficulty", "type", "task")
"""Columns a table is made of, where the problems have them."""
MOST = 120
"""Values of a column; above it, it is no subject."""


def by_subject(rows: list[Row]) -> dict[str, dict[str, dict[str, float]]]:
    """Column -> value -> {problems, avg, pass, truncated_fraction}, for columns that tell problems apart."""
    tables: dict[str, dict[str, dict[str, float]]] = {}
    for column in SUBJECTS:
        values: dict[str, list[Row]] = {}
        for row in rows:
            value = row.get("extra", {}).get(column)
            if isinstance(value, str | int | float):
                values.setdefault(str(value), []).append(row)
        if 1 < len(values) <= MOST:
            parts = {name: _part(part) for name, part in sorted(values.items())}
            tables[column] = {name: part for name, part in parts.items() if part}
    return tables


def _part(rows: list[Row]) -> dict[str, float]:
    """Of the problems with a verdict; empty where none has one."""
    shares = [share for row in rows if (share := share_right(row)) is not None]
    if not shares:
        return {}
    return {
        "problems": len(rows),
        "avg": float(np.mean(shares)),
        "pass": float(np.mean([share > 0 for share in shares])),
        "truncated_fraction": health(rows)["truncated_fraction"],
    }


QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def distributions(rows: list[Row]) -> dict[str, Any]:
    """Quantiles of lengths in tokens (all, right, wrong); problems by how many samples were cut off."""
    pairs = [pair for row in rows for pair in zip(row["lengths"], row["correct"], strict=True)]
    chosen = {
        "all": [length for length, _ in pairs],
        "right": [length for length, ok in pairs if ok],
        "wrong": [length for length, ok in pairs if ok is not None and not ok],
    }
    lengths = {
        name: {f"p{q * 100:g}": float(np.quantile(values, q)) for q in QUANTILES}
        for name, values in chosen.items()
        if values
    }
    cut = Counter(sum(row["truncated"]) for row in rows)
    return {"response_length": lengths, "truncated_samples": {str(n): cut[n] for n in sorted(cut)}}
