"""Packed rows, padded rows and shared prompts give the same numbers, whatever the family of models."""

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
)

from rlvr_cli.engine import attention
from rlvr_cli.engine.attention import PACKED, Layout, packed_attention, pads, shares_prompts, suited
from rlvr_cli.engine.logprobs import Scorer
from rlvr_cli.engine.pack import alone, collate, plan, prompts_of

SHAPE = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
SLIDING = {"sliding_window": 7, "layer_types": ["sliding_attention", "full_attention"]}
CONFIGS = {
    "qwen2": Qwen2Config(**SHAPE),
    "qwen3": Qwen3Config(**SHAPE, head_dim=8),
    "qwen3_moe": Qwen3MoeConfig(
        **SHAPE, head_dim=8, num_experts=4, moe_intermediate_size=16, num_experts_per_tok=2
    ),
    "llama": LlamaConfig(**SHAPE),
    "mistral": MistralConfig(**SHAPE, sliding_window=9),
    "gemma3": Gemma3TextConfig(**SHAPE, head_dim=8, **SLIDING),
    "granite": GraniteConfig(**SHAPE),
    "cohere": CohereConfig(**SHAPE),
}


def sampled(rng):
    """Four responses to each of two prompts, and one sequence of its own."""
    sequences, trained = [], []
    for _ in range(2):
        prompt = rng.integers(1, 97, 12)
        for _ in range(4):
            sequences.append(
                np.concatenate([prompt, rng.integers(1, 97, rng.integers(3, 20))]).astype(np.int32)
            )
            trained.append(np.arange(len(sequences[-1])) >= 12)
    return [*sequences, rng.integers(1, 97, 30).astype(np.int32)], [*trained, np.arange(30) >= 5]


def computed(model, *, padded, shared, budget=60):
    """Logprobs of all trained tokens, the gradient of a sum over them, and the tokens of all rows."""
    sequences, trained = sampled(np.random.default_rng(0))
    starts = np.concatenate([[0], np.cumsum([t.sum() for t in trained])[:-1]])
    prompts = prompts_of(sequences, trained) if shared else None
    lengths = [len(s) for s in sequences]
    plans = plan(lengths, ranks=1, tokens_per_microbatch=budget, padded=padded, prompts=prompts)
    scorer, tokens = Scorer(model), 0
    model.zero_grad()
    logprobs_N = torch.zeros(sum(int(t.sum()) for t in trained))
    for bundles in plans[0]:
        micro = collate(bundles, sequences, trained, starts, padded=padded)
        scored_n, _, _ = scorer(*micro.row(), micro.predictors_n, micro.targets_n, 1.0)
        (scored_n * torch.sin(micro.tokens_n.float())).sum().backward()
        logprobs_N[micro.tokens_n] = scored_n.detach()
        tokens += micro.input_ids.numel()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    return logprobs_N, gradient, tokens


def made(config):
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for parameter in model.parameters():  # large enough for what a token attends to to matter
        if parameter.dim() > 1:
            parameter.data.normal_(0, 0.2)
    attention.register()
    return model


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_packed_shared_and_padded_rows_agree_in_value_and_gradient(family, checkpointing):
    model = made(CONFIGS[family])
    assert suited(model) == PACKED
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.train()
    model.set_attn_implementation("eager")
    logprobs_N, gradient, padded_tokens = computed(model, padded=True, shared=False)
    model.set_attn_implementation(PACKED)
    sizes = []
    for shared, budget in ((False, 60), (True, 60), (True, 1000)):
        found_N, found, tokens = computed(model, padded=False, shared=shared, budget=budget)
        assert torch.allclose(found_N, logprobs_N, atol=1e-5)
        assert (found - gradient).norm() < 1e-5 * gradient.norm()
        sizes.append(tokens)
    assert padded_tokens > sizes[0] > sizes[1] > sizes[2]


def test_a_model_with_capped_attention_is_computed_as_it_is_written():
    """scaled_dot_product_attention leaves the cap out: the model would be another one."""
    model = made(Gemma2Config(**SHAPE, head_dim=8))
    assert suited(model) == "eager"
    model.set_attn_implementation(PACKED)
    with pytest.raises(NotImplementedError, match="softcap"):
        computed(model, padded=False, shared=False)


def test_a_model_with_other_layers_than_attention_pads():
    config = Qwen2Config(**SHAPE)
    model = made(config)
    model.config.layer_types = ["linear_attention", "full_attention"]
    assert suited(model) is None


@pytest.mark.parametrize("window", [None, 1, 3, 4, 50])
def test_attention_by_runs_is_attention_with_a_mask(window):
    """Sequences of 5, 5, 3 and 1 tokens in one row against the mask written out."""
    torch.manual_seed(0)
    lengths = (5, 5, 3, 1)
    query, key, value = (torch.randn(1, heads, 14, 8, dtype=torch.float64) for heads in (4, 2, 2))
    starts = torch.tensor([0, 5, 10, 13, 14], dtype=torch.int32)
    found, _ = packed_attention(
        None, query, key, value, None, scaling=0.3, sliding_window=window, layout=Layout(lengths, starts)
    )
    number = torch.repeat_interleave(torch.arange(4), torch.tensor(lengths))
    at = torch.arange(14)
    allowed = (number[:, None] == number) & (at[:, None] >= at)
    if window is not None:
        allowed &= at > at[:, None] - window
    scores = 0.3 * query @ key.repeat_interleave(2, 1).mT
    wanted = scores.masked_fill(~allowed, -torch.inf).softmax(-1) @ value.repeat_interleave(2, 1)
    assert torch.allclose(found, wanted.transpose(1, 2), atol=1e-12)


def test_flash_attention_is_told_where_the_sequences_of_a_row_lie(monkeypatch):
    """transformers takes the ends from us: from positions it would find them for a single row only."""
    from transformers import AttentionInterface, AttentionMaskInterface

    seen = {}

    def flash(module, query, key, value, attention_mask, **more):
        seen.update(more, mask=attention_mask)
        return packed_attention(
            module,
            query,
            key,
            value,
            None,
            scaling=more["scaling"],
            layout=Layout((4, 3), more["cu_seq_lens_q"]),
        )

    AttentionInterface.register("flash_attention_test", flash)
    AttentionMaskInterface.register("flash_attention_test", lambda *args, **kwargs: None)
    model = made(CONFIGS["qwen2"])
    model.config._attn_implementation = "flash_attention_test"
    assert not pads(model) and not shares_prompts(model)
    sequences = [np.arange(4, dtype=np.int32), np.arange(5, 8, dtype=np.int32)]
    trained = [np.arange(4) >= 1, np.arange(3) >= 1]
    micro = collate(alone(sequences, [0, 1]), sequences, trained, np.array([0, 3]))
    together, _, _ = Scorer(model)(*micro.row(), micro.predictors_n, micro.targets_n, 1.0)
    assert seen["cu_seq_lens_q"].tolist() == seen["cu_seq_lens_k"].tolist() == [0, 4, 7]
    assert seen["max_length_q"] == seen["max_length_k"] == 4 and seen["mask"] is None
    model.config._attn_implementation = "eager"
    for i, part in enumerate(together.split([3, 2])):
        one = collate(alone(sequences, [i]), sequences, trained, np.array([0, 3]), padded=True)
        apart, _, _ = Scorer(model)(*one.row(), one.predictors_n, one.targets_n, 1.0)
        assert torch.allclose(part, apart, atol=1e-5)


def test_padded_implementations_say_so():
    model = made(CONFIGS["qwen2"])
    for name, padded, shared in (("sdpa", True, False), ("eager", True, False), (PACKED, False, True)):
        model.config._attn_implementation = name
        assert (pads(model), shares_prompts(model)) == (padded, shared)
