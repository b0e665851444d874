"""Updates, checkpoints, and what a run does when something breaks."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from rlvr_cli.schema.model import Precision


class Schedule(Enum):
    constant = "constant"
    linear = "linear"
    cosine = "cosine"


class Offload(Enum):
    none = "none"
    optimizer = "optimizer"
    all = "all"


class Kernels(Enum):
    plain = "plain"
    liger = "liger"


@dataclass(kw_only=True)
class Trainer:
    """Updates: how many, how large, and how they are spread over devices."""

    steps: int = 100
    """Steps of the run."""
    response_tokens: int | None = None
    """Sampled response tokens after which training ends before `steps`: runs of equal cost. null: never."""
    lr: float = 1e-6
    """Learning rate after the warm-up."""
    warmup_steps: int = 0
    """Steps over which the learning rate rises linearly from 0."""
    schedule: Schedule = Schedule.constant
    """What the learning rate does after the warm-up: stay, or fall to `min_lr` at the last step."""
    min_lr: float = 0.0
    """What a falling learning rate ends at."""
    weight_decay: float = 0.0
    """Of AdamW: share of each weight that an update takes away, times the learning rate."""
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    """Of AdamW: decay of the means of the gradient and of its square."""
    eps: float = 1e-8
    """Of AdamW: added to the root of the mean square."""
    zero_stage: int = 2
    """DeepSpeed ZeRO: 0 replicates, 1 shards optimizer state, 2 also gradients, 3 also weights."""
    offload: Offload = Offload.none
    """Keep the optimizer state (or with ZeRO-3 also the weights) in CPU memory."""
    precision: Precision = Precision.bf16
    """bf16 computes in bfloat16 and keeps fp32 master weights; fp32 is exact and for CPUs."""
    sleep: bool = False
    """Weights and optimizer in CPU memory while the engine samples: room for a larger
    `rollout.gpu_memory_utilization`, for two trips over the bus a step."""
    kernels: Kernels = Kernels.plain
    """liger: fused norms, rotations, feed-forward layers; on CUDA with `pip install rlvr[liger]`."""
    sequence_parallel: int = 1
    """Neighbouring ranks that share each micro-batch (DeepSpeed Ulysses): every one has a part of its tokens,
    and of activations and logits. Divides the ranks and the model's attention heads."""
    inspect_weights_every: int | None = None
    """Steps between looks at what training has changed in the weights (`weights/*`, docs/inspect.md), the
    last step included; null: none."""
    ranks: int | None = None
    """Processes on this machine; null: one per GPU, or 1 without GPUs. Ignored under torchrun or Slurm."""

    def __post_init__(self) -> None:
        if self.zero_stage not in (0, 1, 2, 3):
            raise ValueError(f"trainer.zero_stage is {self.zero_stage}; it must be 0, 1, 2 or 3")
        if self.steps < 1:
            raise ValueError(f"trainer.steps is {self.steps}; it must be at least 1")
        if (every := self.inspect_weights_every) is not None and every < 1:
            raise ValueError(f"trainer.inspect_weights_every is {every}; it must be at least 1, or null")
        if self.response_tokens is not None and self.response_tokens < 1:
            raise ValueError(f"trainer.response_tokens is {self.response_tokens}; it must be at least 1")
        if self.lr < 0:
            raise ValueError(f"trainer.lr is {self.lr}; it must not be negative")
        if len(self.betas) != 2:
            raise ValueError(f"trainer.betas has {len(self.betas)} entries; it needs 2")
        if self.offload is Offload.all and self.zero_stage != 3:
            raise ValueError("trainer.offload=all moves the weights too and needs trainer.zero_stage=3")
        if self.offload is Offload.optimizer and self.zero_stage == 0:
            raise ValueError("trainer.offload=optimizer needs trainer.zero_stage of 1 or more")
        if self.sleep and self.offload is Offload.all:
            raise ValueError(
                "trainer.sleep has no use with trainer.offload=all: all is in CPU memory; leave one out"
            )
        if self.ranks is not None and self.ranks < 1:
            raise ValueError(f"trainer.ranks is {self.ranks}; it must be at least 1")
        if self.sequence_parallel < 1:
            raise ValueError(f"trainer.sequence_parallel is {self.sequence_parallel}; it must be at least 1")
        if self.ranks is not None and (why := self.no_groups(self.ranks)):
            raise ValueError(why)

    def no_groups(self, ranks: int) -> str | None:
        """Why so many ranks cannot be divided into groups of `sequence_parallel`; None where they can."""
        size = self.sequence_parallel
        if ranks % size == 0:
            return None
        shown, other = (f"{ranks} ranks", f"a divisor of {ranks}") if ranks > 1 else ("1 rank", "1")
        return (
            f"trainer.sequence_parallel is {size}, and {shown} cannot be divided into groups of {size}; "
            f"set it to {other}, or start a multiple of {size} ranks"
        )


@dataclass(kw_only=True)
class Critic:
    """Value model of `algorithm.advantage=gae`. What is not here (ZeRO, precision, LoRA) is the policy's."""

    path: str | None = None
    """Start weights, as `model.path`, or a PPO run, whose critic is taken; null: those of the policy."""
    lr: float | None = None
    """null: 5 times `trainer.lr`."""
    warmup_steps: int = 0
    """Steps over which its learning rate rises linearly from 0; then it stays."""
    weight_decay: float = 0.0
    """Of its AdamW, as `trainer.weight_decay`."""
    max_grad_norm: float | None = 1.0
    """Largest norm of its gradient; null: no clipping."""
    pretrain_steps: int = 0
    """First steps that train the critic alone, before the policy moves."""

    def __post_init__(self) -> None:
        for name in ("lr", "warmup_steps", "weight_decay", "pretrain_steps"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ValueError(f"critic.{name} is {value}; it must not be negative")
        if self.max_grad_norm is not None and not self.max_grad_norm > 0:
            raise ValueError(f"critic.max_grad_norm is {self.max_grad_norm}; it must be positive or null")

    def rate(self, trainer: Trainer) -> float:
        """Its learning rate after the warm-up."""
        return 5 * trainer.lr if self.lr is None else self.lr


@dataclass(kw_only=True)
class Checkpoint:
    """When the state of a run is saved, and what is kept."""

    every: int | None = None
    """Steps between checkpoints; null: only when the run ends or is interrupted."""
    keep: int = 2
    """Checkpoints kept; older ones are deleted."""
    best: str | None = None
    """`<bench>/<metric>` whose best checkpoint is kept besides and exported to `best/`; null: none."""
    background: bool = True
    """Write from a copy in CPU memory while training goes on; false: training waits, without a copy."""
    must_save_by: float | None = None
    """Hours after the start of the command by which a run must have saved and stopped; null: the end of the
    Slurm job, where there is one."""

    def __post_init__(self) -> None:
        if self.every is not None and self.every < 1:
            raise ValueError(f"checkpoint.every is {self.every}; it must be at least 1")
        if self.keep < 1:
            raise ValueError(f"checkpoint.keep is {self.keep}; it must be at least 1")
        if self.must_save_by is not None and not self.must_save_by > 0:
            raise ValueError(f"checkpoint.must_save_by is {self.must_save_by}; it must be above 0 hours")


class NonFinite(Enum):
    stop = "stop"
    skip = "skip"
    rollback = "rollback"


@dataclass(kw_only=True)
class Faults:
    """What becomes of a run that fails."""

    nonfinite: NonFinite = NonFinite.stop
    """An update meets NaN or infinity, before anything has changed: end the run, leave the update out, or go
    back to the newest checkpoint and on with other data."""
    max_restarts: int = 3
    """Times a run that failed is started again from its newest checkpoint."""
    hang_s: float | None = 1800.0
    """Seconds without a sign of life after which a rank counts as hung, which is a failure; null: never."""

    def __post_init__(self) -> None:
        if self.max_restarts < 0:
            raise ValueError(f"faults.max_restarts is {self.max_restarts}; it must be at least 0")
        if self.hang_s is not None and self.hang_s <= 0:
            raise ValueError(f"faults.hang_s is {self.hang_s}; it must be above 0")
