"""Pairs of conversations, token for token as the verifier `reward_model` puts them to a reward model."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from rlvr_cli import schema
from rlvr_cli.data.pair_layouts import demand_pairs
from rlvr_cli.data.pairs import some, usable
from rlvr_cli.data.sampler import Sampler
from rlvr_cli.data.sources import Report
from rlvr_cli.verifiers.reward_model import conversation

PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% else %}{{ '\\n\\n' }}{% endif %}{% endfor %}"
)
"""Given to a tokenizer without a chat template, and saved with the model: an answer ends with the EOS."""


@dataclass(slots=True, kw_only=True)
class Comparison:
    """int32 token ids of both conversations, prompt and answer."""

    chosen: np.ndarray
    rejected: np.ndarray
    margin: float
    """By how much the score of the chosen must be higher; 0 where the row says nothing of it."""
    weight: float


class ComparisonSampler(Sampler[Comparison]):
    """`take` draws (index, comparison) in a seeded order; each epoch visits every one of a source once."""


def comparisons(
    name: str,
    source: schema.Source,
    tokenizer: Any,
    max_length: int,
    seed: int,
    apart: Set[int] = frozenset(),
) -> tuple[list[Comparison], Report]:
    """All comparisons of a source, and what became of the others: equal ones, empty answers, too long ones.

    UserError where there is none, and where the source has labelled answers in the place of pairs.
    """

    def make(row: dict[str, Any], side: str) -> tuple[np.ndarray, np.ndarray]:
        demand_pairs(row, name, source.path)
        made = tokens_of(row["prompt"], row[side], tokenizer)
        return made, made

    report, kept = Report(name=name), []
    for row, (chosen, rejected) in usable(source, make, max_length, seed, apart, report):
        margin, weight = row["margin"] or 0.0, row["weight"]
        kept.append(Comparison(chosen=chosen, rejected=rejected, margin=margin, weight=weight))
    report.tokens = sum(len(c.chosen) + len(c.rejected) for c in kept)
    return some(kept, report, source, max_length)


def tokens_of(prompt: Any, answer: Any, tokenizer: Any) -> np.ndarray:
    """The conversation; of several messages the last one is the answer, those before it are prompt."""
    if not isinstance(answer, str):
        before = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        prompt, answer = [*before, *answer[:-1]], answer[-1]["content"]
    text = conversation(tokenizer, answer, {"prompt": prompt})
    return np.asarray(tokenizer(text, add_special_tokens=False)["input_ids"], np.int32)


def prepare_tokenizer(tokenizer: Any, hf_config: Any, last_tokens: Set[int]) -> None:
    """Make the exported model read scores where training does: at the last token.

    transformers takes the last token that is not the pad token, so a conversation must not end with that one.
    """
    if tokenizer.pad_token_id in last_tokens:
        tokenizer.pad_token = None
    hf_config.pad_token_id = tokenizer.pad_token_id
