"""Parts of a result: scores by subject, lengths by outcome."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from rlvr_cli.evaluation.scores import Row, health, right

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
            tables[column] = {name: _part(part) for name, part in sorted(values.items())}
    return tables


def _part(rows: list[Row]) -> dict[str, float]:
    return {
        "problems": len(rows),
        "avg": float(np.mean([np.mean(row["correct"]) for row in rows])),
        "pass": float(np.mean([any(right(row)) for row in rows])),
        "truncated_fraction": health(rows)["truncated_fraction"],
    }


QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def distributions(rows: list[Row]) -> dict[str, Any]:
    """Quantiles of lengths in tokens (all, right, wrong); problems by how many samples were cut off."""
    pairs = [(length, ok) for row in rows for length, ok in zip(row["lengths"], right(row), strict=True)]
    chosen = {
        "all": [length for length, _ in pairs],
        "right": [length for length, ok in pairs if ok],
        "wrong": [length for length, ok in pairs if not ok],
    }
    lengths = {
        name: {f"p{q * 100:g}": float(np.quantile(values, q)) for q in QUANTILES}
        for name, values in chosen.items()
        if values
    }
    cut = Counter(sum(row["truncated"]) for row in rows)
    return {"response_length": lengths, "truncated_samples": {str(n): cut[n] for n in sorted(cut)}}
