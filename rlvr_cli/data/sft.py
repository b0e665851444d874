"""Supervised examples: token ids and which of them carry loss."""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rlvr_cli import schema
from rlvr_cli.core.errors import UserError
from rlvr_cli.data.image_columns import looked
from rlvr_cli.data.layouts import EXAMPLES
from rlvr_cli.data.prompts import (
    Messages,
    apply_chat,
    conversation,
    encode,
    render,
    shown_to_model,
    uses_chat,
    with_images,
)
from rlvr_cli.data.sampler import Sampler, order
from rlvr_cli.data.sources import Report, select, unusable_images
from rlvr_cli.vision.album import album
from rlvr_cli.vision.processor import processor_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["Example", "ExampleSampler", "example", "examples", "order"]

GENERATION_MARKER = re.compile(r"\{%-?\s*generation\s*-?%\}")

Segment = tuple[list[int], bool]
"""Tokens, and whether they are trained."""


@dataclass(slots=True, kw_only=True)
class Example:
    tokens: np.ndarray
    """int32 [T]"""
    mask: np.ndarray
    """bool [T]: True where the token is to be predicted: completions and the EOS that ends them."""
    source: str = ""
    """Key of the recipe's `data`."""


@dataclass(slots=True, kw_only=True)
class Traces:
    """Several completions of one prompt, of which each epoch trains the next."""

    examples: list[Example]


class ExampleSampler(Sampler[Example | Traces]):
    """`take` draws (index, example) in a seeded order; each epoch visits every item of a source once."""

    def _item(self, found: Example | Traces, epoch: int) -> Example:
        return found.examples[epoch % len(found.examples)] if isinstance(found, Traces) else found

    def _identity(self) -> dict[str, Any]:
        traces = {
            name: sum(len(each.examples) for each in items if isinstance(each, Traces))
            for name, items in self.items.items()
        }
        return super()._identity() | ({"traces": traces} if any(traces.values()) else {})


def examples(
    name: str,
    source: schema.Source,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    seed: int,
    apart: Set[int] = frozenset(),
) -> tuple[list[Example], Report]:
    """All examples of a source that fit, and what became of the others. `apart`: held out by other
    sources."""
    found, report = by_prompt(name, source, tokenizer, max_length, seed, apart)
    return [made for _, made in found], report


def by_prompt(
    name: str,
    source: schema.Source,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    seed: int,
    apart: Set[int] = frozenset(),
) -> tuple[list[tuple[str, Example]], Report]:
    """The same with what tells prompts apart."""
    report, kept, processor = Report(name=name), [], processor_of(tokenizer)
    for row in select(source, seed, EXAMPLES, report, apart=apart, processor=processor):
        if not looked(row, source, processor, report, f"'{source.path}' row {row['id']}"):
            continue
        made = example(row, source, tokenizer)
        if len(made.tokens) > max_length:
            report.too_long += 1
            continue
        made.source = name
        shown = "".join(f" {number}" for number in row.get("images") or ())  # another image, another problem
        kept.append((repr(row["prompt"]) + shown, made))
    report.kept, report.tokens = len(kept), sum(len(made.tokens) for _, made in kept)
    if not kept and not report.too_long:
        raise UserError(f"{name}: nothing of '{source.path}' is left: {unusable_images(report)}")
    if not kept:
        raise UserError(
            f"{name}: all {report.too_long} examples of '{source.path}' are longer than "
            f"{max_length} tokens; raise algorithm.max_length"
        )
    return kept, report


def example(row: dict[str, Any], source: schema.Source, tokenizer: PreTrainedTokenizerBase) -> Example:
    """Prompt and completion as RL would see them: the prompt is rendered and tokenised by itself."""
    if tokenizer.eos_token_id is None:
        raise UserError("the tokenizer has no end-of-sequence token; SFT needs one to teach stopping")
    prompt, completion = row["prompt"], row["completion"]
    if not uses_chat(prompt, source, tokenizer, images=bool(row.get("images"))):
        if not isinstance(completion, str):
            raise UserError(
                f"'{source.path}' row {row['id']} completes text with chat messages; use text in both"
            )
        segments = [(render(row, source, tokenizer)[1], False), (encode(completion, tokenizer), True)]
        return _join(segments, tokenizer.eos_token_id)
    messages = shown_to_model(conversation(prompt, source), row)
    reply = [{"role": "assistant", "content": completion}] if isinstance(completion, str) else completion
    if GENERATION_MARKER.search(_template(tokenizer)):
        segments = _marked(messages, reply, source, tokenizer)
    else:
        segments = _by_prefixes(messages, reply, source, tokenizer, row["id"])
    return _with_images(_join(segments, tokenizer.eos_token_id), row, source, tokenizer)


def _with_images(
    made: Example, row: dict[str, Any], source: schema.Source, tokenizer: PreTrainedTokenizerBase
) -> Example:
    """With the images of the row in the place of the model's token for them."""
    if (processor := processor_of(tokenizer)) is None:
        return made
    tokens = np.array(with_images(made.tokens.tolist(), row, source, tokenizer), np.int32)
    counts = np.ones(len(made.tokens), np.int64)
    counts[made.tokens == processor.pad] = [album[number].tokens for number in row.get("images", [])]
    return Example(tokens=tokens, mask=np.repeat(made.mask, counts))


def _by_prefixes(
    prompt: Messages, reply: Messages, source: schema.Source, tokenizer: PreTrainedTokenizerBase, row: str
) -> list[Segment]:
    """Find each assistant turn by rendering the chat up to it, which only works on templates that append.

    Segments are tokenised one by one, so that a prompt has the tokens it has in a rollout even where the
    tokenizer would merge across the border.
    """
    chat = prompt + reply
    whole = apply_chat(chat, source, tokenizer, generation=False)
    segments: list[Segment] = []
    cursor = 0
    for turn in range(len(prompt), len(chat)):
        if chat[turn]["role"] != "assistant":
            continue
        before = apply_chat(chat[:turn], source, tokenizer, generation=True)
        through = apply_chat(chat[: turn + 1], source, tokenizer, generation=False)
        if not (through.startswith(before) and whole.startswith(through)):
            raise UserError(
                f"the chat template rewrites earlier turns (row {row} of '{source.path}', turn {turn + 1}), "
                "so the trained tokens cannot be found; set model.chat_template to one with {% generation %} "
                "marks, or use single-turn examples without reasoning blocks"
            )
        segments.append((encode(whole[cursor : len(before)], tokenizer), False))
        segments.append((encode(whole[len(before) : len(through)], tokenizer), True))
        cursor = len(through)
    return segments


def _marked(
    prompt: Messages, reply: Messages, source: schema.Source, tokenizer: PreTrainedTokenizerBase
) -> list[Segment]:
    """Assistant turns as the template's {% generation %} blocks mark them, those of the prompt left out."""
    rendered: Any = tokenizer.apply_chat_template(
        prompt + reply, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    start = len(encode(apply_chat(prompt, source, tokenizer, generation=True), tokenizer))
    pairs = zip(rendered["input_ids"], rendered["assistant_masks"], strict=True)
    segments: list[Segment] = []
    for place, (token, mark) in enumerate(pairs):
        trained = bool(mark) and place >= start
        if segments and segments[-1][1] == trained:
            segments[-1][0].append(token)
        else:
            segments.append(([token], trained))
    return segments


def _join(segments: list[Segment], eos: int) -> Example:
    """One row. A trained segment ends at its EOS: what a template writes after it is never generated."""
    tokens: list[int] = []
    mask: list[bool] = []
    for part, trained in segments:
        length = part.index(eos) + 1 if trained and eos in part else len(part)
        tokens += part
        mask += [trained] * length + [False] * (len(part) - length)
    end = len(mask) - mask[::-1].index(True) if any(mask) else 0
    tokens, mask = tokens[:end], mask[:end]
    if tokens[-1:] != [eos]:
        tokens, mask = [*tokens, eos], [*mask, True]
    return Example(tokens=np.array(tokens, np.int32), mask=np.array(mask, bool))


def _template(tokenizer: PreTrainedTokenizerBase) -> str:
    """The default chat template; some tokenizers carry several by name."""
    found = tokenizer.chat_template
    return found.get("default", "") if isinstance(found, dict) else str(found)
