"""What an update does to the policy: real weights on one rank, and a gradient that no split changes."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from thread_ranks import on_ranks
from torch import Tensor, nn
from transformers import PretrainedConfig

from rlvr_cli import schema
from rlvr_cli.core import distributed
from rlvr_cli.core.types import Batch
from rlvr_cli.engine import process_group
from rlvr_cli.engine.layers import Layers
from rlvr_cli.engine.optimised import Optimised
from rlvr_cli.engine.pack import MicroBatch
from rlvr_cli.engine.reference import Reference
from rlvr_cli.engine.trainer import Trainer

SEQUENCES = [np.array(ids, np.int32) for ids in ([5, 1, 2], [5, 3], [5, 2, 2, 1], [5, 0])]
TRAINED = [np.arange(len(s)) > 0 for s in SEQUENCES]


def batch(advantages: list[float]) -> Batch:
    """Seven trained tokens, 1 2 | 3 | 2 2 1 | 0, each with a seventh of the loss."""
    return Batch(
        sequences=SEQUENCES,
        trained=TRAINED,
        weights_N=torch.full((7,), 1 / 7),
        advantages_N=torch.tensor(advantages),
    )


def objective(scores_n: Tensor, *others: Any) -> tuple[Tensor, dict[str, Tensor]]:
    at = others[-1]
    return -(at["weights"] * at["advantages"] * scores_n).sum(), {"entropy": scores_n.detach()}


# --- over ranks ------------------------------------------------------------------------------------


class Averages:
    """What DeepSpeed does with gradients: each rank's are its own until the step, which averages them."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.optimizer = module, SimpleNamespace(param_groups=[{}], state={})
        self.ends: list[bool] = []

    def train(self) -> None: ...

    def set_gradient_accumulation_boundary(self, ends: bool) -> None:
        self.ends.append(ends)

    def backward(self, loss: Tensor, scale_wrt_gas: bool = True) -> None:
        (loss / 3 if scale_wrt_gas else loss).backward()

    def step(self) -> None:
        for p in self.module.parameters():
            p.grad = torch.stack(distributed.gather(p.grad.clone())).mean(0)


class Attends:
    """Stands for the Hugging Face model: what it says of its attention."""

    config = PretrainedConfig(attn_implementation="sdpa")


class Table(Optimised):
    """Every token has a score of its own, whatever comes before it."""

    scores = ("score",)

    def __init__(self) -> None:
        module = nn.Embedding(6, 1, _weight=torch.zeros(6, 1))
        self.engine, self.layers = Averages(module), Layers(module, zero_stage=0)
        self.settings = schema.Trainer(precision=schema.Precision.fp32, zero_stage=0)
        self.hf, self.tokens_per_microbatch, self.padded = Attends(), 4, True
        self.layer_rule, self.log_layers, self.spikes, self.trained = None, False, None, []

    def forward(self, module: Any, micro: MicroBatch) -> tuple[Tensor, ...]:
        return (module.module(micro.targets_n)[:, 0],)


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_the_gradient_does_not_depend_on_ranks(ranks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Averaged over ranks and summed over micro-batches it is that of the loss as it is written.

    Token 2 has the advantages 1, 4 and 6: -(1 + 4 + 6) / 7. With five ranks one of them has nothing.
    """

    def work(rank: int) -> tuple[list[float], float, list[bool]]:
        table = Table()
        totals = table.update(batch([3.0, 1.0, 2.0, 4.0, 6.0, 5.0, -7.0]), objective, lr=1.0)
        gradient = table.engine.module.weight.grad
        return (7 * gradient[:, 0]).tolist(), totals["loss"], table.engine.ends

    for gradient, loss, ends in on_ranks(monkeypatch, ranks, work):
        assert gradient == pytest.approx([7.0, -(3.0 + 5.0), -(1.0 + 4.0 + 6.0), -2.0, 0.0, 0.0])
        assert loss == 0.0  # all scores are
        assert ends == [False] * (len(ends) - 1) + [True]


# --- real weights ----------------------------------------------------------------------------------


@pytest.fixture
def make(tiny_path: Path) -> Iterator[Any]:
    """Trainers of the tiny model on one rank, in fp32, without ZeRO."""
    before = dict(os.environ)
    process_group.initialise()

    def trainer(lora: schema.Lora | None = None, **settings: Any) -> Trainer:
        chosen = schema.Trainer(precision=schema.Precision.fp32, zero_stage=0, **settings)
        model = schema.Model(path=str(tiny_path), lora=lora or schema.Lora())
        return Trainer(model, chosen, tokens_per_microbatch=4096, max_grad_norm=0.0)

    yield trainer
    os.environ.clear()  # RANK and the like would make later tests' processes take themselves for ranks
    os.environ.update(before)


def test_a_trainer_is_made_after_an_engine_has_ended_the_process_group(make: Any) -> None:
    """As a vLLM engine does that closes: with that, another run in the same process found no group."""
    make()
    torch.distributed.destroy_process_group()
    process_group.initialise()
    totals = make().update(batch([1.0] * 7), objective, lr=0.1)
    assert math.isfinite(totals["loss"])


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_weight_decay_is_the_recipes(decay: float, make: Any) -> None:
    """Without a gradient AdamW only takes lr * decay of every weight: 0.1 * 0.5 leaves 95%, 0 leaves all."""
    trainer = make(weight_decay=decay)
    before = trainer.state_dict()
    trainer.update(batch([0.0] * 7), objective, lr=0.1)
    for name, weight in trainer.weights():
        torch.testing.assert_close(weight, before[name] * (1 - 0.1 * decay), msg=name)


def test_adapters_are_merged_once(make: Any) -> None:
    """W + alpha / rank * B A, under the base model's own names."""
    trainer = make(lora=schema.Lora(rank=2, alpha=6.0))
    plain = make().state_dict()
    layers = {n: m for n, m in trainer.hf.get_base_model().named_modules() if hasattr(m, "lora_A")}
    wanted = dict(plain)
    with torch.no_grad():
        for name, layer in layers.items():
            a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
            b.copy_(torch.arange(b.numel()).view_as(b) / b.numel())
            wanted[f"{name}.weight"] = plain[f"{name}.weight"] + 3.0 * b @ a
    found = trainer.state_dict()
    assert layers and found.keys() == plain.keys()
    for name, weight in found.items():
        torch.testing.assert_close(weight, wanted[name], msg=name)
    assert all(not torch.equal(found[f"{name}.weight"], plain[f"{name}.weight"]) for name in layers)


def test_after_a_reset_of_the_optimizer_an_update_is_like_a_first_one(make: Any) -> None:
    """Moments and step counts are 0: else old gradients would act, or the bias correction be missing."""
    first, reset = make(), make()
    for _ in range(3):
        reset.update(batch([-9.0, 4.0, 1.0, 0.0, 2.0, -3.0, 1.0]), objective, lr=0.0)  # weights stay
    reset.reset_optimizer()
    for trainer in (first, reset):
        trainer.update(batch([3.0, 1.0, 2.0, 4.0, 6.0, 5.0, -7.0]), objective, lr=0.1)
    wanted, start = first.state_dict(), make().state_dict()
    for name, weight in reset.weights():
        torch.testing.assert_close(weight, wanted[name], msg=name)
        assert not torch.equal(weight, start[name]), name


def with_adapters(trainer: Trainer, size: float) -> Trainer:
    """Adapters that do something; fresh ones are zero."""
    with torch.no_grad():
        for name, parameter in trainer.hf.named_parameters():
            if ".lora_B." in name:
                parameter.fill_(size)
    return trainer


def test_scores_are_those_of_the_whole_policy_without_dropout(make: Any) -> None:
    """Half of the adapters' inputs are dropped in training; scoring after an update drops none."""
    plain, dropping = (
        with_adapters(make(lora=schema.Lora(rank=2, dropout=dropout)), 0.05) for dropout in (0.0, 0.5)
    )
    for trainer in (plain, dropping):
        trainer.update(batch([1.0] * 7), objective, lr=0.0)
    wanted = plain.score(SEQUENCES, TRAINED)[0]
    assert not torch.allclose(wanted, make().score(SEQUENCES, TRAINED)[0], atol=1e-3)  # adapters act
    torch.testing.assert_close(dropping.score(SEQUENCES, TRAINED)[0], wanted)


@pytest.mark.parametrize("rank", [0, 2])
def test_a_reset_reference_is_saved_and_goes_on(
    rank: int, make: Any, tiny_path: Path, tmp_path: Path
) -> None:
    """As a whole copy or, with adapters, the model without them: of the start nothing is saved."""
    lora = schema.Lora(rank=rank)
    trainer, model = make(lora=lora), schema.Model(path=str(tiny_path), lora=lora)
    reference = Reference(model, trainer)
    start = reference.logprobs(SEQUENCES, TRAINED)
    assert reference.snapshot() == {}
    trainer.update(batch([3.0, 1.0, 2.0, 4.0, 6.0, 5.0, -7.0]), objective, lr=0.01)
    policy = trainer.score(SEQUENCES, TRAINED)[0]
    reference.reset()
    torch.save(reference.snapshot(), tmp_path / "reference.pt")
    resumed = Reference(model, trainer)
    resumed.load(tmp_path / "reference.pt")
    for one in (reference, resumed):
        torch.testing.assert_close(one.logprobs(SEQUENCES, TRAINED), policy)
    assert resumed.snapshot().keys() == reference.snapshot().keys()
    resumed.restart()
    torch.testing.assert_close(resumed.logprobs(SEQUENCES, TRAINED), start)
    assert resumed.snapshot() == {} and not torch.allclose(start, policy, atol=1e-3)
