"""One source of a recipe: are its files there, do its first rows read, what does a prompt look like, do its
golds hold?"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooLong
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

from rlvr_cli.core.errors import UserError, hint
from rlvr_cli.core.types import Verdict
from rlvr_cli.data import gym, synthetic
from rlvr_cli.data.image_columns import looked, stored_size
from rlvr_cli.data.instructions import drawn, instructed, phrasings
from rlvr_cli.data.layouts import EXAMPLES, PROBLEMS, Layout
from rlvr_cli.data.pair_layouts import PREFERENCES
from rlvr_cli.data.prompts import conversation, render, routed, uses_chat
from rlvr_cli.data.readers import count_rows, local_files
from rlvr_cli.data.sources import Report, first_rows
from rlvr_cli.data.trace_layouts import TRACES
from rlvr_cli.dry_run.images import described
from rlvr_cli.dry_run.tokenizer import FileTokenizer
from rlvr_cli.schema import Source
from rlvr_cli.verifiers.several_golds import Reads, fault_of, reads
from rlvr_cli.vision.processor import processor_of

LOOKED_AT = 20
"""Rows that are read of a source."""
PATIENCE_S = 1.0
"""For a verdict on a gold answer."""

Row = dict[str, Any]


@dataclass(kw_only=True)
class SourceLook:
    """What was found; `lines` are for the reader, `warnings` for who is about to start."""

    lines: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    rows: int | None = None
    first: Row | None = None
    """The first row in our form, where it was looked at."""


def look_at(
    key: str,
    source: Source,
    seed: int,
    tokenizer: FileTokenizer | None,
    verifiers: Mapping[str, Any] | None = None,
    names: list[str] | None = None,
    tools: Sequence[dict[str, Any]] = (),
    layout: Layout | None = None,
) -> SourceLook:
    """Look at the source that the recipe has as `key`. UserError for what a run would refuse.

    `verifiers` (none: the rows are examples of sft) by their keys; `names`: those that score every row,
    whatever it says itself; `tools`: what its prompts announce; `layout`: of rows that are neither problems
    nor examples.
    """
    found = SourceLook()
    _check_template(key, source)
    if source.path.startswith(gym.PREFIX):
        found.lines.append(f"{source.path}: made when the run starts; not looked at")
        return found
    if not source.path.startswith(synthetic.PREFIX):
        files = local_files(source)
        if files is None:
            found.lines.append(f"{source.path}: on the Hugging Face hub, not looked at")
            return found
        check_files(f"{key}.path", files)
        found.rows = count_rows(files)
        if found.rows is not None and source.holdout is not None and source.holdout >= found.rows:
            raise UserError(
                f"{key}.holdout is {source.holdout:g}, and {source.path} has {found.rows} rows; lower it"
            )
    layout = layout or (EXAMPLES if verifiers is None else PROBLEMS)
    rows = _first(key, source, seed, layout)
    found.first = rows[0]
    counted = f"{found.rows:,} rows" if found.rows is not None else "rows"
    found.lines.append(f"{source.path}: {counted} with {columns_of(rows[0], layout)}")
    if layout is TRACES:  # the prompt is there as the model saw it
        return found
    _prompt(found, rows[0], source, tokenizer, tools)
    if verifiers is not None:
        _golds(found, rows, source, verifiers, names)
    return found


def _check_template(key: str, source: Source) -> None:
    if "{prompt}" not in source.prompt:
        raise UserError(f"{key}.prompt has no {{prompt}}, where the problem goes: {source.prompt!r}")


def check_files(key: str, files: list[Path]) -> None:
    for file in files:
        if not file.is_file():
            beside = [each.name for each in file.parent.iterdir()] if file.parent.is_dir() else []
            near = difflib.get_close_matches(file.name, beside, n=1)
            meant = (
                f"did you mean {file.parent / near[0]}?" if near else "relative paths start where rlvr runs"
            )
            raise UserError(f"{key}: there is no file {file}; {meant}")


def _first(key: str, source: Source, seed: int, layout: Layout) -> list[Row]:
    try:
        return first_rows(source, seed, layout, LOOKED_AT)
    except UserError as error:
        raise UserError(f"{key}: {error}") from None


def columns_of(row: Row, layout: Layout) -> str:
    """What a row has, in our words."""
    names = ["prompt"] if isinstance(row["prompt"], str) else ["a chat as prompt"]
    if layout is EXAMPLES:
        return ", ".join([*names, "completion"])
    if layout is TRACES:
        return ", ".join(["prompt", "response", "verdict", *(["tokens"] if row["tokens"] else [])])
    if layout is PREFERENCES:
        return ", ".join(
            [*names, *(name for name in ("chosen", "rejected", "completion", "label") if name in row)]
        )
    names += ["answer"] if row["answer"] is not None else []
    extra = list(row["extra"])
    more = f" and {len(extra) - 3} more" if len(extra) > 3 else ""
    return ", ".join(names) + (f"; besides {', '.join(extra[:3])}{more}" if extra else "")


def _prompt(
    found: SourceLook,
    row: Row,
    source: Source,
    tokenizer: FileTokenizer | None,
    tools: Sequence[dict[str, Any]],
) -> None:
    """The prompt of one row as the model will see it; of `instructions` any phrasings."""
    if lists := phrasings(source.instructions, source.path):
        row = row | {"prompt": instructed(row["prompt"], drawn(lists, 0, str(row["id"])))}
    if tokenizer is None:
        text = "\n".join(m["content"] for m in conversation(row["prompt"], source))
        found.lines.append(f"prompt (chat template not tried: the model is not here): {shown(text)}")
        return
    if source.shots:  # worked examples stand in another split
        found.lines.append("prompt: not rendered, it has worked examples")
        return
    row, report, processor = dict(row), Report(name=source.path), processor_of(tokenizer)
    if not looked(row, source, processor, report, f"{source.path} row {row['id']}"):
        found.warnings.append(f"its first row would be left out: {report.bad_image_rows[0]}")
        return
    text, tokens = render(row, source, tokenizer, tools)  # type: ignore[arg-type]
    how = "through the chat template" if uses_chat(row["prompt"], source, tokenizer) else "plain text"  # type: ignore[arg-type]
    images = described(tokens, processor) if processor is not None and row.get("images") else ""
    counted = (
        f"{len(tokens)} tokens" if tokenizer.counts else "tokens not counted: there is no tokenizer.json"
    )
    found.lines.append(f"prompt ({how}, {counted}{images}): {shown(text)}")


def shown(text: str, most: int = 160) -> str:
    """A text on one line."""
    line = repr(text)
    return line if len(line) <= most else f"{line[: most // 2]} ... {line[-most // 2 :]}"


def _golds(
    found: SourceLook, rows: list[Row], source: Source, verifiers: Mapping[str, Any], names: list[str] | None
) -> None:
    """The gold answer of the first row that has one which its verifiers can use, judged by the first of
    them."""
    faults = []
    for number, row in enumerate(rows, 1):
        chosen = names or routed(row, source)
        for name in chosen:
            if name not in verifiers:
                raise UserError(
                    f"row {number} of {source.path} names the verifier '{name}'{hint(name, verifiers)}"
                )
        extra = stored_size(row, source) | row["extra"] | {"prompt": row["prompt"]}
        fault = fault_of(verifiers, chosen, row["answer"], extra)
        if fault is None and chosen:
            found.lines.append(_judged(found, number, row, chosen[0], verifiers[chosen[0]], extra))
            return
        faults.append(f"row {number}: {fault or next(iter(row['faults']), 'it has none')}")
    found.warnings.append(
        f"none of the first {len(rows)} rows of {source.path} has a gold answer that can be used "
        f"({faults[0]})"
    )


def _judged(found: SourceLook, number: int, row: Row, name: str, verifier: Any, extra: Row) -> str:
    gold = row["answer"]
    said = f"gold {shown(gold, 40)} of row {number}: verifier {name}"
    if reads(verifier) is Reads.no_gold:
        return f"verifier {name}: reads no gold answer"
    if not hasattr(verifier, "gold_responses") or hasattr(verifier, "limits"):
        return f"{said} can use it; no verdict was asked for here"
    responses = verifier.gold_responses(gold, extra)
    first = next(iter(responses.values())) if isinstance(responses, dict) else responses
    if not first:
        return f"{said} can use it"
    verdict = _verdict(verifier, first[0], gold, extra)
    if verdict is None:
        return f"{said} took longer than {PATIENCE_S:g} s"
    if verdict.score < 1:
        found.warnings.append(
            f"verifier {name} scores {shown(first[0], 60)} with {verdict.score:g}, which is the gold answer "
            "of row "
            f"{number} of its source, written as it wants it ({verdict.reason.value})"
        )
    return f"{said} scores {shown(first[0], 60)} {verdict.score:g}"


def _verdict(verifier: Any, response: str, gold: str, extra: Row) -> Verdict | None:
    """None where it takes too long: the thread is left to itself."""
    answer: Future[Verdict] = Future()

    def judge() -> None:
        try:
            answer.set_result(verifier.verify(response, gold, extra))
        except Exception as error:  # whatever a verifier raises, as its worker takes it
            answer.set_exception(error)

    Thread(target=judge, daemon=True).start()
    try:
        return answer.result(PATIENCE_S)
    except TooLong:
        return None
