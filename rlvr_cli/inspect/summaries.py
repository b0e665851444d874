"""What a summary of the thinking is worth: a model writes it, and the gold answer is scored after it.

RaML (2505.19815): a trace is compressed without its answer, several times at temperature 1, and the summary
takes the place of the thinking. What it keeps of the answer's likelihood is what the thinking says; the rest
was in its length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

import torch

from rlvr_cli.data.prompts import encode, encode_plain
from rlvr_cli.engine.model import eos_ids
from rlvr_cli.inspect.chat_text import bare, chat

ASK = (
    "Here is a problem, and what someone thinks who works on it.\n\nProblem:\n{problem}\n\nThinking:\n"
    "{thinking}\n\nSummarise the thinking step by step in a few sentences. Keep every result it needs, leave "
    "out what turned out to be wrong, and do not state the final answer.\n\nSummary:\n"
)
OPENING, CLOSING = "<think>", "</think>"
CUT = "summaries of the first part of the thinking alone: the whole does not fit into the model's positions"
NO_ROOM = "samples have no summary: a question for one alone does not fit into the model's positions"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is asked for."""

    count: int
    """Summaries of each sample."""
    ask: str = ASK
    """With {problem} and {thinking} in it; the latter it must have."""
    tokens: int = 1024
    """Longest summary."""


@dataclass(kw_only=True)
class Summary:
    """One of a sample, and what the answer is worth after it."""

    text: str
    tokens: int
    """Written, with what thinking the writer does itself."""
    finished: bool
    """It ended by itself."""
    loss: float = float("nan")
    """L after it, in nats a token of the answer."""
    right: bool = False
    """Greedy decoding writes the answer after it, and ends there."""
    names: bool = False
    """The gold answer stands in it."""

    def row(self) -> dict[str, Any]:
        return vars(self) | {"loss": round(self.loss, 6), "right": int(self.right)}


class Writer:
    """A model that summarises."""

    def __init__(self, hf: Any, tokenizer: Any, path: str, wanted: Wanted) -> None:
        self.hf, self.tokenizer, self.wanted = hf, tokenizer, wanted
        self.eos = eos_ids(path, tokenizer)
        self.room: int | None = getattr(hf.config.get_text_config(), "max_position_embeddings", None)
        self.cut = self.without = 0

    def write(self, problem: str, thinking: str, seed: int) -> list[Summary]:
        """`count` summaries at temperature 1; none where not even the question fits."""
        prompt = self._prompt(problem, thinking)
        if prompt is None:
            self.without += 1
            return []
        return [self._read(tokens) for tokens in self._sampled(prompt, seed)]

    def told(self) -> list[str]:
        found = {CUT: self.cut, NO_ROOM: self.without}
        return [f"{count} {why}" for why, count in found.items() if count]

    def _prompt(self, problem: str, thinking: str) -> list[int] | None:
        """Token ids; of a thinking that is too long its first part."""
        if self.room is None:
            return self._asked(problem, thinking)
        room, ids = self.room - self.wanted.tokens, encode(thinking, self.tokenizer)
        over = len(prompt := self._asked(problem, thinking)) - room
        if over <= 0:
            return prompt
        while over > 0 and ids:  # text cut by tokens may have other tokens where it ends
            ids = ids[: -min(over, len(ids))]
            prompt = self._asked(problem, str(self.tokenizer.decode(ids)))
            over = len(prompt) - room
        self.cut += over <= 0
        return prompt if over <= 0 and ids else None

    def _asked(self, problem: str, thinking: str) -> list[int]:
        text = self.wanted.ask.replace("{problem}", problem).replace("{thinking}", thinking)
        if getattr(self.tokenizer, "chat_template", None):
            return encode(chat(self.tokenizer, text), self.tokenizer)
        return encode_plain(text, self.tokenizer)

    @torch.no_grad()
    def _sampled(self, prompt: list[int], seed: int) -> list[list[int]]:
        ids_1T = torch.tensor([prompt], device=self.hf.get_input_embeddings().weight.device)
        torch.manual_seed(seed)
        written = self.hf.generate(
            ids_1T,
            attention_mask=torch.ones_like(ids_1T),
            do_sample=True,
            temperature=1.0,
            top_p=1.0,
            top_k=0,
            repetition_penalty=1.0,  # a model's own settings may have another
            num_return_sequences=self.wanted.count,
            max_new_tokens=self.wanted.tokens,
            eos_token_id=self.eos,
            pad_token_id=self.tokenizer.pad_token_id,
        )
        return [list(row) for row in written[:, len(prompt) :].tolist()]

    def _read(self, tokens: list[int]) -> Summary:
        end = next((place for place, token in enumerate(tokens) if token in self.eos), None)
        said = str(self.tokenizer.decode(tokens[:end], skip_special_tokens=False))
        text = said.rpartition(CLOSING)[2].strip()
        return Summary(text=text, tokens=len(tokens) if end is None else end, finished=end is not None)


def problem_of(tokenizer: Any, prompt: str) -> str:
    """What the user asked, out of the chat template where it is in one."""
    return bare(tokenizer, prompt) if getattr(tokenizer, "chat_template", None) else prompt


def in_place(thinking: str, summary: str) -> str:
    """The text that stands where the thinking stood: with the mark that opened it."""
    return f"{OPENING}\n{summary}" if thinking.lstrip().startswith(OPENING) else summary


def numbers(of_samples: Sequence[tuple[list[Summary], int]], count: int) -> dict[str, Any] | None:
    """Over samples that have any: (their summaries, tokens of the thinking they stand for)."""
    had = [(found, thought) for found, thought in of_samples if found]
    if not had:
        return None
    each = [summary for found, _ in had for summary in found]
    return {
        "count": count,
        "samples": len(had),
        "likelihood": fmean(math.exp(-one.loss) for one in each),
        "greedy_right": fmean(one.right for one in each),
        "any_right": fmean(any(one.right for one in found) for found, _ in had),
        "median_length": median(one.tokens / max(1, thought) for found, thought in had for one in found),
        "finished": fmean(one.finished for one in each),
        "names": fmean(one.names for one in each),
    }
