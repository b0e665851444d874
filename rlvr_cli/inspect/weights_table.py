"""What `rlvr inspect weights` prints."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rlvr_cli.inspect.columns import table
from rlvr_cli.inspect.measured import Measured, Total, mean_of, relative

ENTRIES = ("kind", "weights", "sparsity", "relative change", "rows", "columns")
DIRECTIONS = ("kind", "drift", "left angle", "right angle", "principal", "low", "principal, not low")
WHOLE = "matrices of layers"


def lines(measured: Measured) -> Iterator[str]:
    """Tables for each model, by kind; what the models have in common; what to know."""
    for model, name in enumerate(measured.models):
        yield f"{measured.base} -> {name}"
        groups = [*measured.groups(), (WHOLE, measured.total())]
        yield from table(ENTRIES, [(kind, *_entries(total, model)) for kind, total in groups])
        yield ""
        seen = [(kind, total) for kind, total in groups if any(weight.directions for weight in total.weights)]
        if measured.options is not None and seen:
            yield _heading(measured)
            rows = [(kind, *_directions(total, model)) for kind, total in seen]
            share = measured.options.share
            at_random = mean_of([weight.principal_not_low for weight in measured.total().weights])
            rows.append(("at random", "", "", "", f"{share:.1%}", f"{share:.1%}", f"{at_random:.1%}"))
            yield from table(DIRECTIONS, rows)
            yield ""
    if len(measured.models) > 1 and measured.total().size:
        yield from _together(measured)
        yield ""
    yield from measured.told


def _heading(measured: Measured) -> str:
    assert measured.options is not None
    rank, share = measured.options.rank, measured.options.share
    return f"directions, rank {rank}; of the changed entries, the share in masks of {share:.0%} of the base"


def _entries(total: Total, model: int) -> tuple[str, ...]:
    return (
        str(len(total.weights)),
        _text(total.sparsity(model), ".1%"),
        _text(relative(total.weights, model), ".2e"),
        _text(mean_of([weight.entries.models[model].rows for weight in total.weights]), ".1f"),
        _text(mean_of([weight.entries.models[model].columns for weight in total.weights]), ".1f"),
    )


def _directions(total: Total, model: int) -> tuple[str, ...]:
    return (
        _text(total.mean(model, lambda each: each.drift), ".1e"),
        _text(total.mean(model, lambda each: each.left_max), ".2f"),
        _text(total.mean(model, lambda each: each.right_max), ".2f"),
        _text(total.mean(model, lambda each: each.principal), ".1%"),
        _text(total.mean(model, lambda each: each.low), ".1%"),
        _text(total.mean(model, lambda each: each.principal_not_low), ".1%"),
    )


def _text(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "-"


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
