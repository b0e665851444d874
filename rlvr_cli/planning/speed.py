"""Seconds of a step by phase, from bytes and operations. docs/planning.md has the formulas."""

from __future__ import annotations

from rlvr_cli.planning.engine_memory import weights
from rlvr_cli.planning.gpus import NETWORK
from rlvr_cli.planning.job import Job
from rlvr_cli.planning.memory import memory_of
from rlvr_cli.planning.server_memory import as_servers
from rlvr_cli.planning.shapes import Shape
from rlvr_cli.planning.traffic import broadcasts, keeps_sent, sync_of
from rlvr_cli.planning.trainer_memory import ASLEEP, SUM
from rlvr_cli.schema import Offload, Precision, RolloutLora
from rlvr_cli.schema.derived import needs_old_logprobs, updates_in_step

MFU = 0.40
"""Share of the device's dense peak that forward and backward passes reach, recomputed ones counted."""
MFU_SHARDED = 0.33
"""The same under ZeRO-3 on several ranks, where a layer waits for its weights."""
BANDWIDTH = 0.70
"""Share of the memory bandwidth that decoding and Adam reach."""
ENGINE_STEP_S = 0.004
"""Scheduling and sampling of one decoding step, which no bandwidth hides."""
SUM_S = 15e-6
"""A sum over the ranks of one engine, however small: between GPUs of one machine."""
HOST_LINK = 20e9
"""Bytes a second between GPU and host, for offload."""
DISK = 1e9
"""Bytes a second to disk."""
DECODING = f"decoding {BANDWIDTH:.0%} of the memory bandwidth, and {ENGINE_STEP_S * 1000:.0f} ms a step"


def times_of(job: Job) -> dict[str, float] | None:
    """Phase -> seconds of one step of all ranks; None where the device's speed is not known."""
    if job.device.flops is None or job.device.fp32_flops is None or job.device.bandwidth is None:
        return None
    found = {}
    if not job.sft:
        found["rollout"] = rollout(job, job.device.bandwidth)
        if needs_old_logprobs(job.rl):
            found["old_logprobs"] = forward(job, job.policy)
        if job.needs_reference:
            found["ref_logprobs"] = forward(job, job.plain)
        if job.critic is not None:
            found["values"] = forward(job, job.critic)
            found["critic"] = update(job, job.critic, job.device.bandwidth)
    if job.preference is not None:
        scored = 2 if getattr(job.preference, "measures_z", False) else 1  # KTO's z: as many answers again
        found["old_logprobs"] = scored * forward(job, job.policy)
        if job.needs_reference:
            found["ref_logprobs"] = scored * forward(job, job.plain)
    found["update"] = update(job, job.policy, job.device.bandwidth)
    if not job.sft:
        found["sync"] = sync(job, job.device.bandwidth)
    if job.recipe.trainer.sleep:
        kept = next((x.phases["rollout"] for x in memory_of(job).items if x.name == ASLEEP), 0.0)
        found["sleep"] = 2 * kept / HOST_LINK
    every = job.recipe.checkpoint.every
    if every:
        copied = (job.width + 12) * job.policy.parameters / job.ranks
        found["checkpoint"] = copied / (HOST_LINK if job.recipe.checkpoint.background else DISK) / every
    return found


def sync(job: Job, bandwidth: float) -> float:
    """All weights, or the adapters alone; then the start model, where it sleeps, goes out and comes back."""
    alone = job.rl.rollout.lora is RolloutLora.adapter
    sent = job.policy.trained * job.width if alone else job.plain.parameters * job.engine_width
    gathered = sent / job.link if sharded(job) else 0.0
    crossing = 2 * weights(job) if alone and job.rl.rollout.sleep else 0.0
    if broadcasts(job):  # to one server after the other, and out of the device where a copy is kept
        gathered += sync_of(job).broadcast / (NETWORK if job.rl.rollout.servers.urls else job.device.link)
        crossing = sent if keeps_sent(job) else 0.0
    elif job.elsewhere:  # out of the device, and into that of each server at once
        crossing = 2 * sent
    return 3 * sent / bandwidth + gathered + crossing / HOST_LINK + 0.2


def sharded(job: Job) -> bool:
    return job.recipe.trainer.zero_stage == 3 and job.ranks > 1


def mfu(job: Job) -> float:
    return MFU_SHARDED if sharded(job) else MFU


def operations(job: Job, fp32: bool) -> float:
    """A second, at the device's dense peak."""
    found = job.device.fp32_flops if fp32 else job.device.flops
    assert found is not None
    return found


def peak(job: Job) -> float:
    """Operations a second that the trainer's passes through the model reach."""
    return mfu(job) * operations(job, job.recipe.trainer.precision is Precision.fp32)


def attention(job: Job, shape: Shape) -> float:
    """Operations of scores and sums in a rank's forward passes: half of a sequence is before a token."""
    length = job.prompt + job.response
    return 4 * shape.layers * shape.queries * job.sequences * length * length / 2


def head(job: Job, shape: Shape) -> float:
    """Seconds that the output layer's forward pass, of trained tokens alone, takes longer in fp32."""
    if not job.recipe.model.fp32_head or job.recipe.trainer.precision is Precision.fp32:
        return 0.0
    done = 2 * shape.vocabulary * shape.hidden * job.sequences * (job.prompt if job.sft else job.response)
    return done / (MFU * operations(job, True)) - done / peak(job)


def forward(job: Job, shape: Shape) -> float:
    gathered = shape.parameters * job.width / job.link if sharded(job) else 0.0
    done = job.row_tokens * 2 * shape.active + attention(job, shape) + seen(job, shape)
    return done / peak(job) + head(job, shape) + gathered + exchanged(job, shape)


def seen(job: Job, shape: Shape) -> float:
    """Operations in which the tower looks at a rank's images: of the sequences that share a row once."""
    if shape.tower is None:
        return 0.0
    tokens = min(job.image_tokens, job.prompt)
    return shape.tower.operations(job.sequences / job.members * tokens)


def exchanged(job: Job, shape: Shape) -> float:
    """Seconds in which ranks that share rows trade queries, keys, values and outputs, in a forward pass."""
    others = 1 - 1 / job.together
    numbers = 2 * shape.layers * (shape.queries + shape.shared_keys(job.together))
    return others * job.row_tokens * numbers * job.width / job.device.link


def update(job: Job, shape: Shape, bandwidth: float) -> float:
    """Forward, backward (twice a forward; of frozen weights once) and AdamW, for all updates of a step."""
    trainer, trained, tokens = job.recipe.trainer, shape.trained, job.row_tokens
    linear, scores = tokens * 2 * shape.active, attention(job, shape)
    looked = seen(job, shape)
    backward = linear * (1 + trained / shape.parameters) + 2 * scores
    backward += 2 * looked if shape.tower is not None and shape.tower.trained else 0.0
    passes = (linear + scores + looked) * (2 if job.recipe.model.gradient_checkpointing else 1) + backward
    count = 1 if job.sft else updates_in_step(job.rl)
    again = 1 if job.sft else count / job.rl.batch.updates_per_step  # passes over the same samples
    shards = job.ranks if trainer.zero_stage >= 1 else 1
    adam = 28 * trained / shards / (bandwidth * BANDWIDTH)  # reads and writes weight, moments, gradient
    if trainer.offload is not Offload.none:
        adam = trained / shards * (28 / 50e9 + 8 / HOST_LINK)  # on the host, at 50 GB/s
    reduced = sent(job, shape, count) / job.link if job.ranks > 1 else 0.0
    reduced += again * (3 if job.recipe.model.gradient_checkpointing else 2) * exchanged(job, shape)
    # The output layer is recomputed chunk by chunk, and its backward pass is two products more.
    return again * (passes / peak(job) + 4 * head(job, shape)) + count * adam + reduced


def sent(job: Job, shape: Shape, updates: int) -> float:
    """Bytes that a rank sends in a step: gradients in fp32, and weights where ranks have parts of them."""
    stage, gradients = job.recipe.trainer.zero_stage, SUM * shape.trained
    micro = max(float(updates), job.row_tokens / job.piece_tokens)
    if stage == 3:
        return micro * (gradients + 2 * job.width * shape.parameters)
    if stage == 2:
        return micro * gradients + updates * job.width * shape.trained
    return updates * (2 * gradients + (job.width * shape.trained if stage == 1 else 0))


def rollout(job: Job, bandwidth: float) -> float:
    """Prefill once per prompt, then decoding: what the engine holds at once reads all weights per token.

    Ranks with one engine have all their sequences in it, and an n-th of its work each.
    """
    if job.elsewhere:
        job = as_servers(job)
    batch, shape, width = job.rl.batch, job.plain, job.engine_width
    rounds = 1 / job.kept if job.rl.algorithm.filter.drops else 1.0
    sequences = job.sequences * job.split * rounds
    speed = MFU * operations(job, job.engine_width == 4) * job.split
    prefill = sequences / batch.group_size * job.prompt * 2 * shape.active / speed
    if shape.tower is not None:
        tokens = min(job.image_tokens, job.prompt)
        prefill += shape.tower.operations(sequences / batch.group_size * tokens) / speed
    length = job.prompt + job.response
    fitting = (memory_of(job).cache_tokens or 0) / max(length, 1)
    at_once = max(1.0, min(job.decoded, fitting))
    cache = (job.prompt + job.response / 2) * job.cache_token

    def token(rows: float) -> float:
        """Seconds of one decoding step of `rows` sequences."""
        read = (shape.active * width / job.split + rows * cache) / (bandwidth * BANDWIDTH)
        return max(read, rows * 2 * shape.active / speed) + ENGINE_STEP_S + summed(job, rows)

    # The longest response decodes on, alone; sampled ahead, it goes on in the next step.
    tail = 0.0 if job.rl.rollout.max_staleness else max(0.0, job.rl.rollout.max_tokens - job.response)
    return prefill + sequences * job.response / at_once * token(at_once) + tail * token(1)


def summed(job: Job, rows: float) -> float:
    """Seconds of a decoding step in which ranks with one engine add up what each has of a layer's output."""
    if job.split == 1:
        return 0.0
    sent = 2 * (1 - 1 / job.split) * rows * job.plain.hidden * job.engine_width
    return 2 * job.plain.layers * (sent / job.device.link + SUM_S)
