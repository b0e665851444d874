"""What `rlvr inspect mismatch` prints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rlvr_cli.inspect.columns import table
from rlvr_cli.inspect.mismatch import Looked
from rlvr_cli.tracking.journal import jsonable

HEAD = ("cause", "taken over", "gap left", "explained", "alone", "k3 left")


def lines(looked: Looked) -> Iterator[str]:
    """The gap, a row for each cause, what was not looked at, and the verdict."""
    found, taken = looked.taken.gap, looked.taken
    yield looked.what
    yield f"{looked.sequences} sequences, {found.tokens} tokens: d = trainer - engine, nats"
    pearson = "-" if found.pearson is None else f"{found.pearson:.4f}"
    yield (
        f"  mean |d| {found.mean_abs:.2e}, max {found.max:.2e}, k1 {found.k1:.2e}, k3 {found.k3:.2e}, "
        f"ESS {found.ess:.3f}, perplexity {found.trainer_ppl:.3f} (engine {found.engine_ppl:.3f}), "
        f"Pearson {pearson}"
    )
    yield ""
    rows = [
        (
            cause.name,
            cause.said,
            f"{cause.left:.2e}",
            f"{share:.1%}" if (share := cause.explained(found.mean_abs)) > 0 else "-",
            f"{cause.alone:.2e}",
            f"{cause.left_k3:.2e}",
        )
        for cause in taken.causes
    ]
    yield from table(HEAD, rows, left=2)
    for line in taken.told:
        yield f"  not looked at: {line}"
    yield ""
    yield taken.verdict


def as_json(looked: Looked) -> dict[str, Any]:
    """Plain values; what could not be measured is null."""
    taken = looked.taken
    whole = {
        "what": looked.what,
        "sequences": looked.sequences,
        "gap": taken.gap.as_dict(),
        "causes": [
            asdict(cause)
            | {"explained": cause.explained(taken.gap.mean_abs)}
            | {"explained_k3": cause.explained_k3(taken.gap.k3)}
            for cause in taken.causes
        ],
        "told": taken.told,
        "dominates": taken.dominates,
        "verdict": taken.verdict,
    }
    return dict(jsonable(whole))
