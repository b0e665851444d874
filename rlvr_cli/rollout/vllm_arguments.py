"""What a vLLM engine is made with and asked, in this process or in a server: the two must sample alike."""

from __future__ import annotations

from typing import Any

from rlvr_cli.rollout.engine import CPU_SEQUENCES, Sampling
from rlvr_cli.schema import Lora, Precision, Rollout

CPU_HEADS = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)
"""Sizes of attention heads that vLLM's CPU build has kernels for (CPUAttentionBackend); with others it ends
at its first step."""

ADAPTER_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Those that vLLM 0.32 can make room for (`MaxLoRARanks` of vllm/config/lora.py)."""


def vllm_arguments(
    rollout: Rollout,
    *,
    cuda: bool,
    path: str,
    seed: int,
    precision: Precision,
    max_model_len: int,
    revision: str | None = None,
    trust_remote_code: bool = False,
    overrides: dict[str, Any] | None = None,
    fp32_head: bool = False,
) -> dict[str, Any]:
    """By vLLM's names, but for those that say how weights arrive and which devices there are."""
    device: dict[str, Any] = (
        {"gpu_memory_utilization": rollout.gpu_memory_utilization}
        if cuda
        else {
            "kv_cache_memory_bytes": int(rollout.kv_cache_gb * 2**30),
            # vLLM 0.32 on CPU fails on a seeded request whose prompt is cut in two by the token budget.
            "enable_chunked_prefill": False,
            "max_num_batched_tokens": max(max_model_len, 8192),
        }
    )
    return {
        "model": path,
        "revision": revision,
        "tokenizer_revision": revision,
        "trust_remote_code": trust_remote_code,
        "hf_overrides": (overrides or {}) | ({"head_dtype": "float32"} if fp32_head else {}),
        "dtype": "float32" if precision is Precision.fp32 else "bfloat16",
        "max_model_len": max_model_len,
        "max_num_seqs": rollout.max_num_seqs or (None if cuda else CPU_SEQUENCES),
        "enforce_eager": (not cuda) if rollout.enforce_eager is None else rollout.enforce_eager,
        # Stop strings need vLLM's own detokeniser; otherwise text is made here, from the final ids.
        "skip_tokenizer_init": not rollout.stop,
        "generation_config": "vllm",
        # Logprobs of the distribution sampled from (temperature, top_p): what the trainer must match.
        "logprobs_mode": "processed_logprobs",
        "seed": seed % 2**31,
        "disable_log_stats": True,
        **device,
    }


def adapter_arguments(lora: Lora | None) -> dict[str, Any]:
    """What an engine is made with besides that is sent adapters alone; vLLM has room for some ranks only."""
    if lora is None:
        return {}
    names = sorted({name.strip().rpartition(".")[2] for name in lora.targets.split(",")})
    return {
        "enable_lora": True,
        "max_lora_rank": min(rank for rank in ADAPTER_RANKS if rank >= lora.rank),
        "max_loras": 1,
        "max_cpu_loras": 1,
        "lora_target_modules": None if lora.targets == "all-linear" else names,
    }


def sampling_arguments(sampling: Sampling, eos: list[int]) -> dict[str, Any]:
    """By the names of vLLM's SamplingParams, but for limit, seed and number of the samples, and how they come
    back."""
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "stop": sampling.stop or None,
        "include_stop_str_in_output": True,
        "stop_token_ids": eos,
        "logprobs": 0 if sampling.logprobs else None,
        "detokenize": bool(sampling.stop),
        "skip_special_tokens": False,  # a stop string may be one
    }
