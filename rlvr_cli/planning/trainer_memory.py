"""Memory of what DeepSpeed trains: weights, optimizer, gradients, and what passes through."""

from __future__ import annotations

from rlvr_cli.planning import activations
from rlvr_cli.planning.items import PHASES, Item, always, during
from rlvr_cli.planning.job import Job
from rlvr_cli.planning.shapes import Shape
from rlvr_cli.schema import Offload, Precision

PREFETCH = 50_000_000
"""Weights that ZeRO-3 gathers at once (`prefetch_bucket_size`), joined from the ranks' pieces in a copy."""
SUB_GROUP = 1_000_000_000
"""Weights of a rank that ZeRO-3 updates at once (`sub_group_size`)."""
BUCKET = 500_000_000
"""Numbers in the buffer in which DeepSpeed reduces gradients (`reduce_bucket_size`)."""
ASLEEP = "trainer, asleep"
GATHERED = ("scoring", "update", "sync")
SUM = 4
"""Bytes of a number in a gradient that is reduced or added up: fp32, whatever the weights are."""
HEAP_BLOCK = 32 * 2**20
"""Smaller blocks, once freed, stay with the process: glibc serves them from its heap (M_MMAP_THRESHOLD)."""
HEAP_HOLES = 1.2
"""A heap of activations over its blocks in use: temporaries leave holes (1.19 and 1.21 with 31M weights)."""


def model(job: Job, shape: Shape, prefix: str) -> list[Item]:
    """Weights and optimizer of a module under DeepSpeed."""
    trainer, width = job.recipe.trainer, job.width
    stage, offload = trainer.zero_stage, trainer.offload
    own = shape.trained / (job.ranks if stage >= 1 else 1)
    weights = shape.parameters * width / (job.ranks if stage == 3 else 1)
    moved = offload is not Offload.none
    found = [
        always(f"{prefix}weights", weights, host=offload is Offload.all),
        always(f"{prefix}master weights", 4 * own if job.master else 0, host=moved),
        always(f"{prefix}Adam moments", 8 * own, host=moved),
    ]
    if shape.masked:  # where an entry trains, for this rank's piece, and of all a bit in CPU memory
        mask = shape.masked / (job.ranks if stage >= 1 else 1)
        found.append(always(f"{prefix}weight mask", mask, host=moved))
        found.append(always(f"{prefix}weight mask, packed", shape.masked / 8, host=True))
    if moved:  # the sum over micro-batches, and what the optimizer is given
        found.append(always(f"{prefix}gradients", 2 * SUM * own, host=True))
    if stage == 3:  # layers are gathered when they are needed, up to max_live_parameters
        live = min(shape.parameters, 1e9) + min(shape.parameters, PREFETCH) if job.ranks > 1 else 0
        # A rollout begins with the probe that ends a sync: a pass of the trainer, unless it sleeps by then.
        probed = () if job.sft or trainer.sleep else ("rollout",)
        found.append(Item(f"{prefix}gathered weights", during((*GATHERED, *probed), live * width)))
    return found


def gradients(job: Job, shape: Shape) -> list[Item]:
    """Of the larger of policy and critic: they are updated one after the other."""
    trainer, trained, stage = job.recipe.trainer, shape.trained, job.recipe.trainer.zero_stage
    precise, offloaded = trainer.precision is Precision.fp32, trainer.offload is not Offload.none
    held = PHASES if stage == 3 else ("update", "optimizer")  # 3 allocates them once
    whole = trained * SUM / (job.ranks if stage >= 2 else 1)
    if offloaded and stage >= 2:
        whole = 0
    updates = 1 if job.sft else job.rl.batch.updates_per_step
    # In fp32 ZeRO-2 adds those of a micro-batch to the sum of the ones before; in bf16 as they are reduced.
    summed = stage == 2 and precise and job.piece_tokens < job.sequences * job.longest / updates
    own = trained / (job.ranks if stage >= 1 else 1)
    flat = SUM * (min(own, SUB_GROUP) if stage == 3 else own)
    if offloaded or stage == 0 or (stage == 2 and not precise):  # there they are flat already
        flat = 0
    return [
        Item("gradients", during(held, whole) | {"update": whole * (2 if summed else 1)}),
        Item("gradient buckets", buckets(job, min(BUCKET, trained) * SUM)),
        Item("flattened gradients", {"optimizer": flat}),
    ]


def buckets(job: Job, filled: float) -> dict[str, float]:
    """What DeepSpeed reduces gradients in; `filled`: bytes of a full bucket."""
    stage = job.recipe.trainer.zero_stage
    if stage == 0:  # one buffer after the last backward pass
        return {"optimizer": filled}
    bucket = BUCKET * SUM if job.device.gpu else filled  # a CPU backs only the pages that are used
    copy = filled if job.ranks > 1 or stage == 3 else 0  # its pieces of several ranks are joined in a copy
    kept = during(PHASES, bucket) if stage == 3 else {}
    return kept | {"update": bucket + copy}


def passes(job: Job) -> list[Item]:
    """What forward and backward hold of one micro-batch; the critic's comes after the policy's."""
    tokens, width, settings = job.piece_tokens, job.width, job.recipe.model
    saved = activations.kept(
        job.policy,
        width,
        tokens,
        attention=job.attention,
        row=job.longest,
        checkpointing=settings.gradient_checkpointing,
        together=job.together,
    )
    brief = activations.passing(job.policy, width, tokens)
    scored = not job.sft or job.preference is not None or job.recipe.eval.source is not None  # type: ignore[union-attr]
    active = {"scoring": brief if scored else 0, "update": saved + brief}
    if not job.device.gpu and tokens * job.policy.inner * width < HEAP_BLOCK:
        active = during(PHASES, HEAP_HOLES * saved) | {"update": HEAP_HOLES * (saved + brief)}
    return [Item("activations", active), *tower(job, scored), *output_layer(job, tokens, scored)]


def tower(job: Job, scored: bool) -> list[Item]:
    """Of the images of a micro-batch: their pixels, and what a trained tower keeps of them."""
    if (seeing := job.policy.tower) is None:
        return []
    brief = seeing.passing(job.micro_images, job.width)
    kept = seeing.kept(job.micro_images, job.width, checkpointing=job.recipe.model.gradient_checkpointing)
    return [Item("vision tower, images", {"scoring": brief if scored else 0, "update": kept + brief})]


def output_layer(job: Job, tokens: int, scored: bool) -> list[Item]:
    """A chunk of logits; of the layer the sum of its gradients, one chunk's own, and an fp32 copy."""
    shape, precise = job.policy, job.recipe.model.fp32_head
    memory = job.device.memory if job.device.gpu else None
    width = 4 if precise else job.width
    head = shape.vocabulary * shape.hidden
    copy = 4 * head if precise and job.width < 4 else 0
    trained = 2 * width * head if job.recipe.model.head_trains else 0
    scores = activations.logits(shape, width, tokens, memory)
    chunk = activations.logits(shape, width, tokens, memory, entropy=job.entropy_trains)
    return [
        Item("logits", {"update": chunk, "scoring": scores if scored else 0}),
        Item("output layer", {"update": copy + trained, "scoring": copy if scored else 0}),
    ]


def asleep(items: list[Item]) -> list[Item]:
    """`trainer.sleep`: these lines off the GPU while the engine samples, and in the host's memory instead.

    What DeepSpeed reduces gradients in holds nothing then, and is not kept.
    """
    found, kept = [], 0.0
    for item in items:
        if not item.host and "rollout" in item.phases:
            phases = dict(item.phases)
            size = phases.pop("rollout")
            kept += 0 if item.name.startswith("gradient") else size
            item = Item(item.name, phases)
        found.append(item)
    return [*found, Item(ASLEEP, {"rollout": kept}, host=True)]
