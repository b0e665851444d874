"""PiSSA, rsLoRA and DoRA: what they start as, what they are merged to, and the reference beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft_entries import KINDS, objective, one_batch, policy

from rlvr_cli.core.errors import UserError
from rlvr_cli.engine import process_group
from rlvr_cli.engine.adapter_start import pissa
from rlvr_cli.engine.model import add_lora, load_model
from rlvr_cli.engine.reference import Reference
from rlvr_cli.schema import Lora, LoraInit, Model, Precision


def start(path: Path, lora: Lora, precision: Precision = Precision.fp32) -> Any:
    return load_model(Model(path=str(path), lora=lora), precision)


def test_pissa_takes_the_largest_singular_values() -> None:
    """diag(4, 1, 9), rank 2, scale 1/4: S / s = 36 and 16, roots 6 and 4; the product is 9 and 4 again."""
    weight = torch.diag(torch.tensor([4.0, 1.0, 9.0]))
    a, b = pissa(weight, 2, 0.25)
    assert a.abs().tolist() == [[0, 0, 6], [4, 0, 0]] and b.abs().tolist() == [[0, 4], [0, 0], [6, 0]]
    torch.testing.assert_close(0.25 * b @ a, torch.diag(torch.tensor([4.0, 0.0, 9.0])))


def test_pissa_is_pefts_in_fp32(tiny_path: Path) -> None:
    """Vectors may have the other sign in both; the products and what is left of the weights have one."""
    from peft import LoraConfig, get_peft_model

    plain = load_model(Model(path=str(tiny_path)), Precision.fp32)
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights="pissa")
    theirs = dict(get_peft_model(plain, config, autocast_adapter_dtype=False).named_modules())
    ours = start(tiny_path, Lora(rank=4, alpha=8.0, init=LoraInit.pissa))
    adapted = {name: layer for name, layer in ours.named_modules() if hasattr(layer, "lora_A")}
    assert len(adapted) == 14
    for name, layer in adapted.items():
        for got, wanted in zip(parts(layer), parts(theirs[name]), strict=True):
            torch.testing.assert_close(got, wanted, atol=1e-6, rtol=1e-5)


def parts(layer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return layer.get_base_layer().weight, layer.lora_B["default"].weight @ layer.lora_A["default"].weight


def test_rank_stabilised_adapters_are_scaled_by_the_root(tiny_path: Path) -> None:
    lora = Lora(rank=4, alpha=6.0, rank_stabilised=True)
    layers = [m for m in start(tiny_path, lora).modules() if hasattr(m, "lora_A")]
    assert lora.scale == 3.0 and {layer.scaling["default"] for layer in layers} == {3.0}


@pytest.mark.parametrize("kind", KINDS)
def test_the_start_model_is_the_start_model(kind: str, tiny_path: Path, own_environment: None) -> None:
    """In bf16 bit by bit but for PiSSA, whose weights beneath are rounded as it befits what they lost."""
    process_group.initialise()
    for precision in (Precision.fp32, Precision.bf16):
        trainer = policy(str(tiny_path), kind, stage=0, precision=precision)
        plain = load_model(Model(path=str(tiny_path)), precision).state_dict()
        for name, weight in trainer.weights():
            if KINDS[kind].init is not LoraInit.pissa:
                assert torch.equal(weight, plain[name]), name
            else:
                unit = 2**-24 if precision is Precision.fp32 else 2**-9
                assert (weight - plain[name]).abs().max() <= 2 * unit * plain[name].abs().max(), name


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_merged_is_what_is_trained(kind: str, tiny_path: Path, own_environment: None) -> None:
    """The policy's logprobs are those of a plain model with the merged weights, after updates."""
    process_group.initialise()
    trainer = policy(str(tiny_path), kind, stage=0)
    batch = one_batch()
    for _ in range(3):
        trainer.update(batch, objective, lr=1e-2)
    plain = policy(str(tiny_path), "none", stage=0)
    with torch.no_grad():
        own, changed = dict(plain.hf.named_parameters()), 0.0
        for name, weight in trainer.weights():
            changed = max(changed, float((own[name] - weight).abs().max()))
            own[name].copy_(weight)
    assert changed > 1e-3
    got, wanted = (x.score(batch.sequences, batch.trained)[0] for x in (trainer, plain))
    torch.testing.assert_close(got, wanted, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_reference_is_the_start_model_though_its_weights_have_changed(
    kind: str, tiny_path: Path, own_environment: None
) -> None:
    """Under PiSSA the policy without its adapters is what the start model lost its principal part to."""
    process_group.initialise()
    trainer, batch = policy(str(tiny_path), kind, stage=0), one_batch()
    wanted = policy(str(tiny_path), "none", stage=0).score(batch.sequences, batch.trained)[0]
    reference = Reference(Model(path=str(tiny_path), lora=KINDS[kind]), trainer)
    for _ in range(2):
        torch.testing.assert_close(reference.logprobs(batch.sequences, batch.trained), wanted)
        trainer.update(batch, objective, lr=1e-2)
    with trainer.hf.disable_adapter():
        beneath = trainer.score(batch.sequences, batch.trained)[0]
    assert ((beneath - wanted).abs().max() > 1e-3) == (KINDS[kind].init is LoraInit.pissa)


@pytest.mark.parametrize(
    ("lora", "said"),
    [
        (
            Lora(rank=2, init=LoraInit.pissa, targets="lm_head"),
            "model.lora.init=pissa: the weight of lm_head",
        ),
        (Lora(rank=2, dora=True, targets="lm_head"), "model.lora.dora: model.lora.targets adapts the output"),
    ],
)
def test_layers_that_cannot_be_are_refused(lora: Lora, said: str, tiny_path: Path) -> None:
    """The output layer of the tiny model is its embedding."""
    with pytest.raises(UserError, match=said):
        start(tiny_path, lora)


def test_a_plan_of_pissa_takes_nothing_out_of_weights_that_are_not_there(tiny_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        hf = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tiny_path))
        adapted = add_lora(hf, Model(path=str(tiny_path), lora=Lora(rank=2, init=LoraInit.pissa, dora=True)))
    assert sum(p.numel() for p in adapted.parameters() if p.requires_grad) > 0
