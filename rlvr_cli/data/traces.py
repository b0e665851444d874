"""Traces: recorded samples as the token ids they were sampled as, right and wrong ones of a prompt in equal
number.

Where a row has no ids its texts are tokenised anew. Whether that gives the sampled ids again only their
number can tell: rows of which it differs are left out and counted.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np

from rlvr_cli import schema
from rlvr_cli.core.errors import UserError
from rlvr_cli.data.prompts import encode, encode_plain
from rlvr_cli.data.sampler import Sampler
from rlvr_cli.data.sources import Report, select
from rlvr_cli.data.trace_layouts import TRACES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OTHER_TOKENS = "that other token ids spell"
EMPTY = "empty responses"
ONE_SIDED = "without a partner (of their prompt there are more right or more wrong ones)"


@dataclass(slots=True, kw_only=True)
class Trace:
    """One sample and its outcome."""

    tokens: np.ndarray
    """int32 [P + T]: prompt and response, the EOS that ended it included."""
    start: int
    """P: tokens of the prompt."""
    right: bool
    prompt: str = ""

    @property
    def length(self) -> int:
        """T: tokens of the response."""
        return len(self.tokens) - self.start


@dataclass(slots=True, kw_only=True)
class TracePair:
    """A right and a wrong sample of one prompt."""

    right: Trace
    wrong: Trace


class TraceSampler(Sampler[TracePair]):
    """`take` draws (index, pair) in a seeded order; each epoch visits every pair of a source once."""


def traces(
    name: str,
    source: schema.Source,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    seed: int,
    apart: Set[int] = frozenset(),
) -> tuple[list[Trace], Report]:
    """All recorded samples of a source that can be read, and what became of the others; `apart` as in
    `sft.examples`. UserError where none is left."""
    report, kept = Report(name=name), []
    for row in select(source, seed, TRACES, report, apart=apart):
        found = row["fault"] or _ids(row, tokenizer)
        if isinstance(found, str):
            report.leave_out(found)
        elif len(found.tokens) > max_length:
            report.too_long += 1
        else:
            kept.append(found)
    report.kept, report.tokens = len(kept), sum(len(each.tokens) for each in kept)
    if not kept:
        raise UserError(f"{name}: no sample of '{source.path}' can be trained on ({report})")
    return kept, report


def balanced(found: list[Trace], report: Report, seed: int) -> list[TracePair]:
    """As many pairs of each prompt as it has right or wrong traces, whichever are fewer; the others counted.

    Which partner a trace has follows from the seed. UserError where no prompt has both.
    """
    of_prompt: dict[str, tuple[list[Trace], list[Trace]]] = {}
    for each in found:
        of_prompt.setdefault(each.prompt, ([], []))[each.right].append(each)
    pairs = []
    for prompt, (wrong, right) in of_prompt.items():
        for side in (wrong, right):
            Random(f"{seed}/{prompt}").shuffle(side)
        pairs += [TracePair(right=r, wrong=w) for r, w in zip(right, wrong, strict=False)]
    right_ones = sum(each.right for each in found)
    report.kept, report.tokens = 2 * len(pairs), sum(len(p.right.tokens) + len(p.wrong.tokens) for p in pairs)
    if alone := len(found) - report.kept:
        report.others[ONE_SIDED] = alone
    if not pairs:
        raise UserError(
            f"{report.name}: no prompt has both a right and a wrong sample ({right_ones} of {len(found)} "
            "samples are right); record more samples of each problem, or of problems that are neither too "
            "easy nor too hard"
        )
    return pairs


def _ids(row: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> Trace | str:
    """The trace, or why there is none."""
    if row["tokens"] is not None:
        prompt, response = row["tokens"]
    else:
        prompt, response = encode_plain(row["prompt"], tokenizer), encode(row["response"], tokenizer)
        if row["finished"] is not False and row["length"] in (None, len(response) + 1):
            if tokenizer.eos_token_id is None:
                raise UserError(
                    "the tokenizer has no end-of-sequence token, with which a finished sample ends"
                )
            response = [*response, tokenizer.eos_token_id]
        if row["length"] not in (None, len(response)):
            return OTHER_TOKENS
    if not response:
        return EMPTY
    tokens = np.asarray([*prompt, *response], np.int32)
    return Trace(tokens=tokens, start=len(prompt), right=row["correct"], prompt=row["prompt"])
