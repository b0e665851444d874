"""Seconds of a step by phase, from bytes and operations. docs/planning.md has the formulas."""

from __future__ import annotations

from rlvr_cli.planning.job import Job
from rlvr_cli.planning.memory import memory_of
from rlvr_cli.planning.shapes import Shape
from rlvr_cli.schema import Offload, Precision
from rlvr_cli.schema.derived import needs_old_logprobs

MFU = 0.40
"""Share of the device's dense peak that forward and backward passes reach."""
BANDWIDTH = 0.70
"""Share of the memory bandwidth that decoding and Adam reach."""
ENGINE_STEP_S = 0.004
"""Scheduling and sampling of one decoding step, which no bandwidth hides."""
HOST_LINK = 20e9
"""Bytes a second between GPU and host, for offload."""
DISK = 1e9
"""Bytes a second to disk."""
TRAINING = f"training reaches {MFU:.0%} of the dense peak"
DECODING = f"decoding {BANDWIDTH:.0%} of the memory bandwidth, and {ENGINE_STEP_S * 1000:.0f} ms a step"


def times_of(job: Job) -> dict[str, float] | None:
    """Phase -> seconds of one step of all ranks; None where the device's speed is not known."""
    if job.device.flops is None or job.device.fp32_flops is None or job.device.bandwidth is None:
        return None
    tokens = job.sequences * (job.prompt + job.response)  # of one rank
    found = {}
    if not job.sft:
        found["rollout"] = rollout(job, job.device.bandwidth)
        if needs_old_logprobs(job.rl):
            found["old_logprobs"] = forward(job, job.policy, tokens)
        if job.needs_reference:
            found["ref_logprobs"] = forward(job, job.plain, tokens)
        if job.critic is not None:
            found["values"] = forward(job, job.critic, tokens)
            found["critic"] = update(job, job.critic, tokens, job.device.bandwidth)
    found["update"] = update(job, job.policy, tokens, job.device.bandwidth)
    if not job.sft:
        weights = job.plain.parameters * job.engine_width
        gathered = weights / job.device.link if job.recipe.trainer.zero_stage == 3 else 0.0
        found["sync"] = 3 * weights / job.device.bandwidth + gathered + 0.2
    every = job.recipe.checkpoint.every
    if every:
        copied = (job.width + 12) * job.policy.parameters / job.ranks
        found["checkpoint"] = copied / (HOST_LINK if job.recipe.checkpoint.background else DISK) / every
    return found


def peak(job: Job) -> float:
    """Operations a second that passes through the model reach."""
    fp32 = job.recipe.trainer.precision is Precision.fp32
    found = job.device.fp32_flops if fp32 else job.device.flops
    assert found is not None
    return MFU * found


def attention(job: Job, shape: Shape) -> float:
    """Operations of one token's scores and sums in a forward pass: half of the row is before it."""
    return 4 * shape.layers * shape.queries * (job.prompt + job.response) / 2


def forward(job: Job, shape: Shape, tokens: float) -> float:
    gathered = shape.parameters * job.width / job.device.link if job.recipe.trainer.zero_stage == 3 else 0.0
    return tokens * (2 * shape.active + attention(job, shape)) / peak(job) + gathered


def update(job: Job, shape: Shape, tokens: float, bandwidth: float) -> float:
    """Forward, backward (twice a forward; of frozen weights once) and AdamW, for all updates of a step."""
    trainer, trained = job.recipe.trainer, shape.trained
    once = 2 * shape.active + attention(job, shape)
    backward = once + 2 * shape.active * trained / shape.parameters + attention(job, shape)
    passes = once * (2 if job.recipe.model.gradient_checkpointing else 1) + backward
    count = 1 if job.sft else job.rl.batch.updates_per_step
    shards = job.ranks if trainer.zero_stage >= 1 else 1
    adam = 28 * trained / shards / (bandwidth * BANDWIDTH)  # reads and writes weight, moments, gradient
    if trainer.offload is not Offload.none:
        adam = trained / shards * (28 / 50e9 + 8 / HOST_LINK)  # on the host, at 50 GB/s
    sent = trained * job.width * (3 if trainer.zero_stage == 3 else 2) if job.ranks > 1 else 0
    micro = max(1.0, tokens / job.micro_tokens)
    reduced = sent / job.device.link * (micro if trainer.zero_stage >= 2 else count)
    return tokens * passes / peak(job) + count * adam + reduced


def rollout(job: Job, bandwidth: float) -> float:
    """Prefill once per prompt, then decoding: what the engine holds at once reads all weights per token."""
    batch, shape, width = job.rl.batch, job.plain, job.engine_width
    rounds = 1 / job.kept if job.rl.algorithm.filter.drops else 1.0
    sequences = job.sequences * rounds
    speed = peak(job)
    prefill = sequences / batch.group_size * job.prompt * 2 * shape.active / speed
    length = job.prompt + job.response
    fitting = (memory_of(job).cache_tokens or 0) / max(length, 1)
    at_once = max(1.0, min(job.decoded, fitting))
    cache = (job.prompt + job.response / 2) * shape.kv_numbers * width

    def token(rows: float) -> float:
        """Seconds of one decoding step of `rows` sequences."""
        read = (shape.active * width + rows * cache) / (bandwidth * BANDWIDTH)
        return max(read, rows * 2 * shape.active / speed) + ENGINE_STEP_S

    tail = max(0.0, job.rl.rollout.max_tokens - job.response)  # the longest response decodes on, alone
    return prefill + sequences * job.response / at_once * token(at_once) + tail * token(1)
