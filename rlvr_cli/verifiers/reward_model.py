"""A reward model: a sequence-classification model scores the conversation.

It runs in a worker of its own (`limits`), which loads the model once, has no address-space limit (torch
reserves more than it uses) and takes as many waiting responses at a time as make a batch. torch is
imported there and nowhere else: by the time the worker is asked, not with this module.
"""

from __future__ import annotations

import json
import os
from contextlib import nullcontext
from dataclasses import dataclass, replace
from enum import Enum
from functools import cache
from math import exp, isfinite
from pathlib import Path
from typing import Any, ClassVar

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.model_paths import resolve_model
from rlvr_cli.core.types import Reason, Verdict
from rlvr_cli.schema import Verification
from rlvr_cli.verifiers.gain import Remembered, key_of, of_gain
from rlvr_cli.verifiers.offloaded import Offloaded
from rlvr_cli.verifiers.several_golds import Reads
from rlvr_cli.verifiers.shown import Extract, Shown

Loaded = tuple[Any, Any, Offloaded | None]
GOLDS = Remembered()
"""Of the worker: what `_values` says of golds."""
NEVER = 1 << 60
"""Verdicts after which the worker is replaced: loading a model again helps nobody."""


class Scale(Enum):
    sigmoid = "sigmoid"
    """Mapped to [0, 1] by the logistic function."""
    cut = "cut"
    """Cut off at 0 and 1."""
    own = "own"
    """Any number: the output as it is, which no shaping maps; advantages that normalise need no more."""


@dataclass(kw_only=True)
class RewardModel(Shown):
    name: str = "reward_model"
    weight: float = 1.0
    gate: bool = False
    """Its score multiplies the others' sum and adds nothing."""
    path: str
    """Folder, run directory or Hugging Face id of a model with one output for the sequence."""
    label: int = 0
    """Which output is the reward, where the model has several."""
    scale: Scale = Scale.sigmoid
    """What becomes of the output."""
    normalise: bool = False
    """First subtract the mean and divide by the standard deviation that the model's config has: `mean` and
    `std` of held-out outputs, as `rlvr reward_model` and OpenRLHF store them."""
    gain: float | None = None
    """In the place of `scale`, the gain over the gold answer: 1 - exp(-gain · (output - the gold's output)),
    or 0 where there is none (VLAA-Thinking); null: the output by itself, and no gold is read."""
    require_answer: bool = False
    """A response whose delimiters are missing scores 0, and the model is not asked."""
    correct_from: float = 0.5
    """Score from which a response counts as correct."""
    max_tokens: int = 4096
    """Longer conversations lose their beginning."""
    batch: int = 8
    """Most conversations in one forward pass."""
    device: str = "auto"
    """auto: the rank's GPU, or the CPU where there is none; or a name that torch knows, e.g. cpu."""
    offload: bool = False
    """The weights wait in CPU memory and are on the GPU for each batch only, so that trainer and engine have
    their room between. One transfer a batch: make `batch` large."""
    threads: int = 1
    """Threads on the CPU."""
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
        if self.gate and self.scale is Scale.own:
            raise ValueError(
                "a gate multiplies and takes values from 0 to 1; set scale=sigmoid or gate=false"
            )
        if self.offload and self.device == "cpu":
            raise ValueError(
                "offload moves the weights to the CPU between batches, and device=cpu keeps them there; "
                "leave one out"
            )
        self.check_extract()
        if self.gain is not None and not 0 < self.gain < float("inf"):
            raise ValueError(f"gain is {self.gain}; it must be above 0")
        if self.gain is not None and self.scale is not Scale.sigmoid:
            raise ValueError(
                f"gain maps the outputs itself, in the place of scale={self.scale.value}; leave one out"
            )
        if self.require_answer and (self.extract is Extract.none or self.strict):
            raise ValueError(
                "require_answer is about missing delimiters: set extract to what looks for some, and strict, "
                "which shows the model [NULL] in their place, to false"
            )

    @property
    def reads(self) -> Reads:
        """With `gain` the gold's own output is what responses are compared with."""
        return Reads.no_gold if self.gain is None else Reads.any_gold

    def limits(self, config: Verification) -> Verification:
        self.path = resolve_model(self.path, f"{self.name}: path")
        check_head(self.path, self.normalise)
        return replace(
            config,
            workers=1,
            timeout_s=self.timeout_s,
            start_s=self.start_s,
            memory_mb=0,
            recycle_after=NEVER,
        )

    def warm(self) -> None:
        self._load()

    def _load(self) -> Loaded:
        return _load(self.path, self.label, self.device, self.threads, self.offload)

    def verify(self, response: str, answer: str, extra: dict[str, Any]) -> Verdict:
        return self.verify_batch([(response, answer, extra)])[0]

    def verify_batch(self, items: list[tuple[str, str, dict[str, Any]]]) -> list[Verdict]:
        answers = [self.answer_in(response) for response, _, _ in items]
        shown = [n for n, answer in enumerate(answers) if answer.found or not self.require_answer]
        told = [items[n][2] for n in shown]
        outputs = self._values(list(zip([answers[n].text for n in shown], told, strict=True)))
        golds = self._golds([(items[n][1], items[n][2]) for n in shown]) if self.gain is not None else outputs
        missing = Verdict(score=0.0, reason=Reason.no_answer, detail="the answer's delimiters are missing")
        verdicts = [missing] * len(items)
        for n, output, gold in zip(shown, outputs, golds, strict=True):
            verdicts[n] = self._verdict(output) if self.gain is None else self._gained(output, gold)
        return [
            replace(verdict, more=verdict.more | self.extract_metrics(answer))
            for verdict, answer in zip(verdicts, answers, strict=True)
        ]

    def _values(self, said: list[tuple[str, dict[str, Any]]]) -> list[tuple[float, float]]:
        """(output, as `normalise` has it) of answers with the columns of their rows."""
        if not said:
            return []
        tokenizer, model, place = self._load()
        texts = [conversation(tokenizer, text, extra) for text, extra in said]
        with nullcontext() if place is None else place.there():
            outputs = _outputs(tokenizer, model, texts, self.max_tokens, self.label)
        mean, std = stored_statistics(vars(model.config)) if self.normalise else (0.0, 1.0)
        return [(output, (output - mean) / std) for output in outputs]

    def _golds(self, rows: list[tuple[str, dict[str, Any]]]) -> list[tuple[float, float]]:
        """Those of the rows' golds; a gold is asked about once, while the worker lives."""
        keys = [key_of(self.path, gold, extra.get("prompt")) for gold, extra in rows]
        return GOLDS.of(dict(zip(keys, rows, strict=True)), keys, self._values)

    def _gained(self, output: tuple[float, float], gold: tuple[float, float]) -> Verdict:
        if not isfinite(output[0]) or not isfinite(gold[0]):
            return Verdict(score=0.0, reason=Reason.crash, detail="the reward model's output is not a number")
        assert self.gain is not None
        gain = output[1] - gold[1]
        score = of_gain(gain, self.gain)
        reason = Reason.correct if score >= self.correct_from else Reason.wrong
        return Verdict(
            score=score,
            reason=reason,
            detail=f"output {output[0]:.6g}, of the gold {gold[0]:.6g}",
            more={"gain": gain},
        )

    def _verdict(self, found: tuple[float, float]) -> Verdict:
        output, value = found
        if not isfinite(output):
            return Verdict(score=0.0, reason=Reason.crash, detail="the reward model's output is not a number")
        score = value
        if self.scale is not Scale.own:
            score = _logistic(value) if self.scale is Scale.sigmoid else min(max(value, 0.0), 1.0)
        reason = Reason.correct if score >= self.correct_from else Reason.wrong
        own = self.scale is Scale.own
        return Verdict(score=score, reason=reason, detail=f"output {output:.6g}", raw=own)


def check_head(path: str, normalise: bool) -> None:
    """UserError for a folder whose model has no output for a sequence, or lacks what `normalise` needs."""
    file = Path(path) / "config.json"
    if not file.is_file():  # a hub id: seen when it is loaded
        return
    config = json.loads(file.read_text())
    kinds = config.get("architectures") or []
    if any(kind.endswith(("ForCausalLM", "ForTokenClassification")) for kind in kinds):
        raise UserError(
            f"reward_model: path: '{path}' holds a {kinds[0]}, which has no output for a sequence; train a "
            "reward model (`rlvr reward_model`), or take one"
        )
    if normalise:
        stored_statistics(config)


def stored_statistics(config: dict[str, Any]) -> tuple[float, float]:
    """Mean and standard deviation of outputs, out of a model's config; UserError without."""
    mean, std = config.get("mean"), config.get("std")
    if not isinstance(mean, int | float) or not isinstance(std, int | float) or not std > 0:
        raise UserError(
            "reward_model: normalise: the model's config.json has no `mean` and positive `std`; set "
            "normalise=false"
        )
    return float(mean), float(std)


def conversation(tokenizer: Any, response: str, extra: dict[str, Any]) -> str:
    """The text the model scores: by its chat template, or prompt and response one after the other."""
    prompt = extra.get("prompt", "")
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    if tokenizer.chat_template:
        whole = [*messages, {"role": "assistant", "content": response}]
        return str(tokenizer.apply_chat_template(whole, tokenize=False))
    return "\n\n".join([*(message["content"] for message in messages if message["content"]), response])


def _logistic(x: float) -> float:
    return 1 / (1 + exp(-x)) if x >= 0 else exp(x) / (1 + exp(x))  # either way without overflow


@cache
def _load(path: str, label: int, device: str, threads: int, offload: bool) -> Loaded:
    """Of the worker: (tokenizer, model, where its weights are; None: on the device)."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.set_num_threads(threads)
    if device == "auto":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
    path = os.path.expanduser(path)
    tokenizer = AutoTokenizer.from_pretrained(path, truncation_side="left", padding_side="right")
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    model, report = AutoModelForSequenceClassification.from_pretrained(
        path, dtype=dtype, output_loading_info=True
    )
    if report["missing_keys"]:
        raise UserError(
            f"reward_model: path: '{path}' lacks weights ({', '.join(sorted(report['missing_keys'])[:3])}); "
            "its scores would be chance"
        )
    if label >= model.config.num_labels:
        raise UserError(f"reward_model: label is {label}, but '{path}' has {model.config.num_labels} outputs")
    # The model reads its output at the last token that is not this one. Where there is none it takes one
    # conversation at a time: the end-of-sequence token in its place would move that position.
    known = (model.config.pad_token_id, tokenizer.pad_token_id)
    usable = [id for id in known if id is not None and 0 <= id < model.config.vocab_size]
    model.config.pad_token_id = usable[0] if usable else None
    if usable:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(usable[0])
    if offload:
        return tokenizer, model.eval(), Offloaded(model, device)
    return tokenizer, model.to(device).eval(), None


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
