"""Column layouts of preference data: two answers to one prompt, or one that is labelled good or bad.

A pair becomes {id, prompt, chosen, rejected, margin, weight, fault}, a labelled answer {id, prompt,
completion, label, weight, fault}. `fault` says why a row teaches nothing (equal answers, an empty one), or is
None. Which layout a file has the first row tells, and holds for all:

    explicit    prompt, chosen, rejected     text, or messages (the assistant's turns alone)
    implicit    chosen, rejected             the prompt is what both begin with
    (beside)    the same with a `prompt`     UltraFeedback: whole conversations beside the prompt's text,
                                             which is left alone
    unpaired    prompt, completion, label    one answer a row (KTO)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.data.layouts import (
    IDS,
    REQUESTS,
    Columns,
    Layout,
    Row,
    did_you_mean,
    find,
    lookup,
    messages,
    text_or_messages,
)

CHOSEN = ("chosen", "chosen_response", "response_chosen", "preferred")
REJECTED = ("rejected", "rejected_response", "response_rejected", "dispreferred")
ANSWERED = ("completion", "response", "output")
SCORES = ("score_chosen", "score_rejected")
EQUAL, EMPTY = "equal pairs", "empty answers"
"""Values of `fault`, as reports say them."""

Text = str | list[dict[str, str]]


def pair_columns(raw: Row, explicit: Columns, where: str) -> Columns:
    """Columns of a set of preferences, from its first row."""
    columns: Columns = {}
    for ours, given in explicit.items():
        if find(raw, (given,)) is None:
            hint = did_you_mean(given, raw)
            raise UserError(
                f"{where} has no column '{given}' (columns.{ours}); it has {', '.join(raw)}{hint}"
            )
        columns[ours] = given
    kinds = {"chosen": CHOSEN, "rejected": REJECTED, "completion": ANSWERED, "label": ("label",)}
    for ours, names in (*kinds.items(), ("margin", ("margin",)), ("weight", ("weight",)), ("id", IDS)):
        if ours not in columns and (path := find(raw, names)):
            columns[ours] = path
    paired, labelled = "chosen" in columns and "rejected" in columns, "label" in columns
    if paired and labelled and "completion" in columns:
        raise UserError(
            f"{where} has pairs ({columns['chosen']}, {columns['rejected']}) and labelled answers "
            f"({columns['completion']}, label) in one row; split the file into two sources"
        )
    if not paired and not (labelled and "completion" in columns):
        raise UserError(
            f"{where} is no preference: it has {', '.join(raw)}; pairs have chosen and rejected, labelled "
            "answers prompt, completion and label; name them with columns.chosen=<column>"
        )
    for ours in ("completion", "label") if paired else ("chosen", "rejected", "margin"):
        columns.pop(ours, None)
    if "prompt" not in columns and (path := find(raw, REQUESTS)):
        columns["prompt"] = path
    if "prompt" in columns and paired and _whole_chat(lookup(raw, columns["chosen"])):
        columns.pop("prompt")  # UltraFeedback: the conversations have the user's turn themselves
    if "prompt" not in columns and labelled and not paired:
        raise UserError(f"{where} has labelled answers and no prompt; name it with columns.prompt=<column>")
    return columns


def preference(raw: Row, columns: Columns, where: str) -> Row:
    """One row in its form, with `label` or with `chosen` and `rejected`."""
    row: Row = {"id": lookup(raw, columns["id"]) if "id" in columns else None, "fault": None}
    row["weight"] = _number(raw, columns, "weight", where, 1.0)
    if row["weight"] <= 0:
        raise UserError(f"{where}: weight is {row['weight']:g}; it must be above 0")
    if "label" in columns:
        return row | _labelled(raw, columns, where)
    chosen, rejected = (_side(raw, columns, ours, where) for ours in ("chosen", "rejected"))
    equal = chosen == rejected and not _empty(chosen)
    if isinstance(chosen, str) is not isinstance(rejected, str):
        raise UserError(f"{where} mixes text and chat messages in chosen and rejected; use one in both")
    if "prompt" in columns:
        for ours, side in (("chosen", chosen), ("rejected", rejected)):
            if _whole_chat(side):
                raise UserError(
                    f"{where}: '{columns[ours]}' begins with the user's turn, and earlier rows have the "
                    "assistant's alone beside the prompt; one layout for all rows"
                )
        row["prompt"] = text_or_messages(_value(raw, columns, "prompt", where), columns["prompt"], where)
    else:
        row["prompt"], chosen, rejected = _cut(chosen, rejected, where)
    row |= {"chosen": chosen, "rejected": rejected, "margin": _margin(raw, columns, where)}
    if equal or _empty(chosen) or _empty(rejected):
        row["fault"] = EQUAL if equal else EMPTY
    return row


def demand_preference(option: Any, row: Row, name: str, source: str) -> None:
    """UserError for a row that has not what a loss (algorithms/preference*.py) reads."""
    if not option.unpaired:
        demand_pairs(row, name, source)
        demand_margin(option, row["margin"], name)


def demand_margin(option: Any, margin: float | None, name: str) -> None:
    """UserError where a loss asks for the margin of a pair that has none."""
    asked: float = getattr(option, "margin_coef", 0.0)
    if margin is None and asked:
        raise UserError(
            f"{name}: a pair has no margin, which algorithm.preference.margin_coef asks for: give all "
            f"rows a column "
            "margin (or score_chosen and score_rejected), or set margin_coef=0"
        )


def demand_pairs(row: Row, name: str, source: str) -> None:
    """UserError for a labelled answer where a loss compares two."""
    if "completion" in row:
        raise UserError(
            f"{name}: '{source}' has labelled answers (completion, label), of which no pairs can be made; "
            f"train "
            "on them with algorithm=kto, or give pairs (chosen, rejected)"
        )


def _labelled(raw: Row, columns: Columns, where: str) -> Row:
    label = _value(raw, columns, "label", where)
    if label not in (0, 1, True, False) or isinstance(label, str):
        raise UserError(f"{where}: '{columns['label']}' is {label!r}; a label is true (good) or false (bad)")
    prompt = text_or_messages(_value(raw, columns, "prompt", where), columns["prompt"], where)
    completion = _side(raw, columns, "completion", where)
    fault = EMPTY if _empty(completion) else None
    return {"prompt": prompt, "completion": completion, "label": bool(label), "fault": fault}


def _cut(chosen: Text, rejected: Text, where: str) -> tuple[Text, Text, Text]:
    """The prompt that both begin with, and what is left of each: whole messages, or text up to a space."""
    if isinstance(chosen, str) and isinstance(rejected, str):
        shared = _alike(chosen, rejected)
        if chosen == rejected:  # no answer is left, and the row will be dropped
            return chosen or " ", "", ""
        if chosen[:shared].endswith(" "):
            shared -= 1  # the space belongs to the answers, as tokenizers have it
        prompt: Text = chosen[:shared]
    else:
        shared = _alike(chosen, rejected)
        if chosen == rejected:
            shared -= 1
        prompt = chosen[:shared]
    asked = bool(prompt) if isinstance(prompt, str) else any(m["role"] == "user" for m in prompt)
    if not asked:
        raise UserError(
            f"{where}: chosen and rejected have no prompt in common that both begin with; add a column "
            f"for it "
            "(columns.prompt=<column>)"
        )
    return prompt, chosen[shared:], rejected[shared:]


def _alike(a: Sequence[Any], b: Sequence[Any]) -> int:
    """How many letters, or messages, both begin with."""
    differ = (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)
    return next(differ, min(len(a), len(b)))


def _side(raw: Row, columns: Columns, ours: str, where: str) -> Text:
    """An answer, which may be empty: text, or messages whose last is the assistant's."""
    value = _value(raw, columns, ours, where)
    if isinstance(value, list):
        found = messages(value, where)
        if found and found[-1]["role"] != "assistant":
            raise UserError(f"{where}: '{columns[ours]}' ends with a turn of {found[-1]['role']}")
        return found
    if value is not None and not isinstance(value, str):
        raise UserError(f"{where}: '{columns[ours]}' is {type(value).__name__}; it must be text or messages")
    return value or ""


def _value(raw: Row, columns: Columns, ours: str, where: str) -> Any:
    try:
        return lookup(raw, columns[ours])
    except KeyError:
        raise UserError(
            f"{where} has no column '{columns[ours]}', as earlier rows have; it has {', '.join(raw)}; "
            "one layout for all rows of a source"
        ) from None


def _margin(raw: Row, columns: Columns, where: str) -> float | None:
    """The row's own, or else the gap of its scores."""
    if "margin" in columns:
        return _number(raw, columns, "margin", where, None)
    scores = [raw.get(name) for name in SCORES]
    if all(isinstance(score, int | float) and math.isfinite(score) for score in scores):
        return float(scores[0]) - float(scores[1])  # type: ignore[arg-type]
    return None


def _number(raw: Row, columns: Columns, ours: str, where: str, absent: Any) -> Any:
    if ours not in columns:
        return absent
    value = _value(raw, columns, ours, where)
    if value is None:
        return absent
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"{where}: '{columns[ours]}' is {value!r}; it must be a number")
    return float(value)


def _whole_chat(value: Any) -> bool:
    """Messages that begin with what the user (or the system) says."""
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, dict) and (first.get("role") or first.get("from")) not in ("assistant", "gpt")


def _empty(side: Text) -> bool:
    return not side or not (side if isinstance(side, str) else side[-1]["content"]).strip()


PREFERENCES = Layout(recognise=pair_columns, normalise=preference)
