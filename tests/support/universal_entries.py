"""Run by test_universal.py on 2 ranks, then on 1, then on 3: each goes on from what the one before saved.

Whole states are gathered by DeepSpeed's own functions, which share nothing with engine/universal.py.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["DS_ACCELERATOR"] = "cpu"

import deepspeed
import torch
from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state
from engine_entries import make_batch, policy_objective, value_objective

from rlvr_cli.checkpoints.writer import write_file
from rlvr_cli.core import distributed
from rlvr_cli.engine import critic as critics
from rlvr_cli.engine import process_group
from rlvr_cli.engine import trainer as trainers
from rlvr_cli.engine.optimised import Optimised
from rlvr_cli.schema import Critic as CriticSettings
from rlvr_cli.schema import Lora, Model, Offload, Precision
from rlvr_cli.schema import Trainer as Settings

LR = 1e-3
KEYS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Chain:
    """A trainer that is saved and goes on under another layout, twice."""

    stages: tuple[int, int, int]
    """ZeRO stages on 2 ranks, on 1, and on 3."""
    precision: str = "fp32"
    lora: int = 0
    offloads: tuple[str, str, str] = ("none", "none", "none")
    critic: bool = False
    updates: int = 2
    """Before the first checkpoint."""
    used: bool = False
    """The trainer that loads has made an update of its own."""
    group: int | None = None
    """Elements in DeepSpeed's groups of parameters under ZeRO-3, which large models have several of."""


CHAINS = {
    "1 0 2": Chain((1, 0, 2)),
    "2 3 0": Chain((2, 3, 0)),
    "bf16 0 1 0": Chain((0, 1, 0), "bf16"),
    "lora bf16 2 3 2": Chain((2, 3, 2), "bf16", lora=4),
    "offload 2": Chain((2, 2, 2), offloads=("optimizer", "none", "optimizer")),
    "offload 3 bf16": Chain((3, 2, 3), "bf16", offloads=("all", "optimizer", "all")),
    "critic lora 3 3 0": Chain((3, 3, 0), critic=True, lora=4),
    "no update 0 2 3": Chain((0, 2, 3), updates=0),
    "used groups 3 3 2": Chain((3, 3, 2), used=True, group=15_000),
}
"""Every layout is read and written (1 and 2 alike: `flat_pieces`), to the same and to other stages."""


def make(path: str, chain: Chain, link: int, offload: str | None = None) -> Optimised:
    settings = Settings(
        zero_stage=chain.stages[link],
        precision=Precision(chain.precision),
        offload=Offload(offload or chain.offloads[link]),
        lr=LR,
    )
    model = Model(path=path, lora=Lora(rank=chain.lora))
    with grouped(chain.group):
        if chain.critic:
            return critics.Critic(
                model, CriticSettings(lr=LR), settings, tokens_per_microbatch=64, vocabulary=50
            )
        return trainers.Trainer(model, settings, tokens_per_microbatch=64, max_grad_norm=1.0)


class grouped:
    """DeepSpeed's configuration with smaller groups of parameters, which no recipe can set."""

    def __init__(self, group: int | None) -> None:
        self.group = group
        self.usual: Callable[..., dict[str, Any]] = trainers.deepspeed_config

    def __enter__(self) -> None:
        if self.group is not None:
            trainers.deepspeed_config = self.config

    def __exit__(self, *details: object) -> None:
        trainers.deepspeed_config = self.usual

    def config(self, *args: Any, **options: Any) -> dict[str, Any]:
        made = self.usual(*args, **options)
        made["zero_optimization"]["sub_group_size"] = self.group
        return made


def update(trainer: Optimised) -> float:
    objective = value_objective if isinstance(trainer, critics.Critic) else policy_objective
    return trainer.update(make_batch(), objective, lr=LR)["loss"]


def whole_state(trainer: Optimised) -> dict[str, dict[str, torch.Tensor]]:
    """Of every trained parameter the fp32 weight and the moments; Adam's counts of steps."""
    optimizer, stage = trainer.engine.optimizer, trainer.settings.zero_stage
    inner = getattr(optimizer, "optimizer", optimizer)
    if stage in (1, 2):
        optimizer._lazy_init_hp_params_optimizer_state()
    masters = {}
    if stage == 0 and hasattr(optimizer, "fp32_groups"):
        masters = dict(zip(map(id, optimizer.fp16_groups[0]), optimizer.fp32_groups[0], strict=True))
    found = {}
    for name, p in trainer.engine.module.named_parameters():
        if not p.requires_grad:
            continue
        if stage == 0:
            master = masters.get(id(p), p)
            state = {key: inner.state[master][key] for key in KEYS} | {"fp32": master}
        else:
            state = {key: safe_get_full_optimizer_state(p, key) for key in KEYS}
            state["fp32"] = safe_get_full_fp32_param(p)
        found[name] = {key: value.detach().flatten().cpu().clone() for key, value in state.items()}
    counts = sorted({float(state["step"]) for state in inner.state.values() if state})
    return found | {"step": {"counts": torch.tensor(counts)}}


def parameters(trainer: Optimised) -> dict[str, torch.Tensor]:
    """Every parameter whole, adapters apart: merged in bf16 they round as their place in memory has it."""
    named = dict(trainer.engine.module.named_parameters())
    with deepspeed.zero.GatheredParameters(list(named.values()), enabled=trainer.settings.zero_stage == 3):
        return {name: p.detach().cpu().clone() for name, p in named.items()}


def save(trainer: Optimised, folder: Path) -> None:
    for name, content in trainer.snapshot("trainer", copies=False).items():
        write_file(folder / name, content)
    distributed.barrier()


def first(path: str, folder: Path, chain: Chain) -> dict[str, float]:
    """Updates, a checkpoint, what is in it, further updates, and what comes of them."""
    trainer = make(path, chain, 0)
    for _ in range(chain.updates):
        update(trainer)
    save(trainer, folder / "0")
    truth = {"weights": parameters(trainer), "state": whole_state(trainer) if chain.updates else None}
    truth["losses"] = [update(trainer) for _ in range(2)]
    truth["after"] = trainer.state_dict()
    if distributed.rank() == 0:
        torch.save(truth, folder / "truth.pt")
    if chain.offloads[0] == "none":
        return {}
    plain = make(path, chain, 0, offload="none")
    plain.load(folder / "0", "trainer")
    return compared(truth, plain)


def later(path: str, folder: Path, chain: Chain, link: int) -> dict[str, float]:
    trainer = make(path, chain, link)
    if chain.used:
        update(trainer)
    trainer.load(folder / str(link - 1), "trainer")
    save(trainer, folder / str(link))
    return compared(torch.load(folder / "truth.pt"), trainer)


def compared(truth: dict[str, Any], trainer: Optimised) -> dict[str, float]:
    """Largest absolute differences right after loading, and after the same further updates."""
    found = {"weights": gap(truth["weights"], parameters(trainer))}
    if truth["state"] is not None:
        state = whole_state(trainer)
        assert state.keys() == truth["state"].keys()
        found["state"] = max(gap(truth["state"][name], state[name]) for name in state)
    losses = [update(trainer) for _ in range(2)]
    found["losses"] = max(abs(a - b) for a, b in zip(truth["losses"], losses, strict=True))
    found["after"] = gap(truth["after"], trainer.state_dict())
    return found


def gap(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Infinite where a tensor has another shape; `other` is empty on ranks that are not asked."""
    if not other:
        return 0.0
    pairs = [(one[name].double(), other[name].double()) for name in one]
    return max(float((a - b).abs().max()) if a.shape == b.shape else float("inf") for a, b in pairs)


def main(path: str, out: Path) -> None:
    process_group.initialise()
    link = {2: 0, 1: 1, 3: 2}[distributed.world_size()]
    results = {}
    for name, chain in CHAINS.items():
        folder = out / name.replace(" ", "_")
        results[name] = later(path, folder, chain, link) if link else first(path, folder, chain)
        distributed.barrier()
    if distributed.rank() == 0:
        (out / "results.json").write_text(json.dumps(results))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
