"""Rollout engines: token ids in, token ids and logprobs out, weights replaced in memory."""

from __future__ import annotations

from typing import Any

from rlvr_cli.rollout.engine import Engine, Generator, Request, Sampling, SyncError
from rlvr_cli.schema import Placement, Rollout, RolloutEngine

__all__ = ["Engine", "Generator", "Request", "Sampling", "SyncError", "make_engine"]


def make_engine(
    rollout: Rollout,
    *,
    path: str,
    tokenizer: Any,
    eos: list[int],
    seed: int,
    probed: bool = False,
    **model: Any,
) -> Engine:
    """The engine the recipe names, where it says; `model`: precision, max_model_len, revision, and so on.

    `probed`: of transformers' the one that a one-token verifier reads; others have nothing of the kind.
    """
    if rollout.placement is Placement.servers:
        from rlvr_cli.rollout.servers.engine import ServersEngine

        return ServersEngine(rollout, path=path, tokenizer=tokenizer, eos=eos, seed=seed, **model)
    if rollout.engine is RolloutEngine.vllm:
        from rlvr_cli.rollout.vllm import VLLMEngine

        return VLLMEngine(rollout, path=path, tokenizer=tokenizer, eos=eos, seed=seed, **model)
    if probed:
        from rlvr_cli.rollout.probed import ProbedEngine

        return ProbedEngine(rollout, path=path, tokenizer=tokenizer, eos=eos, seed=seed, **model)
    from rlvr_cli.rollout.hf import HFEngine

    return HFEngine(rollout, path=path, tokenizer=tokenizer, eos=eos, seed=seed, **model)
