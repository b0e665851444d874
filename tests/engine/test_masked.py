"""Masked weights: fifty steps with decay, gradients without what is frozen, which layers have a mask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft_entries import masked_policy, objective, one_batch

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.weight_masks import low_magnitude_mask, off_principal_mask
from rlvr_cli.engine import process_group
from rlvr_cli.engine.adamw import MaskedAdamW
from rlvr_cli.engine.masked import made
from rlvr_cli.engine.masked_weights import masked_weights
from rlvr_cli.engine.model import load_model
from rlvr_cli.engine.update_size import update_size
from rlvr_cli.schema import MaskKind, Model, Precision, WeightMask


def test_frozen_entries_are_the_same_bits_after_fifty_steps_with_decay() -> None:
    """Also -0, which an addition of 0 would turn into 0; what trains is what AdamW alone makes of it."""
    torch.manual_seed(0)
    frozen = torch.rand(4096) < 0.5
    start = torch.randn(4096)
    start[:8] = -0.0
    ours, theirs = start.clone().requires_grad_(), start.clone().requires_grad_()
    settings: dict[str, Any] = {"lr": 1e-2, "weight_decay": 0.1, "fused": True}
    masked, plain = MaskedAdamW([ours], **settings), torch.optim.AdamW([theirs], **settings)
    masked.frozen[id(ours)] = frozen
    for _ in range(50):
        gradient = torch.randn(4096).masked_fill(frozen, 0.0)
        ours.grad, theirs.grad = gradient.clone(), gradient
        before = [x.detach().clone() for x in (ours, theirs)]
        masked.step()
        plain.step()
    for optimizer, weight, old in zip((masked, plain), (ours, theirs), before, strict=True):
        moved = float((weight.detach() - old).norm() / old.norm())  # of the last step
        assert update_size(optimizer, [weight], 0)["relative_update"] == pytest.approx(moved, rel=1e-3)
    bits = [x.detach().view(torch.int32) for x in (ours, start)]
    assert torch.equal(bits[0][frozen], bits[1][frozen])
    assert not torch.isclose(theirs, start)[frozen & (start != 0)].any()
    torch.testing.assert_close(ours[~frozen], theirs[~frozen], atol=1e-6, rtol=1e-5)
    assert masked.param_groups[0]["weight_decay"] == 0.1


def test_kinds_are_functions_of_the_start_weights(tiny_path: Path) -> None:
    w = dict(load_model(Model(path=str(tiny_path)), Precision.fp32).named_parameters())
    weight = w["model.layers.0.mlp.up_proj.weight"]

    def mask(kind: MaskKind, **more: Any) -> torch.Tensor:
        return made(weight, "name", WeightMask(kind=kind, rank=8, **more))

    union = mask(MaskKind.off_principal)
    assert torch.equal(union, off_principal_mask(weight, 8, 0.5))
    assert torch.equal(mask(MaskKind.low_magnitude, share=0.3), low_magnitude_mask(weight, 0.3))
    assert mask(MaskKind.principal, share=0.3).sum() == round(0.3 * weight.numel())
    drawn = mask(MaskKind.random_off_principal)
    assert drawn.sum() == union.sum() and not torch.equal(drawn, union)
    assert torch.equal(drawn, mask(MaskKind.random_off_principal))
    assert not torch.equal(mask(MaskKind.random), mask(MaskKind.random, seed=1))


def test_the_norm_of_an_update_is_that_of_the_gradient_without_frozen_entries(
    tiny_path: Path, own_environment: None
) -> None:
    process_group.initialise()
    trainer, batch = masked_policy(str(tiny_path), stage=0), one_batch()
    seen: dict[str, torch.Tensor] = {}
    still = trainer.masks.still

    def look(*given: Any) -> None:
        seen.update((n, p.grad.clone()) for n, p in trainer.hf.named_parameters())
        still(*given)

    trainer.masks.still = look  # type: ignore[method-assign]
    norm = trainer.update(batch, objective, lr=1e-2)["grad_norm"]
    own = dict(trainer.hf.named_parameters())
    kept = [trainer.masks.of_gradient(own[name], gradient) for name, gradient in seen.items()]
    whole = torch.stack([g.square().sum() for g in seen.values()]).sum().sqrt()
    wanted = torch.stack([g.square().sum() for g in kept]).sum().sqrt()
    assert norm == pytest.approx(float(wanted), rel=1e-5) and norm < 0.99 * float(whole)


def test_which_layers_have_a_mask(tiny_path: Path) -> None:
    hf = load_model(Model(path=str(tiny_path)), Precision.fp32)
    assert len(masked_weights(hf, WeightMask(kind=MaskKind.random))) == 14  # two blocks of seven
    assert all(p.requires_grad for p in hf.parameters())
    chosen = masked_weights(hf, WeightMask(kind=MaskKind.random, targets="q_proj, 1.mlp.up_proj"))
    names = [name.removeprefix("model.layers.") for name in chosen]
    assert names == ["0.self_attn.q_proj.weight", "1.self_attn.q_proj.weight", "1.mlp.up_proj.weight"]
    masked_weights(hf, WeightMask(kind=MaskKind.random, targets="q_proj", train_others=False))
    assert [n for n, p in hf.named_parameters() if p.requires_grad] == [n for n in chosen if "q_proj" in n]
    with pytest.raises(UserError, match=r"model\.mask\.targets: no linear layer .* called 'proj'"):
        masked_weights(hf, WeightMask(kind=MaskKind.random, targets="proj"))
