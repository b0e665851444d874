"""Fused kernels: refused where they cannot run, and on a GPU the same losses and gradients as without."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from rlvr_cli.core.errors import UserError
from rlvr_cli.engine import kernels
from rlvr_cli.engine.kernels import check_liger, use_liger


def test_liger_is_refused_where_it_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="needs a CUDA GPU"):
        check_liger()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(kernels, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install "rlvr\[liger\]"'):
        check_liger()


def test_liger_gets_the_model_below_peft_and_families_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    """And never replaces the loss: the output layer is ours."""
    given: list[Any] = []
    library, patches = ModuleType("liger_kernel.transformers"), ModuleType("monkey_patch")
    library._apply_liger_kernel_to_instance = lambda model, **parts: given.append((model, parts))  # type: ignore[attr-defined]
    patches.MODEL_TYPE_TO_APPLY_LIGER_FN = {"qwen2": None}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "liger_kernel", ModuleType("liger_kernel"))
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers", library)
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers.monkey_patch", patches)
    base = SimpleNamespace(config=SimpleNamespace(model_type="qwen2"))
    use_liger(SimpleNamespace(get_base_model=lambda: base))
    [(model, parts)] = given
    assert model is base
    assert parts["rms_norm"] and parts["swiglu"] and parts["rope"]
    assert not parts["cross_entropy"] and not parts["fused_linear_cross_entropy"]
    with pytest.raises(UserError, match="no kernels for 'mamba'"):
        use_liger(SimpleNamespace(config=SimpleNamespace(model_type="mamba")))


@pytest.mark.gpu
def test_liger_computes_what_plain_modules_do(tiny_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    pytest.importorskip("liger_kernel")

    def run(fused: bool) -> tuple[float, torch.Tensor]:
        model: nn.Module = AutoModelForCausalLM.from_pretrained(tiny_path, dtype=torch.float32).cuda()
        if fused:
            use_liger(model)
        logits = model(input_ids=torch.arange(5, 29, device="cuda")[None]).logits
        loss = logits.log_softmax(-1)[..., 7].mean()
        loss.backward()
        return float(loss), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    (loss, gradient), (fused_loss, fused_gradient) = run(False), run(True)
    assert fused_loss == pytest.approx(loss, rel=1e-3)  # products in TF32 may differ
    assert float((fused_gradient - gradient).norm() / gradient.norm()) < 1e-2
