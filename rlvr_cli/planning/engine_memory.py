"""Memory of the rollout engine, and of what moves weights into it."""

from __future__ import annotations

from rlvr_cli.planning import activations
from rlvr_cli.planning.gpus import GIB
from rlvr_cli.planning.items import PHASES, Item, always, during
from rlvr_cli.planning.job import Job

GRAPHS = 1.0 * GIB
"""CUDA graphs and workspaces of vLLM, within its share; it keeps them asleep."""
SAMPLER_COPIES = 3
"""fp32 tensors of all sequences' logits while vLLM samples: logits, scaled, log-probabilities."""


def engine(job: Job) -> tuple[float, list[Item], list[str]]:
    """Tokens of KV cache, the lines of the rollout engine, and what keeps it from working."""
    shape, rollout = job.plain, job.rl.rollout
    token = shape.kv_numbers * job.engine_width
    if job.vllm and job.device.gpu:
        return on_gpu(job, token)
    items = [always("engine: weights", weights(job))]
    precise = job.recipe.model.fp32_head
    if precise and job.engine_width < 4:  # the output layer is converted in every step
        items.append(Item("engine: fp32 head", {"rollout": 4 * shape.vocabulary * shape.hidden}))
    if job.vllm:
        size = rollout.kv_cache_gb * GIB
        return size / token, [*items, always("engine: KV cache", size)], []
    rows, prompt = job.decoded, rollout.max_prompt_tokens
    cache = rows * job.longest * token * (1 + 1 / shape.layers)  # a layer's cache is copied to grow
    heads = rows * shape.vocabulary * (prompt * (4 if precise else job.engine_width) + 12)
    items += [Item("engine: KV cache", {"rollout": cache}), Item("engine: logits", {"rollout": heads})]
    return rows * job.longest, items, []


def on_gpu(job: Job, token: int) -> tuple[float, list[Item], list[str]]:
    """vLLM's share of the GPU. A weight sync wakes the weights, and the cache after them."""
    rollout, own = job.rl.rollout, weights(job)
    size = rollout.gpu_memory_utilization * job.device.memory
    sampler = SAMPLER_COPIES * 4 * job.engine_sequences * job.plain.vocabulary
    free = max(activations.passing(job.plain, job.engine_width, job.device.engine_tokens), sampler)
    cache = (size - own - GRAPHS - free) / token
    there = PHASES if not rollout.sleep else ("rollout", "sync")
    cached = PHASES if not rollout.sleep else ("rollout",)
    items = [
        Item("vLLM: graphs", during(PHASES, GRAPHS), outside=True),
        Item("vLLM: weights", during(there, own)),
        Item("vLLM: KV cache, a pass", during(cached, max(size - own - GRAPHS, 0))),
    ]
    problems = []
    if cache < job.longest:
        problems.append(
            f"vLLM: rollout.gpu_memory_utilization={rollout.gpu_memory_utilization:g} leaves room for "
            f"{max(cache, 0):,.0f} tokens, and one sequence may have {job.longest:,}"
        )
    return max(cache, 0.0), items, problems


def weights(job: Job) -> float:
    return job.plain.parameters * job.engine_width


def sync_buffer(job: Job) -> Item:
    """A whole tensor of the trainer's, and the layer that vLLM puts together from such."""
    shape, trainer = job.policy, job.recipe.trainer
    layer = (job.plain.parameters - shape.largest) / shape.layers
    made = shape.largest * job.width if trainer.zero_stage == 3 or job.recipe.model.lora.rank else 0
    moved = made + (max(layer, shape.largest) * job.engine_width if job.vllm else 0)
    return Item("sync buffer", {"sync": moved})
