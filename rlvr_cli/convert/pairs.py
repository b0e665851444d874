"""What launches of preferences and of reward models have in common, whosever they are."""

from __future__ import annotations

from rlvr_cli.convert.draft import Draft


def common(draft: Draft) -> None:
    """Two passes of one policy are compared, so that no adapter may drop anything out."""
    if draft.get("model.lora.dropout"):
        draft.put("model.lora.dropout", 0.0, "two passes of one policy are compared")
        for key in ("lora_dropout", "ds.lora.dropout"):
            draft.given.lose(key, "two passes of one policy are compared, without dropout")


def sizes(draft: Draft, pairs: int, formula: str, each: int, *taken: str) -> None:
    """Pairs of an update, and room for those of one process at a time."""
    draft.put("batch.examples_per_step", pairs, formula, *taken)
    longest = draft.get("algorithm.max_length")
    comment = f"2 * {each} * {longest} (two answers of each pair of one process)"
    draft.put("batch.tokens_per_microbatch", 2 * each * longest, comment)


def steps(draft: Draft, rows: int | None, note: str, epochs: float, epochs_key: str, *taken: str) -> None:
    """Epochs over the rows as updates; missing where the rows are not known. `note`: where they are."""
    pairs = draft.get("batch.examples_per_step")
    shown = "rows" if rows is None else rows
    formula = f"floor({shown} / {pairs}) * {epochs:g} (rows / examples_per_step * {epochs_key})"
    count = None if rows is None else int(rows // pairs * epochs)
    draft.steps(count, formula + (f"; {note}" if note else ""), *taken)


def preference(draft: Draft, preset: str, loss: str, comment: str, *taken: str) -> None:
    """The preset, and its loss where another one is chosen."""
    draft.preset = preset
    draft.choose("preference", loss, comment, *taken)
