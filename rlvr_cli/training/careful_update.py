"""Updates that are made, left out or end the run, and what is recorded of the tokens behind a spike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from rlvr_cli.core.types import Batch, Group
from rlvr_cli.engine.interface import Objective
from rlvr_cli.engine.localise import Row
from rlvr_cli.engine.nonfinite import NonFinite
from rlvr_cli.engine.optimised import Optimised
from rlvr_cli.schema import Faults
from rlvr_cli.schema import NonFinite as Policy
from rlvr_cli.tracking import Tracker
from rlvr_cli.tracking.null_tracker import NullTracker
from rlvr_cli.training.parts import Parts
from rlvr_cli.training.rollback import rollback

MAX_SKIPPED = 3
"""Updates left out in a row that end the run."""


class Run(Protocol):
    """What a run of either kind has."""

    tracker: Tracker | NullTracker
    tokenizer: Any
    step: int
    state: dict[str, Any]


def careful_update(
    run: Run,
    faults: Faults,
    model: Optimised,
    batch: Batch,
    objective: Objective,
    *,
    lr: float,
    groups: Sequence[Group] = (),
) -> dict[str, float]:
    """One update; {} where it was left out. `groups`: of the step, in the order of `batch.samples`.

    Raises NonFinite, with the sample and token named, where `faults.nonfinite` does not skip, where leaving
    updates out does not help (a weight is not finite) and after MAX_SKIPPED in a row.
    """
    try:
        result = model.update(batch, objective, lr=lr)
    except NonFinite as error:
        fields = placed(run, batch, error.where, groups)
        said = f"step {run.step + 1}: {error}{spoken(fields)}"
        run.state["skipped_in_row"] = in_row = run.state.get("skipped_in_row", 0) + 1
        if faults.nonfinite is not Policy.skip or "weights" in error.where:
            raise NonFinite(said, fields) from None
        run.state["skipped_updates"] = run.state.get("skipped_updates", 0) + 1
        run.tracker.event("nonfinite", f"update left out: {said}", **fields)
        if in_row >= MAX_SKIPPED:
            raise NonFinite(f"{in_row} updates in a row were not finite, the last: {said}", fields) from None
        return {}
    run.state["skipped_in_row"] = 0
    for row in model.take_hits():
        record_hit(run, batch, row, groups)
    return result


def recover(parts: Parts, error: NonFinite) -> None:
    """Go back to the newest checkpoint where the recipe says so; else the error ends the run."""
    if parts.recipe.faults.nonfinite is not Policy.rollback:
        raise error
    rollback(parts, str(error))


def record_hit(run: Run, batch: Batch, row: Row, groups: Sequence[Group]) -> None:
    """An event and a row of gradients.jsonl for what a search has found."""
    fields = placed(run, batch, row, groups)
    what = "a token" if row["tokens"] == 1 else f"{row['tokens']} tokens"
    run.tracker.gradient(run.step + 1, fields)
    run.tracker.event(
        "gradient",
        f"step {run.step + 1}: the gradient norm {row['grad_norm']:.3g} is a spike; that of {what} is "
        f"{row['norm']:.3g} (limit {row['limit']:.3g}){spoken(fields)}",
    )


def placed(run: Run, batch: Batch, where: dict[str, Any], groups: Sequence[Group]) -> dict[str, Any]:
    """`where` with the sequence's problem, place in the sampler's order and sample, and the token's text."""
    fields = {key: value for key, value in where.items() if key != "sequences"}
    sequences = where.get("sequences", [])
    if len(sequences) == 1:
        if groups:
            size = len(groups[0].completions)
            group, sample = divmod(batch.samples[sequences[0]], size)
            problem = groups[group].problem
            fields |= {"problem": problem.id, "source": problem.source}
            fields |= {"index": groups[group].index, "sample": sample}
        else:
            fields["example"] = sequences[0]
    if "token" in where:
        fields["text"] = run.tokenizer.decode([where["token"]])
    return fields


def spoken(fields: dict[str, Any]) -> str:
    """`; problem train-42, sample 3, token 17 'x'`, as far as it is known."""
    said = [f"problem {fields['problem']}, sample {fields['sample']}"] if "problem" in fields else []
    said += [f"example {fields['example']} of the step"] if "example" in fields else []
    said += [f"token {fields['position']} {fields['text']!r}"] if "position" in fields else []
    return f"; {', '.join(said)}" if said else ""


def skipped_metrics(state: dict[str, Any], faults: Faults) -> dict[str, float]:
    """Updates left out since the start of the run, where they may be."""
    if faults.nonfinite is not Policy.skip:
        return {}
    return {"actor/skipped_updates": float(state.get("skipped_updates", 0))}
