"""The start model, and the engine or server that samples from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from rlvr_cli.core import distributed
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.model_paths import BUILT_IN, TINY_MOE, TINY_VISION
from rlvr_cli.engine.model import eos_ids, load_config, load_tokenizer, uneven
from rlvr_cli.engine.tiny import make_tiny
from rlvr_cli.engine.tiny_vision import make_tiny_vision
from rlvr_cli.rollout import Engine, make_engine
from rlvr_cli.rollout.vllm_arguments import CPU_HEADS
from rlvr_cli.schema import Model, Placement, Precision, Rollout, RolloutEngine, RolloutLora, Server, Vision
from rlvr_cli.vision.processor import processor_of


def local_model(model: Model, out: Path, seed: int) -> Model:
    """The model with a path that loads: a built-in one is first made in the run directory (by rank 0)."""
    if model.path not in BUILT_IN:
        return model
    folder = out / "start"
    if distributed.rank() == 0 and not folder.exists():
        if model.path == TINY_VISION:
            make_tiny_vision(folder, model.tiny, seed)
        else:
            make_tiny(folder, model.tiny, seed, moe=model.path == TINY_MOE)
    distributed.barrier()
    return replace(model, path=str(folder))


def default_precision() -> Precision:
    """What evaluation computes in where nobody says."""
    return Precision.bf16 if distributed.device().type == "cuda" else Precision.fp32


def check_even(rollout: Rollout, model: Model) -> None:
    """UserError where the model does not divide into the `rollout.tensor_parallel` parts of an engine."""
    size = rollout.tensor_parallel
    if size > 1 and (what := uneven(load_config(model), size)):
        raise UserError(
            f"rollout.tensor_parallel is {size}, and '{model.path}' has {what}, which so many cannot share "
            "evenly; set another rollout.tensor_parallel"
        )


def check_heads(rollout: Rollout, model: Model) -> None:
    """UserError where vLLM has no kernel for the model's attention on CPUs."""
    elsewhere = rollout.placement is Placement.servers and rollout.servers.urls
    if rollout.engine is not RolloutEngine.vllm or torch.cuda.is_available() or elsewhere:
        return
    text = load_config(model).get_text_config()
    heads, width = (getattr(text, name, None) for name in ("num_attention_heads", "hidden_size"))
    size = getattr(text, "head_dim", None) or (width // heads if heads and width else None)
    if size is not None and size not in CPU_HEADS:
        raise UserError(
            f"'{model.path}' has attention heads of size {size}, and vLLM on CPUs knows "
            f"{', '.join(map(str, CPU_HEADS))}; set rollout=hf, or for a tiny model other model.tiny.heads"
        )


def start_engine(
    rollout: Rollout,
    model: Model,
    tokenizer: Any,
    seed: int,
    precision: Precision,
    positions: int,
    out: Path = Path(),
    event: Callable[[str, str], object] = lambda kind, text: None,
    *,
    probed: bool = False,
) -> Engine:
    """This rank's rollout engine, with room for `positions` tokens of prompt and response.

    Servers leave their logs in `out`, and `event` is told what happens to them. `probed`: where the engine
    can show its cache, the kind of it that a one-token verifier reads.
    """
    more: dict[str, Any] = {"lora": model.lora} if rollout.lora is RolloutLora.adapter else {}
    if processor_of(tokenizer) is not None:
        more["frozen_tower"] = model.vision is Vision.frozen
    if rollout.placement is Placement.servers:
        more |= {"out": out, "event": event}
    check_even(rollout, model)
    check_heads(rollout, model)
    return make_engine(
        rollout,
        path=model.path,
        tokenizer=tokenizer,
        eos=eos_ids(model.path, tokenizer),
        seed=seed + distributed.rank() // rollout.tensor_parallel,
        precision=precision,
        max_model_len=positions,
        revision=model.revision,
        trust_remote_code=model.trust_remote_code,
        overrides=model.overrides,
        fp32_head=model.fp32_head,
        probed=probed,
        **more,
    )


def start_server(server: Server, model: Model, tokenizer: Any) -> Engine:
    """The server that samples in the place of an engine; UserError when it cannot be reached."""
    from rlvr_cli.rollout.chat_server import ChatEngine
    from rlvr_cli.rollout.server import ServerEngine

    if not server.chat:
        return ServerEngine(server, model=model.path, tokenizer=tokenizer)
    counts = load_tokenizer(model) if Path(model.path).is_dir() else None
    return ChatEngine(server, model=model.path, tokenizer=counts)
