"""Preferences as token ids: pairs of a better and a worse answer, and single answers labelled good or bad.

`pairs` loads a source as `Pair`s: two `Example`s (tokens, mask of what is trained), each prompt + answer, in
the ids that RL and SFT give them. `PairSampler` draws them as `ExampleSampler` draws examples: a function of
seed and position, with `state` and `load` for checkpoints. `judged` and `JudgedSampler` are the same for
`Judged`, one answer each, of which a pair makes two. What a source holds (data/pair_layouts.py) its first row
tells. Left out and counted in the report, never cut: pairs of equal answers, rows with an empty answer, and
rows of which an answer with its prompt is longer than `max_length`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from rlvr_cli import schema
from rlvr_cli.core.errors import UserError
from rlvr_cli.data.pair_layouts import EQUAL, PREFERENCES, demand_pairs
from rlvr_cli.data.sampler import Sampler
from rlvr_cli.data.sft import Example, example
from rlvr_cli.data.sources import Report, select

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Made = TypeVar("Made")


@dataclass(slots=True, kw_only=True)
class Pair:
    """Two answers to one prompt. `mask` is True on the tokens of the answers, the EOS that ends them
    included."""

    chosen: Example
    rejected: Example
    id: str = ""
    margin: float | None = None
    """By how much chosen is better: the row's `margin`, or `score_chosen` - `score_rejected`; None where it
    says neither."""
    weight: float = 1.0
    """What its loss counts, relative to the others (column `weight`)."""


@dataclass(slots=True, kw_only=True)
class Judged:
    """One answer and whether it is wanted."""

    example: Example
    desirable: bool
    id: str = ""
    weight: float = 1.0


class PairSampler(Sampler[Pair]):
    """`take` draws (index, pair) in a seeded order; each epoch visits every pair of a source once."""


class JudgedSampler(Sampler[Judged]):
    """`take` draws (index, labelled answer) in a seeded order, good ones and bad ones as they come."""


def pairs(
    name: str,
    source: schema.Source,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    seed: int,
    apart: Set[int] = frozenset(),
) -> tuple[list[Pair], Report]:
    """All pairs of a source that can be trained on, and what became of the others; `apart` as in
    `sft.examples`.

    UserError where the source has labelled answers in the place of pairs, and where nothing is left.
    """
    report, kept = Report(name=name), []
    for row, found in _examples(source, tokenizer, max_length, seed, apart, report):
        demand_pairs(row, name, source.path)
        chosen, rejected = found
        kept.append(
            Pair(chosen=chosen, rejected=rejected, id=row["id"], margin=row["margin"], weight=row["weight"])
        )
    report.tokens = sum(len(p.chosen.tokens) + len(p.rejected.tokens) for p in kept)
    return some(kept, report, source, max_length)


def judged(
    name: str,
    source: schema.Source,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    seed: int,
    apart: Set[int] = frozenset(),
) -> tuple[list[Judged], Report]:
    """All labelled answers of a source, two of each pair, as `pairs` loads pairs."""
    report, kept = Report(name=name), []
    for row, found in _examples(source, tokenizer, max_length, seed, apart, report):
        wanted = [True, False] if len(found) == 2 else [row["label"]]
        kept += [
            Judged(example=made, desirable=good, id=row["id"], weight=row["weight"])
            for made, good in zip(found, wanted, strict=True)
        ]
    report.tokens = sum(len(each.example.tokens) for each in kept)
    return some(kept, report, source, max_length)


def _examples(
    source: schema.Source,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    seed: int,
    apart: Set[int],
    report: Report,
) -> Iterator[tuple[dict[str, Any], list[Example]]]:
    """(row, its one or two examples) of every row that can be trained on."""

    def make(row: dict[str, Any], side: str) -> tuple[Example, np.ndarray]:
        whole = {"id": row["id"], "prompt": row["prompt"], "completion": row[side]}
        made = example(whole, source, tokenizer)
        return made, made.tokens

    return usable(source, make, max_length, seed, apart, report)


def usable(
    source: schema.Source,
    make: Callable[[dict[str, Any], str], tuple[Made, np.ndarray]],
    max_length: int,
    seed: int,
    apart: Set[int],
    report: Report,
) -> Iterator[tuple[dict[str, Any], list[Made]]]:
    """(row, what is made of its one or two answers) of every row that can be trained on; others are counted.

    `make` gets a row and the column of an answer, and gives with what it makes the token ids of prompt and
    answer.
    """
    for row in select(source, seed, PREFERENCES, report, apart=apart):
        if row["fault"] is not None:
            report.leave_out(row["fault"])
            continue
        sides = ("completion",) if "completion" in row else ("chosen", "rejected")
        found = [make(row, side) for side in sides]
        if max(len(ids) for _, ids in found) > max_length:
            report.too_long += 1
        elif len(found) == 2 and np.array_equal(found[0][1], found[1][1]):
            report.leave_out(EQUAL)  # the same to this tokenizer
        else:
            report.kept += 1
            yield row, [made for made, _ in found]


def some(
    kept: list[Made], report: Report, source: schema.Source, max_length: int
) -> tuple[list[Made], Report]:
    """What there is; UserError, with what became of all rows, where that is nothing."""
    if not kept:
        raise UserError(
            f"{report.name}: nothing of '{source.path}' can be trained on: of {report.rows} rows "
            f"{report.too_long} have an answer that with its prompt is longer than {max_length} tokens "
            f"(algorithm.max_length), and "
            + (
                ", ".join(f"{n} are {what}" for what, n in report.others.items())
                or "none is otherwise left out"
            )
        )
    return kept, report
