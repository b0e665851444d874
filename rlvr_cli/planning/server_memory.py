"""Rollout engines that are servers: what they take, and of whom."""

from __future__ import annotations

from dataclasses import replace

from rlvr_cli.planning.engine_memory import engine
from rlvr_cli.planning.items import Item, always
from rlvr_cli.planning.job import Job
from rlvr_cli.planning.traffic import broadcasts, keeps_sent, sync_of
from rlvr_cli.schema.placement import BUCKET


def as_servers(job: Job) -> Job:
    """The same work as the servers have it: their GPUs in the place of the ranks."""
    return replace(job, ranks=job.servers * job.rl.rollout.tensor_parallel, of_server=True)


def servers(job: Job, libraries: float) -> tuple[float, list[Item], list[str]]:
    """Tokens of KV cache of one, lines of a rank, and what keeps servers from working.

    On GPUs a rank's memory has none of it. On CPUs all share the machine's: `libraries` is what one takes
    besides its model. Wherever they are, rank 0 has the weights on their way in host memory, or those that
    were broadcast last; or the adapters, where they are sent alone.
    """
    seen = as_servers(job)
    cache, items, problems = engine(seen)
    found = []
    sent = sync_of(job).weights
    if keeps_sent(job):
        name = "weights kept for servers" if broadcasts(job) else "weights on their way"
        found.append(always(name, sent, host=True))
    if broadcasts(job):  # one is filled while another is on its way
        filled = BUCKET + max(BUCKET, job.plain.largest * job.width)
        found.append(Item("buckets on their way", {"sync": max(BUCKET, min(sent, filled))}))
    if not job.device.gpu and not job.rl.rollout.servers.urls:
        share = seen.ranks / job.ranks
        found += [
            Item(
                item.name.replace("engine:", "servers:"), {p: share * size for p, size in item.phases.items()}
            )
            for item in items
        ]
        found.append(always("servers: libraries", share * libraries))
    return cache, found, [f"a server: {problem}" for problem in problems]
