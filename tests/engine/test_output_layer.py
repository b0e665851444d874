"""The output layer as a function of its weights: adapters, precision, scalings, chunks."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    GraniteConfig,
    Qwen2Config,
)

from rlvr_cli.engine.logprobs import OutputLayer, Scorer, chunk_elements, token_scores

SHAPE = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
}
GIB = 2**30


def model(config=None, dtype=torch.float32):
    torch.manual_seed(2)
    return AutoModelForCausalLM.from_config(config or Qwen2Config(**SHAPE), dtype=dtype)


def scored(hf, temperature=1.0, **options):
    """Logprobs of each token of one sequence given those before."""
    ids = torch.arange(20)[None] * 3 % 61
    at = torch.arange(19)
    return Scorer(hf, **options)(ids, at.new_tensor(range(20))[None], None, at, ids[0, 1:], temperature)[0]


def wanted(hf, ids=None):
    ids = torch.arange(20)[None] * 3 % 61
    return hf(ids).logits[0, :-1].float().log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]


@pytest.mark.parametrize(
    "config",
    [
        Qwen2Config(**SHAPE),
        Gemma2Config(**SHAPE, head_dim=8, final_logit_softcapping=5.0),
        CohereConfig(**SHAPE, logit_scale=0.5),
        GraniteConfig(**SHAPE, logits_scaling=3.0),
    ],
    ids=["plain", "softcap", "scale", "scaling"],
)
def test_logprobs_are_those_of_the_models_own_forward(config):
    hf = model(config)
    assert torch.allclose(scored(hf), wanted(hf), atol=1e-5)


@pytest.mark.parametrize("targets", [["lm_head"], ["q_proj", "lm_head"]])
def test_adapters_on_the_output_layer_count(targets):
    hf = get_peft_model(model(), LoraConfig(r=4, lora_alpha=8, target_modules=targets, task_type="CAUSAL_LM"))
    for name, parameter in hf.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    with_adapters, without = scored(hf), wanted(hf.get_base_model().eval())
    assert torch.allclose(with_adapters, without, atol=1e-5)  # peft's layers are in the base model
    with hf.disable_adapter():
        plain = scored(hf)
        assert torch.allclose(plain, wanted(hf), atol=1e-5)
    assert not torch.allclose(plain, with_adapters, atol=1e-2)
    with_adapters.sum().backward()
    grads = {n: p.grad for n, p in hf.named_parameters() if "lm_head.lora" in n}
    assert len(grads) == 2 and all(float(g.abs().max()) > 0 for g in grads.values())


def test_in_bf16_an_fp32_head_is_nearer_to_exact_logits():
    """Same bf16 hidden states and weights: what differs is the rounding of the logits."""
    hf = model(dtype=torch.bfloat16)
    layer = hf.get_output_embeddings()
    torch.manual_seed(0)
    hidden = torch.randn(200, 32).bfloat16()
    targets = torch.arange(200) % 61
    exact = (hidden.double() @ layer.weight.double().T).log_softmax(-1).gather(-1, targets[:, None])[:, 0]
    errors = []
    for fp32 in (False, True):
        logprobs_n, _, _ = OutputLayer(hf, fp32=fp32)(hidden, targets, 1.0, False)
        errors.append(float((logprobs_n.double() - exact).abs().mean().detach()))
    assert errors[0] > 1e-3 > 1e-5 > errors[1]


def test_an_fp32_head_trains_the_bf16_weights():
    hf = model(dtype=torch.bfloat16)
    scored(hf, fp32_head=True).sum().backward()
    gradient = hf.get_output_embeddings().weight.grad
    assert gradient.dtype == torch.bfloat16 and float(gradient.abs().max()) > 0


def test_chunks_grow_with_the_devices_memory():
    assert chunk_elements(None) == 2**25
    assert [chunk_elements(gib * GIB) for gib in (24, 40, 47.4, 80, 141)] == [
        2**27,
        2**27,
        2**28,
        2**28,
        2**28,
    ]
    assert 2**28 // 152_064 == 1765


def test_no_module_is_called_for_a_chunk():
    """Under ZeRO-3 every call gathers weights, and ranks have different numbers of chunks."""
    hf = get_peft_model(
        model(), LoraConfig(r=2, target_modules=["lm_head"], lora_dropout=0.1, task_type="CAUSAL_LM")
    )
    calls = []
    layer = hf.get_base_model().get_output_embeddings()
    for module in layer.modules():
        module.register_forward_hook(lambda *_: calls.append(1))
    head = OutputLayer(hf.get_base_model(), fp32=False)
    hidden = torch.randn(10, 32, requires_grad=True)
    linear = head.linear()
    scores = token_scores(hidden, torch.arange(10), linear, vocabulary=61, temperature=1.0, elements=122)
    scores[0].sum().backward()
    assert not calls and hidden.grad is not None
