"""Threads that share rows as ranks do, and a trainer without DeepSpeed for each of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from thread_ranks import PATIENCE_S
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, Gemma3TextConfig, Qwen2Config, Qwen3MoeConfig

from rlvr_cli import schema
from rlvr_cli.core import distributed
from rlvr_cli.core.types import Batch
from rlvr_cli.engine import attention
from rlvr_cli.engine.layers import Layers
from rlvr_cli.engine.logprobs import Scorer
from rlvr_cli.engine.trainer import Trainer
from rlvr_cli.engine.ulysses import Ulysses

SHAPE = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
CONFIGS = {
    "qwen2": Qwen2Config(**SHAPE),
    "gemma3": Gemma3TextConfig(
        **SHAPE, head_dim=8, sliding_window=7, layer_types=["sliding_attention", "full_attention"]
    ),
    "qwen3_moe": Qwen3MoeConfig(
        **SHAPE, head_dim=8, num_experts=4, moe_intermediate_size=16, num_experts_per_tok=2
    ),
}


def model_of(family: str) -> Any:
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(CONFIGS[family], dtype=torch.float32)
    for parameter in model.parameters():  # large enough for what a token attends to to matter
        if parameter.dim() > 1:
            parameter.data.normal_(0, 0.2)
    attention.register()
    model.set_attn_implementation(attention.PACKED)
    return model


@dataclass
class Board:
    """Where `size` threads lay what they have for each other."""

    size: int
    slots: dict[int, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.barrier = Barrier(self.size)

    def gather(self, place: int, value: Tensor) -> list[Tensor]:
        self.slots[place] = value
        self.barrier.wait(PATIENCE_S)
        found = [self.slots[n] for n in range(self.size)]
        self.barrier.wait(PATIENCE_S)
        return found


class Threads(Ulysses):
    """Ranks that share rows, as threads: `group` is their board."""

    def traded(self, sent: Tensor) -> Tensor:
        return torch.stack([other[self.place] for other in self.group.gather(self.place, sent)])

    def summed(self, values: Tensor) -> Tensor:
        return torch.stack(self.group.gather(self.place, values)).sum(0)


def groups(ranks: int, size: int) -> list[Ulysses]:
    """What each of so many ranks has of its group."""
    if size == 1:
        return [Ulysses()] * ranks
    boards = [Board(size) for _ in range(ranks // size)]
    return [Threads(size, rank % size, boards[rank // size]) for rank in range(ranks)]


class Averages:
    """What DeepSpeed does with gradients: each rank's are its own until the step, which averages them."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.optimizer = module, SimpleNamespace(param_groups=[{}])

    def __call__(self, *arguments: Any) -> Any:
        return self.module(*arguments)

    def train(self) -> None:
        self.module.train()

    def eval(self) -> None:
        self.module.eval()

    def zero_grad(self) -> None:
        self.module.zero_grad()

    def set_gradient_accumulation_boundary(self, ends: bool) -> None: ...

    def backward(self, loss: Tensor, scale_wrt_gas: bool) -> None:
        loss.backward()

    def step(self) -> None:
        for p in self.module.parameters():
            own = torch.zeros_like(p) if p.grad is None else p.grad
            p.grad = torch.stack(distributed.gather(own.clone())).mean(0)


class Plain(Trainer):
    """The policy's trainer over a model as it is."""

    def __init__(self, model: Any, ulysses: Ulysses, budget: int, *, entropy_gradient: bool = False) -> None:
        self.hf, self.ulysses, self.tokens_per_microbatch = model, ulysses, budget
        self.settings = schema.Trainer(precision=schema.Precision.fp32, zero_stage=0)
        self.temperature, self.entropy_gradient, self.padded = 0.7, entropy_gradient, False
        self.engine = Averages(Scorer(model))
        self.vocabulary = self.engine.module.vocabulary
        self.layers = Layers(self.engine.module, zero_stage=0)
        self.layer_rule, self.log_layers, self.spikes, self.hits, self.trained = None, False, None, [], []

    def gradient(self) -> Tensor:
        return torch.cat([p.grad.flatten() for p in self.engine.module.parameters()])


def rows(count: int = 10, seed: int = 0) -> Batch:
    """Four responses to each of two prompts, a long prompt with a short response, a sequence of its own.

    With what a step of RL knows of each token.
    """
    rng = np.random.default_rng(seed)
    sequences, trained = [], []
    for _ in range(2):
        prompt = rng.integers(1, 90, 12)
        for _ in range(4):
            response = rng.integers(1, 90, rng.integers(3, 20))
            sequences.append(np.concatenate([prompt, response]).astype(np.int32))
            trained.append(np.arange(len(sequences[-1])) >= 12)
    for length, prompt in ((45, 42), (30, 5)):
        sequences.append(rng.integers(1, 90, length).astype(np.int32))
        trained.append(np.arange(length) >= prompt)
    sequences, trained = sequences[-count:], trained[-count:]
    total = sum(int(mask.sum()) for mask in trained)
    old_N = torch.from_numpy(rng.normal(-4, 1, total)).float()
    weights_N = torch.full((total,), 1 / total)
    weights_N[::7] = 0.0
    return Batch(
        sequences=sequences,
        trained=trained,
        weights_N=weights_N,
        rollout_logprobs_N=old_N + 0.01,
        old_logprobs_N=old_N,
        ref_logprobs_N=old_N - 0.1,
        advantages_N=torch.from_numpy(rng.normal(size=total)).float(),
    )


def owned(batch: Batch, ranks: int, size: int) -> Batch:
    """The same with an owner for each sequence: the first rank of its group."""
    return replace(batch, owners=[(n % (ranks // size)) * size for n in range(len(batch.sequences))])
