"""Sizes of a first run: enough to see something, and what this machine can do."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass

from rlvr_cli.core.errors import UserError
from rlvr_cli.init.golds import longest_prompt
from rlvr_cli.init.model import ModelFacts
from rlvr_cli.init.rows import Rows
from rlvr_cli.init.task import Task

TINY = 20_000_000
"""Parameters below which a model is for trying things out: it takes large learning rates and runs on CPUs."""
HELD_OUT = 0.1
FEWEST_HELD_OUT = 16
"""Problems of a bench, or one run says little against another."""
ROOM = 1.25
"""Longest prompt that fits, over the longest that was read."""
RESPONSE = {"math": 2048, "code": 2048, "choice": 1024, "chat": 1024, "reward": 1024}
UNKNOWN_PROMPT = 1024
LORA_BYTES, FULL_BYTES = 4, 18
"""Of a parameter: bf16 weights here and in the engine; beside them gradients, fp32 weights, Adam's two
moments."""


@dataclass(kw_only=True)
class Sizes:
    gpus: int
    engine: str
    precision: str
    prompts: int
    group: int
    steps: int
    prompt_tokens: int
    response_tokens: int
    rate: float
    holdout: float
    every: int
    k: int
    lora: bool = False
    checkpointing: bool = False
    memory: str = ""
    """What the memory says, for the reader."""


def sizes_of(rows: Rows, model: ModelFacts, task: Task, gpus: int, memory: int | None) -> Sizes:
    """`memory`: bytes of one GPU, or of the machine without any; None: not known."""
    tiny = model.parameters is not None and model.parameters < TINY
    train, holdout = _split(rows.count)
    prompts = _power_of_two(min(64 if gpus else 8 if tiny else 4, max(4, train // 4)))
    group = 8 if gpus or tiny else 4
    if task.verifier:
        steps = max(10, min(300 if gpus else 30, 3 * train // prompts))
    else:  # sft: an update takes examples, each once
        steps = max(10, min(1000, 2 * train // prompts))
    prompt, response = _lengths(rows, model, task, gpus)
    held = train * HELD_OUT
    sizes = Sizes(
        gpus=gpus,
        engine="vllm" if importlib.util.find_spec("vllm") and not (tiny and not gpus) else "hf",
        precision="bf16" if gpus else "fp32",
        prompts=prompts,
        group=group,
        steps=steps,
        prompt_tokens=prompt,
        response_tokens=response,
        rate=2e-4 if tiny else 1e-6 if task.verifier else 1e-5,
        holdout=holdout,
        every=max(1, steps // 5),
        k=4 if held <= 200 else 1,
    )
    if memory is not None and model.parameters is not None and not tiny:
        _fit(sizes, model.parameters, memory)
    return sizes


def _split(count: int) -> tuple[int, float]:
    """Rows to train on, and what is held out: a share, or of few rows a number."""
    if count * HELD_OUT >= FEWEST_HELD_OUT:
        return round(count * (1 - HELD_OUT)), HELD_OUT
    held = min(FEWEST_HELD_OUT, count // 4)
    return count - held, float(held)


def _power_of_two(most: int) -> int:
    return 1 << (most.bit_length() - 1)


def _lengths(rows: Rows, model: ModelFacts, task: Task, gpus: int) -> tuple[int, int]:
    """Longest prompt and response, in tokens, within the positions of the model."""
    prompt = UNKNOWN_PROMPT
    tokenizer = model.tokenizer
    if tokenizer is not None and tokenizer.counts and rows.rows:
        added = len(task.prompt) + 200 * (tokenizer.chat_template is not None)  # characters: more than tokens
        found = longest_prompt(rows, lambda text: len(tokenizer(text)["input_ids"]))
        prompt = max(64, 32 * -(-int(ROOM * found + added // 2) // 32))
    tiny = model.parameters is not None and model.parameters < TINY
    response = RESPONSE[task.name] if gpus else 64 if tiny else 128
    if model.positions is not None:
        if prompt > model.positions - 32:
            prompt = model.positions // 2
        response = min(response, model.positions - prompt)
        if response < 16:
            raise UserError(
                f"--model: {model.given} has {model.positions} positions, too few to answer these problems"
            )
    return prompt, response


def _fit(sizes: Sizes, parameters: int, memory: int) -> None:
    """Adapters where the whole model does not fit beside its engine. A rule of thumb: `rlvr plan`
    predicts."""
    shared = max(1, sizes.gpus)
    full = parameters * (LORA_BYTES + (FULL_BYTES - LORA_BYTES) / shared)
    room = 0.8 * memory
    need, have = f"{full / 2**30:.0f} GB", f"{memory / 2**30:.0f} GB"
    place = "each GPU" if sizes.gpus else "this machine"
    if full <= room:
        sizes.memory = f"all weights are trained: about {need} of the {have} of {place}"
        return
    sizes.lora, sizes.checkpointing, sizes.rate = True, True, float(f"{10 * sizes.rate:g}")
    adapters = parameters * LORA_BYTES
    if adapters > room:
        raise UserError(
            f"--model: the weights alone take {adapters / 2**30:.0f} GB in trainer and engine, and {place} "
            f"has {have}; "
            "take a smaller model, or write a recipe with trainer=zero3 and ask rlvr plan"
        )
    sizes.memory = f"adapters (LoRA): training all weights takes about {need}, and {place} has {have}"


def machine_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
