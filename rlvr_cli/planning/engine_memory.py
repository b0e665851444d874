"""Memory of the rollout engine, and of what moves weights into it."""

from __future__ import annotations

from collections.abc import Iterable

from rlvr_cli.engine.model import uneven
from rlvr_cli.planning import activations
from rlvr_cli.planning.gpus import GIB
from rlvr_cli.planning.items import PHASES, Item, always, during
from rlvr_cli.planning.job import Job
from rlvr_cli.planning.shapes import config_of
from rlvr_cli.schema import RolloutLora

GRAPHS = 1.0 * GIB
"""CUDA graphs and workspaces of vLLM, within its share; it keeps them asleep."""
CPU_TOKENS = 4096
"""Of a pass of vLLM's on a CPU."""
SAMPLER_COPIES = 3
"""fp32 tensors of all sequences' logits while vLLM samples: logits, scaled, log-probabilities."""


def engine(job: Job) -> tuple[float, list[Item], list[str]]:
    """Tokens of KV cache, the lines of a rank's rollout engine or its part of one, and what keeps it from
    working."""
    shape, rollout, token = job.plain, job.rl.rollout, job.cache_token
    if job.vllm and job.device.gpu:
        return on_gpu(job, token)
    items = [always("engine: weights", weights(job)), *adapters(job, PHASES)]
    precise = job.recipe.model.fp32_head
    if precise and job.engine_width < 4:  # the output layer is converted in every step
        items.append(Item("engine: fp32 head", {"rollout": 4 * shape.vocabulary * shape.hidden / job.split}))
    if job.vllm:
        size = rollout.kv_cache_gb * GIB
        return size / token, [*items, *encoder(job), always("engine: KV cache", size)], uncut(job)
    rows, prompt = job.decoded, rollout.max_prompt_tokens
    cache = rows * job.longest * token * (1 + 1 / shape.layers)  # a layer's cache is copied to grow
    heads = rows * shape.vocabulary * (prompt * (4 if precise else job.engine_width) + 12)
    items += [Item("engine: KV cache", {"rollout": cache}), Item("engine: logits", {"rollout": heads})]
    return rows * job.longest, items, []


def on_gpu(job: Job, token: float) -> tuple[float, list[Item], list[str]]:
    """vLLM's share of the GPU. A weight sync wakes the weights, and the cache after them."""
    rollout = job.rl.rollout
    own = weights(job) + adapter_bytes(job)
    size = rollout.gpu_memory_utilization * job.device.memory
    sampler = SAMPLER_COPIES * 4 * job.engine_sequences * job.plain.vocabulary
    free = max(activations.passing(job.plain, job.engine_width, job.device.engine_tokens), sampler)
    cache = (size - own - GRAPHS - free) / token
    there = PHASES if not rollout.sleep else ("rollout", "sync")
    cached = PHASES if not rollout.sleep else ("rollout",)
    items = [
        Item("vLLM: graphs", during(PHASES, GRAPHS), outside=True),
        Item("vLLM: weights", during(there, weights(job))),
        *adapters(job, there),
        Item("vLLM: KV cache, a pass", during(cached, max(size - own - GRAPHS, 0))),
        *encoder(job),
    ]
    problems = uncut(job)
    if cache < job.longest:
        problems.append(
            f"vLLM: rollout.gpu_memory_utilization={rollout.gpu_memory_utilization:g} leaves room for "
            f"{max(cache, 0):,.0f} tokens, and one sequence may have {job.longest:,}"
        )
    return max(cache, 0.0), items, problems


def encoder(job: Job) -> list[Item]:
    """What vLLM's tower has made of images: kept, beside its share of the GPU, for as many tokens as a pass
    may have, or as one image has where that is more. A frozen tower's are there in all phases, as no sync
    forgets them."""
    if (tower := job.plain.tower) is None:
        return []
    tokens = max(job.device.engine_tokens if job.device.gpu else CPU_TOKENS, tower.most_tokens)
    size = tokens * job.plain.hidden * job.engine_width * (1 + tower.deep)
    return [always("vLLM: encoder cache", size)]


def weights(job: Job) -> float:
    """Of a rank: its part, where several run one engine."""
    return job.plain.parameters * job.engine_width / job.split


def adapter_bytes(job: Job) -> float:
    """With `rollout.lora=adapter`, of a rank: of two matrices one is cut where several run one engine."""
    if job.rl.rollout.lora is not RolloutLora.adapter:
        return 0.0
    return job.policy.trained * job.engine_width * (1 + 1 / job.split) / 2


def adapters(job: Job, there: Iterable[str]) -> list[Item]:
    """The adapters in the engine, the copy that vLLM keeps of them, and a start model that sleeps."""
    size = adapter_bytes(job)
    if not size:
        return []
    away = set(PHASES) - set(there)
    found = [
        Item("vLLM: adapters", during(there, size)),
        always("vLLM: adapters, a copy", job.policy.trained * job.engine_width, host=True),
        Item("vLLM: start model, asleep", during(away, weights(job) + size), host=True),
    ]
    return found


def uncut(job: Job) -> list[str]:
    """Why an engine cannot be split over so many ranks."""
    size = job.split
    if size > 1 and job.ranks % size:
        return [f"rollout.tensor_parallel is {size}, and there are {job.ranks} ranks, no multiple of it"]
    if size > 1 and (what := uneven(config_of(job.rl.model), size)):
        return [f"rollout.tensor_parallel is {size}, and the model has {what}, which cannot be cut so"]
    return []


def sync_buffer(job: Job) -> Item:
    """A whole tensor of the trainer's, and the layer that vLLM puts together from such; or adapters, written
    down."""
    if not job.sft and adapter_bytes(job):
        return Item("sync buffer", {"sync": 2 * job.policy.trained * job.width}, host=True)
    shape, trainer = job.policy, job.recipe.trainer
    layer = (job.plain.parameters - shape.largest) / shape.layers
    made = shape.largest * job.width if trainer.zero_stage == 3 or job.recipe.model.lora.rank else 0
    moved = made + (max(layer, shape.largest) * job.engine_width if job.vllm and not job.elsewhere else 0)
    return Item("sync buffer", {"sync": moved})
