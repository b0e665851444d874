"""A reward model: a sequence-classification model scores the conversation.

It runs in a worker of its own (`limits`), which loads the model once, has no address-space limit (torch
reserves more than it uses) and takes as many waiting responses at a time as make a batch. torch is
imported there and nowhere else: by the time the worker is asked, not with this module.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.schema import Verification
from rlvr_cli.verifiers.several_golds import Reads

NEVER = 1 << 60
"""Verdicts after which the worker is replaced: loading a model again helps nobody."""


@dataclass(kw_only=True)
class RewardModel:
    reads = Reads.no_gold
    name: str = "reward_model"
    weight: float = 1.0
    gate: bool = False
    """Its score multiplies the others' sum and adds nothing."""
    path: str
    """Folder or Hugging Face id of a model with one output for the sequence."""
    label: int = 0
    """Which output is the reward, where the model has several."""
    sigmoid: bool = True
    """Map the output to [0, 1] by the logistic function; false: cut it off at 0 and 1."""
    correct_from: float = 0.5
    """Score from which a response counts as correct."""
    max_tokens: int = 4096
    """Longer conversations lose their beginning."""
    batch: int = 8
    """Most conversations in one forward pass."""
    device: str = "auto"
    """auto: the rank's GPU, or the CPU where there is none; or a name that torch knows, e.g. cpu."""
    threads: int = 1
    """Threads on the CPU."""
    answer_only: bool = False
    """Score what comes after the last `</think>` only."""
    timeout_s: float = 120.0
    """Seconds for a batch."""
    start_s: float = 600.0
    """Seconds for loading the model."""
    waits: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for key in ("max_tokens", "batch", "threads", "timeout_s", "start_s"):
            if getattr(self, key) <= 0:
                raise ValueError(f"{key} is {getattr(self, key)}; it must be above 0")
        if self.label < 0:
            raise ValueError(f"label is {self.label}; it must be at least 0")

    def limits(self, config: Verification) -> Verification:
        if self.path.startswith((".", "/", "~")) and not Path(self.path).expanduser().is_dir():
            raise UserError(f"reward_model: path: there is no folder '{self.path}'")
        return replace(
            config,
            workers=1,
            timeout_s=self.timeout_s,
            start_s=self.start_s,
            memory_mb=0,
            recycle_after=NEVER,
        )

    def warm(self) -> None:
        _load(self.path, self.label, self.device, self.threads)

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        return self.verify_batch([(response, answer, extra)])[0]

    def verify_batch(self, items: list[tuple[str, str, dict[str, Any]]]) -> list[Verdict]:
        tokenizer, model = _load(self.path, self.label, self.device, self.threads)
        texts = [conversation(tokenizer, self._read(response), extra) for response, _, extra in items]
        return [
            self._verdict(output) for output in _outputs(tokenizer, model, texts, self.max_tokens, self.label)
        ]

    def _read(self, response: str) -> str:
        return response.rpartition("</think>")[2].strip() if self.answer_only else response

    def _verdict(self, output: float) -> Verdict:
        if output != output:
            return Verdict(score=0.0, reason=Reason.crash, detail="the reward model's output is not a number")
        score = _logistic(output) if self.sigmoid else min(max(output, 0.0), 1.0)
        reason = Reason.correct if score >= self.correct_from else Reason.wrong
        return Verdict(score=score, reason=reason, detail=f"output {output:.6g}")


def conversation(tokenizer: Any, response: str, extra: dict[str, Any]) -> str:
    """The text the model scores: by its chat template, or prompt and response one after the other."""
    prompt = extra.get("prompt", "")
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    if tokenizer.chat_template:
        whole = [*messages, {"role": "assistant", "content": response}]
        return str(tokenizer.apply_chat_template(whole, tokenize=False))
    return "\n\n".join([*(message["content"] for message in messages if message["content"]), response])


def _logistic(x: float) -> float:
    from math import exp

    return 1 / (1 + exp(-x)) if x >= 0 else exp(x) / (1 + exp(x))  # either way without overflow


@cache
def _load(path: str, label: int, device: str, threads: int) -> tuple[Any, Any]:
    """(tokenizer, model) of the worker."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.set_num_threads(threads)
    if device == "auto":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
    path = os.path.expanduser(path)
    tokenizer = AutoTokenizer.from_pretrained(path, truncation_side="left", padding_side="right")
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    model = AutoModelForSequenceClassification.from_pretrained(path, dtype=dtype)
    if label >= model.config.num_labels:
        raise UserError(f"reward_model: label is {label}, but '{path}' has {model.config.num_labels} outputs")
    # The model reads its output at the last token that is not this one. Where there is none it takes one
    # conversation at a time: the end-of-sequence token in its place would move that position.
    known = (model.config.pad_token_id, tokenizer.pad_token_id)
    usable = [id for id in known if id is not None and 0 <= id < model.config.vocab_size]
    model.config.pad_token_id = usable[0] if usable else None
    if usable:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(usable[0])
    return tokenizer, model.to(device).eval()


def _outputs(tokenizer: Any, model: Any, texts: list[str], max_tokens: int, label: int) -> list[float]:
    import torch

    if len(texts) > 1 and model.config.pad_token_id is None:
        return [_outputs(tokenizer, model, [text], max_tokens, label)[0] for text in texts]
    # A chat template writes the BOS token itself.
    inputs = tokenizer(
        texts,
        return_tensors="pt",
        padding=len(texts) > 1,
        truncation=True,
        max_length=max_tokens,
        add_special_tokens=not tokenizer.chat_template,
    )
    with torch.inference_mode():
        logits = model(**inputs.to(model.device)).logits
    return [float(value) for value in logits[:, label].float().cpu()]
