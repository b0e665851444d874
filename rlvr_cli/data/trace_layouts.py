"""Recorded samples with their verdicts: rows of a run's `rollouts/`, and of `<bench>.samples.jsonl`.

A row becomes {id, prompt, response, correct, length, finished, tokens, fault}. The prompt is as the model saw
it, template applied; `tokens` are the ids of both where the row has them (`tracker.tokens`), else None.
`fault` says why a row is left out: it has no verdict, or is the last turn of an episode.
"""

from __future__ import annotations

from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.data.layouts import Columns, Layout, Row, did_you_mean, find, lookup

NAMES = {
    "prompt": ("prompt",),
    "response": ("response", "completion"),
    "correct": ("correct", "label"),
    "length": ("length", "tokens"),
    "finished": ("finished", "truncated"),
    "id": ("problem", "id"),
}
NO_VERDICT, EPISODE = "samples without a verdict", "episodes of several turns"


def trace_columns(raw: Row, explicit: Columns, where: str) -> Columns:
    """Columns of recorded samples, from the first row."""
    columns = dict(explicit)
    for ours, names in NAMES.items():
        given = columns.get(ours)
        if given is not None and find(raw, (given,)) is None:
            hint = did_you_mean(given, raw)
            raise UserError(
                f"{where} has no column '{given}' (columns.{ours}); it has {', '.join(raw)}{hint}"
            )
        if given is None and (path := find(raw, names)):
            columns[ours] = path
    if missing := [name for name in ("prompt", "response", "correct") if name not in columns]:
        raise UserError(
            f"{where} is no recorded sample: it has no {' and no '.join(missing)}; give a run's rollouts/ "
            "folder, or a file that rlvr eval has written with samples=jsonl"
        )
    return columns


def trace(raw: Row, columns: Columns, where: str) -> Row:
    """One row in its form."""

    def value(ours: str) -> Any:
        try:
            return lookup(raw, columns[ours]) if ours in columns else None
        except KeyError:
            raise UserError(
                f"{where} has no column '{columns[ours]}', as earlier rows have; one layout for all rows"
            ) from None

    prompt, response, correct = value("prompt"), value("response"), value("correct")
    if not isinstance(prompt, str) or not isinstance(response, str):
        raise UserError(f"{where}: prompt and response must be texts, as the model saw and wrote them")
    if correct not in (None, 0, 1, True, False):
        raise UserError(f"{where}: '{columns['correct']}' is {correct!r}; it must be true, false or null")
    ended = value("finished")
    cut = columns.get("finished", "").rpartition(".")[2].casefold() == "truncated"
    ids = [raw.get(name) for name in ("prompt_tokens", "response_tokens")]
    episode = "turns" in raw or "sampled" in raw
    return {
        "id": value("id"),
        "prompt": prompt,
        "response": response,
        "correct": None if correct is None else bool(correct),
        "length": value("length"),
        "finished": None if ended is None else bool(ended) is not cut,
        "tokens": ids if all(isinstance(each, list) for each in ids) else None,
        "fault": EPISODE if episode else NO_VERDICT if correct is None else None,
    }


TRACES = Layout(recognise=trace_columns, normalise=trace)
