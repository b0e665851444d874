"""Recipe -> DeepSpeed configuration."""

from __future__ import annotations

from typing import Any

import torch

from rlvr_cli.schema import Offload, Precision, Trainer

REDUCE_BUCKET = 200_000_000
"""Numbers in the buffer in which ZeRO reduces gradients; in fp32 0.8 GB, which ZeRO-3 keeps for good."""


def deepspeed_config(trainer: Trainer, *, max_grad_norm: float) -> dict[str, Any]:
    """The configuration of `deepspeed.initialize` for ZeRO 0-3.

    Batch sizes are placeholders: micro-batches vary, and the engine is told at each one whether it is
    the last of its update (engine/optimised.py).
    """
    zero: dict[str, Any] = {"stage": trainer.zero_stage, "reduce_bucket_size": REDUCE_BUCKET}
    if trainer.offload is not Offload.none:
        zero["offload_optimizer"] = {"device": "cpu"}
    if trainer.offload is Offload.all:
        zero["offload_param"] = {"device": "cpu"}
    if trainer.zero_stage == 3:
        # Weights smaller than this stay whole on every rank; sharding them costs more than it saves.
        zero["stage3_param_persistence_threshold"] = 10_000
        zero["memory_efficient_linear"] = False  # engine/sharded_linear.py
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": max_grad_norm,
        "zero_optimization": zero,
        # torch's own (fused) AdamW everywhere: DeepSpeed's would be compiled on first use.
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 1 << 60,
    }
    if trainer.precision is Precision.bf16:
        config |= {"bf16": {"enabled": True}, "communication_data_type": "fp32"}
        if trainer.zero_stage > 1:  # the others: `sum_in_fp32`
            config["data_types"] = {"grad_accum_dtype": "fp32"}
    return config


def sum_in_fp32(engine: Any, trainer: Trainer) -> None:
    """Let a new engine of a bf16 run add its micro-batches' gradients in fp32, where configuring does not.

    Asked for fp32 sums, DeepSpeed 0.19.8 refuses ZeRO-0 in bf16, and gives ZeRO-1 another optimizer with a
    layout of its own. The one it makes otherwise can do it all the same: it does so with offload.
    """
    if trainer.precision is not Precision.bf16:
        return
    optimizer = engine.optimizer
    if trainer.zero_stage == 0:
        for parameter in (p for group in optimizer.fp16_groups for p in group):
            parameter.grad_dtype = torch.float32
    if trainer.zero_stage == 1:
        optimizer.gradient_accumulation_dtype = torch.float32
        optimizer.use_separate_grad_accum = optimizer.use_grad_accum_attribute = True
