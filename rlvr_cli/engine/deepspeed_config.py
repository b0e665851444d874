"""Recipe -> DeepSpeed configuration."""

from __future__ import annotations

from typing import Any

from rlvr_cli.schema import Offload, Precision, Trainer


def deepspeed_config(trainer: Trainer, *, max_grad_norm: float) -> dict[str, Any]:
    """The configuration of `deepspeed.initialize` for ZeRO 0-3.

    Batch sizes are placeholders: micro-batches vary, and the engine is told at each one whether it is
    the last of its update (engine/optimised.py).
    """
    zero: dict[str, Any] = {"stage": trainer.zero_stage}
    if trainer.offload is not Offload.none:
        zero["offload_optimizer"] = {"device": "cpu"}
    if trainer.offload is Offload.all:
        zero["offload_param"] = {"device": "cpu"}
    if trainer.zero_stage == 3:
        # Weights smaller than this stay whole on every rank; sharding them costs more than it saves.
        zero["stage3_param_persistence_threshold"] = 10_000
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
        config["bf16"] = {"enabled": True}
    return config
