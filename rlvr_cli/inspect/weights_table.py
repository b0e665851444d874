"""What `rlvr inspect weights` prints."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rlvr_cli.inspect.weights import Measured, Total

HEAD = ("kind", "weights", "sparsity", "relative change", "rows", "columns")


def lines(measured: Measured) -> Iterator[str]:
    """A table for each model, by kind; what the models have in common; what to know."""
    for run, name in enumerate(measured.models):
        yield f"{measured.base} -> {name}"
        rows = [(kind, *_cells(total, run)) for kind, total in measured.groups()]
        rows.append(("matrices of layers", *_cells(measured.total(), run)))
        widths = [max(len(row[n]) for row in (HEAD, *rows)) for n in range(len(HEAD))]
        for row in (HEAD, *rows):
            first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            yield "  " + "  ".join([first.strip().ljust(widths[0]), *others])
        yield ""
    if len(measured.models) > 1:
        yield from _together(measured)
        yield ""
    yield from measured.told


def _cells(total: Total, run: int) -> tuple[str, ...]:
    base = sum(weight.entries.square for weight in total.weights)
    moved = sum(weight.entries.models[run].square for weight in total.weights)
    return (
        str(len(total.weights)),
        f"{total.sparsity(run):.1%}",
        f"{math.sqrt(moved / base):.2e}" if base else "-",
        _mean([weight.entries.models[run].rows for weight in total.weights]),
        _mean([weight.entries.models[run].columns for weight in total.weights]),
    )


def _mean(values: list[float]) -> str:
    there = [value for value in values if math.isfinite(value)]
    return f"{sum(there) / len(there):.1f}" if there else "-"


def _together(measured: Measured) -> Iterator[str]:
    total = measured.total()
    for i, j in measured.pairs():
        found, random = total.jaccard(i, j)
        yield (
            f"changed entries of {measured.models[i]} and {measured.models[j]}: Jaccard {found:.3f} "
            f"(at random {random:.3f})"
        )
    shares = ", ".join(f"{share:.1%} by {count}" for count, share in enumerate(total.consensus()))
    yield f"consensus of {len(measured.models)} models: entries changed {shares}"
