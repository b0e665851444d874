"""Memory of one rank by phase. docs/planning.md explains every line."""

from __future__ import annotations

from dataclasses import dataclass, field

from rlvr_cli.planning import activations
from rlvr_cli.planning.gpus import FILL, GIB
from rlvr_cli.planning.job import Job
from rlvr_cli.planning.shapes import Shape
from rlvr_cli.schema import Offload, Precision

PHASES = ("rollout", "scoring", "update", "optimizer", "sync", "checkpoint")
PREFETCH = 50_000_000
"""Weights that ZeRO-3 gathers at once (`prefetch_bucket_size`), joined from the ranks' pieces in a copy."""
SUB_GROUP = 1_000_000_000
"""Weights of a rank that ZeRO-3 updates at once (`sub_group_size`)."""
BUCKET = 500_000_000
"""Numbers in the buffer in which DeepSpeed reduces gradients (`reduce_bucket_size`)."""
CONTEXT = 1.5 * GIB
"""CUDA context, NCCL, cuBLAS workspaces: outside torch's allocator."""
ASLEEP = 1.0 * GIB
"""What a sleeping vLLM keeps: CUDA graphs and workspaces."""
HEAP_BLOCK = 32 * 2**20
"""Smaller blocks, once freed, stay with the process: glibc serves them from its heap (M_MMAP_THRESHOLD)."""
HEAP_HOLES = 1.2
"""A heap of activations over its blocks in use: temporaries leave holes (1.19 and 1.21 with 31M weights)."""
BASE = {"rl": 0.39 * GIB, "vllm": 0.63 * GIB, "sft": 0.40 * GIB}
"""Resident memory of a CPU rank besides its model: torch, transformers, DeepSpeed and (vllm) the engine.
Peaks of runs with a model of 0.06 million parameters, less what the plan counts for that model:
`benchmarks/plan.py --baseline`."""


@dataclass(frozen=True)
class Item:
    """One line of the table."""

    name: str
    phases: dict[str, float]
    """Phase -> bytes; a phase that is not there needs none."""
    host: bool = False
    """In the host's memory, although the rank computes on a GPU."""


@dataclass(frozen=True)
class Memory:
    """All lines, and what follows from them."""

    items: list[Item]
    limit: float
    """Bytes a rank may use of its device."""
    host_limit: float | None
    """Bytes all ranks together may use of the host; None: unknown machine."""
    ranks: int
    cache_tokens: float | None = None
    """Tokens that fit into the engine's KV cache."""
    problems: list[str] = field(default_factory=list)
    """What cannot work at all, apart from the peak."""

    def total(self, phase: str, *, host: bool = False) -> float:
        return sum(item.phases.get(phase, 0.0) for item in self.items if item.host == host)

    @property
    def peak_phase(self) -> str:
        return max(PHASES, key=self.total)

    @property
    def peak(self) -> float:
        return self.total(self.peak_phase)

    @property
    def host_peak(self) -> float:
        return max(self.total(phase, host=True) for phase in PHASES)

    @property
    def fits(self) -> bool:
        host = self.host_limit is None or self.host_peak * self.ranks <= self.host_limit
        return self.peak <= self.limit and host and not self.problems


def memory_of(job: Job, correction: float = 0.0) -> Memory:
    """Plan one rank's memory; `correction` is what a measured run had more than this (bytes)."""
    gpu = job.device.gpu
    base = CONTEXT if gpu else BASE["sft" if job.sft else "vllm" if job.vllm else "rl"]
    items = [always("CUDA context, NCCL" if gpu else "libraries", base)]
    items += model(job, job.policy, "")
    items += gradients(job, max((job.policy, job.critic or job.policy), key=lambda shape: shape.trained))
    if job.holds_reference:
        shards = job.ranks if job.recipe.trainer.zero_stage == 3 else 1
        items.append(always("reference", job.plain.parameters * job.width / shards))
    if job.critic is not None:
        items += model(job, job.critic, "critic: ")
    items += passes(job)
    cache = None
    problems: list[str] = []
    if not job.sft:
        cache, found, problems = engine(job)
        items += found
    items += copies(job)
    if correction:
        items.append(always("measured besides", correction))
    limit = FILL * job.device.memory / (1 if gpu else job.ranks)
    items = [item for item in items if any(item.phases.values())]
    if not gpu:
        items = [Item(item.name, item.phases) for item in items]  # one memory
    return Memory(items, limit, None, job.ranks, cache, problems)


def always(name: str, size: float, host: bool = False) -> Item:
    return Item(name, dict.fromkeys(PHASES, size), host)


def model(job: Job, shape: Shape, prefix: str) -> list[Item]:
    """Weights and optimizer of a module under DeepSpeed."""
    trainer, width = job.recipe.trainer, job.width
    stage, offload = trainer.zero_stage, trainer.offload
    trained, shards = shape.trained, job.ranks if stage >= 1 else 1
    weights = shape.parameters * width / (job.ranks if stage == 3 else 1)
    master = stage >= 1 or trainer.precision is Precision.bf16  # ZeRO copies also fp32 weights
    moved = offload is not Offload.none
    found = [
        always(f"{prefix}weights", weights, host=offload is Offload.all),
        always(f"{prefix}master weights", 4 * trained / shards if master else 0, host=moved),
        always(f"{prefix}Adam moments", 8 * trained / shards, host=moved),
    ]
    if moved:
        found.append(always(f"{prefix}gradients on the host", (4 + width) * trained / shards, host=True))
    if stage == 3:  # layers are gathered when they are needed, up to max_live_parameters
        live = min(shape.parameters, 1e9) + min(shape.parameters, PREFETCH) if job.ranks > 1 else 0
        found.append(
            Item(f"{prefix}gathered weights", dict.fromkeys(("scoring", "update", "sync"), live * width))
        )
    return found


def gradients(job: Job, shape: Shape) -> list[Item]:
    """Of the larger of policy and critic: they are updated one after the other."""
    trainer, width, trained = job.recipe.trainer, job.width, shape.trained
    stage, precise = trainer.zero_stage, trainer.precision is Precision.fp32
    held = PHASES if stage == 3 else ("update", "optimizer")  # 3 allocates them once
    whole = trained * width / (job.ranks if stage >= 2 else 1)
    updates = 1 if job.sft else job.rl.batch.updates_per_step
    summed = stage == 2 and job.micro_tokens < job.sequences * job.longest / updates
    own = trained / (job.ranks if stage >= 1 else 1)
    at_once = min(own, SUB_GROUP) if stage == 3 else own
    flat = at_once * (4 if precise or stage == 0 else 4 + width)  # flattened first, then converted
    if (precise and stage == 0) or trainer.offload is not Offload.none:
        flat = 0
    return [
        # Those of a micro-batch are added to the sum of the ones before.
        Item("gradients", dict.fromkeys(held, whole) | {"update": whole * (2 if summed else 1)}),
        Item("gradient buckets", buckets(job, min(BUCKET, trained) * width)),
        Item("fp32 gradients", {"optimizer": flat}),
    ]


def buckets(job: Job, filled: float) -> dict[str, float]:
    """What DeepSpeed reduces gradients in; `filled`: bytes of a full bucket."""
    stage, precise = job.recipe.trainer.zero_stage, job.recipe.trainer.precision is Precision.fp32
    if stage == 0:  # one buffer after the last backward pass; in bf16 the gradients are flat already
        return {"optimizer": filled if precise else 0}
    bucket = BUCKET * job.width if job.device.gpu else filled  # a CPU backs only the pages that are used
    copy = filled if job.ranks > 1 or stage == 3 else 0  # its pieces of several ranks are joined in a copy
    kept = dict.fromkeys(PHASES, bucket) if stage == 3 else {}
    return kept | {"update": bucket + copy}


def passes(job: Job) -> list[Item]:
    """What forward and backward hold of one micro-batch; the critic's comes after the policy's."""
    tokens, width, settings = job.micro_tokens, job.width, job.recipe.model
    checkpointing = settings.gradient_checkpointing
    saved = activations.kept(
        job.policy,
        width,
        tokens,
        attention=settings.attention,
        row=job.longest,
        packed=job.packed,
        checkpointing=checkpointing,
    )
    brief = activations.passing(job.policy, width, tokens)
    scored = not job.sft or job.recipe.eval.source is not None  # type: ignore[union-attr]
    active = {"scoring": brief if scored else 0, "update": saved + brief}
    if not job.device.gpu and tokens * job.policy.inner * width < HEAP_BLOCK:
        active = dict.fromkeys(PHASES, HEAP_HOLES * saved) | {"update": HEAP_HOLES * (saved + brief)}
    return [
        Item("activations", active),
        Item(
            "logits",
            {
                "update": activations.logits(job.policy, width, tokens, gradient=True),
                "scoring": activations.logits(job.policy, width, tokens, gradient=False) if scored else 0,
            },
        ),
    ]


def engine(job: Job) -> tuple[float, list[Item], list[str]]:
    """Tokens of KV cache, the lines of the rollout engine, and what keeps it from working."""
    width, shape, rollout = job.engine_width, job.plain, job.rl.rollout
    weights, token = shape.parameters * width, shape.kv_numbers * width
    if not job.vllm:
        rows, prompt = job.decoded, job.rl.rollout.max_prompt_tokens
        cache = rows * job.longest * token * (1 + 1 / shape.layers)  # a layer's cache is copied to grow
        heads = rows * shape.vocabulary * (prompt * width + 12)
        found = [
            always("engine: weights", weights),
            Item("engine: KV cache", {"rollout": cache}),
            Item("engine: logits", {"rollout": heads}),
        ]
        return rows * job.longest, found, []
    if not job.device.gpu:
        size = rollout.kv_cache_gb * GIB
        return size / token, [always("engine: weights", weights), always("engine: KV cache", size)], []
    size = rollout.gpu_memory_utilization * job.device.memory
    cache = (size - weights - CONTEXT - activations.passing(shape, width, 8192)) / token
    awake = {"rollout": size, "sync": size}
    rest = dict.fromkeys(PHASES, ASLEEP if rollout.sleep else size)
    problems = []
    if cache < job.longest:
        problems.append(
            f"vLLM: rollout.gpu_memory_utilization={rollout.gpu_memory_utilization:g} leaves room for "
            f"{max(cache, 0):,.0f} tokens, and one sequence may have {job.longest:,}"
        )
    return max(cache, 0.0), [Item("vLLM: weights, KV cache", rest | awake)], problems


def copies(job: Job) -> list[Item]:
    """Buffers of the weight sync, and a checkpoint's copy in CPU memory."""
    shape, width, trainer = job.policy, job.width, job.recipe.trainer
    found = []
    if not job.sft:
        layer = (job.plain.parameters - shape.largest) / shape.layers
        made = shape.largest * width if trainer.zero_stage == 3 or job.recipe.model.lora.rank else 0
        moved = made + (max(layer, shape.largest) * job.engine_width if job.vllm else 0)
        found.append(Item("sync buffer", {"sync": moved}))
    stage = trainer.zero_stage
    master = 4 if stage >= 1 or trainer.precision is Precision.bf16 else 0
    state = shape.parameters * width / (job.ranks if stage == 3 else 1)
    state += (master + 8) * shape.trained / (job.ranks if stage >= 1 else 1)
    settings = job.recipe.checkpoint
    during = PHASES if settings.every is not None and settings.background else ()
    export = shape.parameters * width
    found.append(Item("checkpoint's copy", {"checkpoint": export} | dict.fromkeys(during, state), host=True))
    return found
