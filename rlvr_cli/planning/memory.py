"""Memory of one rank by phase. docs/planning.md explains every line."""

from __future__ import annotations

from rlvr_cli.planning.engine_memory import engine, sync_buffer
from rlvr_cli.planning.gpus import FILL, GIB
from rlvr_cli.planning.items import PHASES, Item, Memory, always, during
from rlvr_cli.planning.job import Job
from rlvr_cli.planning.server_memory import servers
from rlvr_cli.planning.traffic import step_of, traffic
from rlvr_cli.planning.trainer_memory import asleep, gradients, model, passes

CONTEXT = 1.5 * GIB
"""CUDA context and cuBLAS workspaces: outside torch's allocator."""
NCCL = 0.75 * GIB
"""Buffers of several ranks' process groups, DeepSpeed's and vLLM's."""
BASE = {"rl": 0.39 * GIB, "vllm": 0.63 * GIB, "sft": 0.40 * GIB, "server": 1.0 * GIB}
"""Resident memory of a CPU rank besides its model: torch, transformers, DeepSpeed and (vllm) the engine.
Peaks of runs with a model of 0.06 million parameters, less what the plan counts for that model:
`benchmarks/plan.py --baseline`. Of a rollout server: its two processes, less model and cache (shares of
memory in a run)."""


def memory_of(job: Job, correction: float = 0.0) -> Memory:
    """Plan one rank's memory; `correction` is what a measured run had more than this (bytes)."""
    items = [*libraries(job), *trained(job), *passes(job), *judges(job)]
    cache = None
    problems: list[str] = []
    if not job.sft:
        if job.elsewhere:
            cache, found, problems = servers(job, BASE["server"])
        else:
            cache, found, problems = engine(job)
        items += [*found, sync_buffer(job)]
        known = during(("scoring", "update"), traffic(step_of(job)).known)
        items.append(Item("numbers of all tokens", known, host=True))
    items.append(checkpoint(job))
    if correction:
        items.append(always("measured besides", correction))
    gpu = job.device.gpu
    limit = FILL * job.device.memory / (1 if gpu else job.ranks)
    items = [item for item in items if any(item.phases.values())]
    if not gpu:
        items = [Item(item.name, item.phases) for item in items]  # one memory
    return Memory(items, limit, None, job.ranks, cache, problems)


def trained(job: Job) -> list[Item]:
    """What DeepSpeed holds."""
    items = model(job, job.policy, "")
    items += gradients(job, max((job.policy, job.critic or job.policy), key=lambda shape: shape.trained))
    if job.holds_reference:
        shards = job.ranks if job.recipe.trainer.zero_stage == 3 else 1
        items.append(always("reference", job.plain.parameters * job.width / shards))
    if job.teacher is not None:
        shards = job.ranks if job.recipe.trainer.zero_stage == 3 else 1
        items.append(always("teacher", job.teacher.parameters * job.width / shards))
    if job.critic is not None:
        items += model(job, job.critic, "critic: ")
    return asleep(items) if job.recipe.trainer.sleep else items


def libraries(job: Job) -> list[Item]:
    if not job.device.gpu:
        engine_inside = job.vllm and not job.elsewhere
        return [always("libraries", BASE["sft" if job.sft else "vllm" if engine_inside else "rl"])]
    size = CONTEXT + (NCCL if job.ranks > 1 else 0)
    return [always("CUDA context, NCCL", size, outside=True)]


def judges(job: Job) -> list[Item]:
    """Reward models, each in a process of its own on the rank's GPU: weights in bf16 and a CUDA context.

    Weights that are offloaded are on the GPU while others are sampled, and in the host's memory always.
    """
    if job.sft or not job.device.gpu:
        return []
    items = []
    for key, shape in job.judges.items():
        name, size = f"reward model {key}", 2 * shape.parameters
        if job.rl.verifiers[key].offload:
            there = during(PHASES, CONTEXT) | {"rollout": CONTEXT + size}
            items += [Item(name, there, outside=True), always(f"{name}, offloaded", size, host=True)]
        else:
            items.append(always(name, CONTEXT + size, outside=True))
    return items


def checkpoint(job: Job) -> Item:
    """The copy in CPU memory of what a checkpoint writes, and the whole weights of an export."""
    shape, stage, settings = job.policy, job.recipe.trainer.zero_stage, job.recipe.checkpoint
    state = shape.parameters * job.width / (job.ranks if stage == 3 else 1)
    state += ((4 if job.master else 0) + 8) * shape.trained / (job.ranks if stage >= 1 else 1)
    background = PHASES if settings.every is not None and settings.background else ()
    export = {"checkpoint": shape.parameters * job.width}
    return Item("checkpoint's copy", export | during(background, state), host=True)
