"""The gate's numbers, its gradients, and that it is each router's own mathematics."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig
from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2TopkRouter
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3TopkRouter
from transformers.models.glm4_moe.modeling_glm4_moe import Glm4MoeTopkRouter
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssTopKRouter
from transformers.models.granitemoe.modeling_granitemoe import GraniteMoeTopKRouter
from transformers.models.minimax_m2.modeling_minimax_m2 import MiniMaxM2TopKRouter
from transformers.models.mixtral.modeling_mixtral import MixtralTopKRouter
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeTopKRouter

from rlvr_cli.core.routers import GATES, Router, Scores, kind_of
from rlvr_cli.engine.replay_gate import replay_gate, same_experts

LOGITS = torch.tensor([[2.0, 1.0, 0.9, -1.0]], dtype=torch.float64)
NATIVE, REPLAYED = torch.tensor([[0, 1]]), torch.tensor([[0, 2]])


def test_worked_numbers() -> None:
    """Those of the method's notes (R3, 2510.11370)."""
    cases = [
        (Scores.softmax_of_chosen, True, NATIVE, [0.7311, 0.2689]),
        (Scores.softmax_of_chosen, True, REPLAYED, [0.7503, 0.2497]),
        (Scores.softmax, True, REPLAYED, [0.7503, 0.2497]),
        (Scores.softmax, False, REPLAYED, [0.5713, 0.1902]),
        (Scores.sigmoid, True, REPLAYED, [0.5534, 0.4466]),
        (Scores.sigmoid, False, REPLAYED, [0.8808, 0.7109]),
    ]
    for scores, normed, choice, wanted in cases:
        found = replay_gate(LOGITS, choice, scores, normed=normed)
        assert found[0].tolist() == pytest.approx(wanted, abs=5e-5), (scores, normed)
    assert replay_gate(LOGITS, REPLAYED, Scores.softmax, normed=False).sum() == pytest.approx(
        0.7614, abs=5e-5
    )


def test_worked_gradient() -> None:
    """y = sum g_i e_i with outputs 1, -2, 3, 0.5: dy/ds_i = g_i (e_i - y), and 0 at what was not chosen."""
    outputs = torch.tensor([1.0, -2.0, 3.0, 0.5], dtype=torch.float64)
    for scores in (Scores.softmax_of_chosen, Scores.softmax):
        logits = LOGITS.clone().requires_grad_()
        y = (replay_gate(logits, REPLAYED, scores, normed=True) * outputs[REPLAYED]).sum()
        y.backward()
        assert float(y.detach()) == pytest.approx(1.4995, abs=5e-5)
        assert logits.grad is not None
        assert logits.grad[0].tolist() == pytest.approx([-0.3747, 0, 0.3747, 0], abs=5e-5)
        if scores is Scores.softmax_of_chosen:
            assert logits.grad[0, 1] == 0 and logits.grad[0, 3] == 0
        else:  # by way of a sum over all experts that cancels
            assert logits.grad[0, [1, 3]].abs().max() < 1e-15


def test_gradient_is_that_of_finite_differences_with_the_choice_frozen() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 6, generator=generator, dtype=torch.float64)
    weights = torch.randn(3, 2, generator=generator, dtype=torch.float64)
    choice, step = torch.tensor([[4, 1], [0, 5], [3, 2]]), 1e-6
    for scores in Scores:
        for normed in (True, False):

            def total(x: Tensor, scores: Scores = scores, normed: bool = normed) -> Tensor:
                return (replay_gate(x, choice, scores, normed=normed, scale=2.5) * weights).sum()

            live = logits.clone().requires_grad_()
            total(live).backward()
            assert live.grad is not None and live.grad.abs().max() > 1e-3
            for place in ((0, 4), (0, 0), (1, 5), (2, 2), (2, 1)):
                nudge = torch.zeros_like(logits)
                nudge[place] = step
                found = (total(logits + nudge) - total(logits - nudge)) / (2 * step)
                assert float(live.grad[place]) == pytest.approx(float(found), abs=1e-9), (scores, place)


SIZES = {"hidden_size": 32, "num_experts_per_tok": 3, "num_attention_heads": 4, "num_key_value_heads": 4}
OF_DEEPSEEK = {"n_group": 2, "topk_group": 1, "routed_scaling_factor": 2.5, "norm_topk_prob": True}


def router_of(kind: str, dtype: torch.dtype) -> Any:
    """A router of transformers with random weights; where it has a bias for its choice, one that matters."""
    known: dict[str, tuple[str, Any, dict[str, Any]]] = {
        "Qwen3Moe": ("qwen3_moe", Qwen3MoeTopKRouter, {"num_experts": 8, "norm_topk_prob": True}),
        "Qwen3Moe, not normed": (
            "qwen3_moe",
            Qwen3MoeTopKRouter,
            {"num_experts": 8, "norm_topk_prob": False},
        ),
        "Mixtral": ("mixtral", MixtralTopKRouter, {"num_local_experts": 8}),
        "DeepseekV2": (
            "deepseek_v2",
            DeepseekV2TopkRouter,
            {"n_routed_experts": 8, "topk_method": "greedy", "routed_scaling_factor": 2.0},
        ),
        "GptOss": ("gpt_oss", GptOssTopKRouter, {"num_local_experts": 8}),
        "GraniteMoe": ("granitemoe", GraniteMoeTopKRouter, {"num_local_experts": 8}),
        "DeepseekV3": ("deepseek_v3", DeepseekV3TopkRouter, OF_DEEPSEEK | {"n_routed_experts": 8}),
        "Glm4Moe": ("glm4_moe", Glm4MoeTopkRouter, OF_DEEPSEEK | {"n_routed_experts": 8}),
        "MiniMaxM2": ("minimax_m2", MiniMaxM2TopKRouter, {"num_local_experts": 8}),
    }
    model, router, more = known[kind]
    made = router(AutoConfig.for_model(model, **SIZES, **more))
    generator = torch.Generator().manual_seed(3)
    for tensor in made.state_dict().values():
        tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.4)
    if dtype is torch.bfloat16:
        made.weight.data = made.weight.data.to(dtype)
        if isinstance(getattr(made, "bias", None), torch.nn.Parameter):
            made.bias.data = made.bias.data.to(dtype)
    return made


KINDS = [
    "Qwen3Moe",
    "Qwen3Moe, not normed",
    "Mixtral",
    "DeepseekV2",
    "GptOss",
    "GraniteMoe",
    "DeepseekV3",
    "Glm4Moe",
    "MiniMaxM2",
]


@torch.no_grad()
def test_replaying_its_own_choice_is_each_router_bit_for_bit() -> None:
    """A bias and groups of experts are in the choice alone: what is replayed does not know them."""
    for dtype in (torch.float32, torch.bfloat16):
        hidden = torch.randn(64, 32, generator=torch.Generator().manual_seed(1)).to(dtype)
        for kind in KINDS:
            module = router_of(kind, dtype)
            gate = GATES[kind_of(module)]
            router = Router("model.layers.0.mlp.gate", module, gate)
            extra = (
                (torch.randn(8, generator=torch.Generator().manual_seed(2)),) if kind == "MiniMaxM2" else ()
            )
            logits, weights, choice = router.read(module(hidden, *extra))
            how = {"normed": router.normed, "epsilon": gate.epsilon, "scale": router.scale, "wide": gate.wide}
            found = replay_gate(logits, choice, gate.scores, **how).to(weights.dtype)
            assert torch.equal(found, weights), (kind, dtype)
            other = (choice + 1) % 8
            assert not torch.equal(replay_gate(logits, other, gate.scores, **how).to(weights.dtype), weights)


@torch.no_grad()
def test_the_bias_matters_for_the_choice_alone() -> None:
    module = router_of("DeepseekV3", torch.float32)
    router = Router("model.layers.0.mlp.gate", module, GATES["DeepseekV3"])
    hidden = torch.randn(64, 32, generator=torch.Generator().manual_seed(1))
    logits, _, choice = router.read(module(hidden))
    module.e_score_correction_bias.zero_()
    unbiased_logits, _, unbiased = router.read(module(hidden))
    assert torch.equal(logits, unbiased_logits) and not same_experts(choice, unbiased).all()


def test_same_experts() -> None:
    a, b = torch.tensor([[0, 1], [2, 3], [4, 5]]), torch.tensor([[1, 0], [2, 4], [4, 5]])
    assert same_experts(a, b).tolist() == [True, False, True]
