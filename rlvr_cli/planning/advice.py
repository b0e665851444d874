"""Settings under which a recipe that does not fit does; each answer has been planned again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from rlvr_cli.planning.beside import samples_beside
from rlvr_cli.planning.engine_memory import uncut
from rlvr_cli.planning.items import Memory
from rlvr_cli.planning.job import Job
from rlvr_cli.planning.memory import memory_of
from rlvr_cli.schema import Offload

MOST_RANKS = 64
LORA_RANK = 32
MOST_PARTS = 8
"""Ranks that an engine is split over at most: more are seldom on one machine."""


@dataclass(frozen=True)
class Change:
    """One setting, as it is written on the command line, and the job with it."""

    setting: str
    apply: Callable[[Job], Job]


@dataclass(frozen=True)
class Advice:
    settings: list[str]
    memory: Memory


def advise(job: Job, correction: float = 0.0) -> list[Advice]:
    """Up to three ways to fit, cheapest first: settings, LoRA, more ranks. Empty where nothing helps."""
    found: list[Advice] = []
    for family in (settings, lora, ranks):
        answer = search(job, [*family(job)], correction)
        if answer is not None and answer.settings not in [each.settings for each in found]:
            found.append(answer)
    return found


def search(job: Job, changes: list[Change], correction: float) -> Advice | None:
    """Take changes in order until the job fits, then leave out those it also fits without."""
    taken: list[Change] = []
    for change in changes:
        key = change.setting.split("=")[0]
        before = memory_of(applied(job, taken), correction)
        tried = [each for each in taken if each.setting.split("=")[0] != key] + [change]
        after = memory_of(applied(job, tried), correction)
        if badness(after) < badness(before):
            taken = tried
        if after.fits:
            break
    if not taken or not memory_of(applied(job, taken), correction).fits:
        return None
    for change in list(taken):
        fewer = [each for each in taken if each is not change]
        if fewer and memory_of(applied(job, fewer), correction).fits:
            taken = fewer
    return Advice([change.setting for change in taken], memory_of(applied(job, taken), correction))


def badness(memory: Memory) -> tuple[int, float]:
    """What cannot work comes before what is too large; then the sum over phases counts."""
    over = sum(max(0.0, memory.total(phase) - memory.limit) for phase in ("rollout", "sync", "update"))
    return len(memory.problems), over + memory.peak


def applied(job: Job, changes: list[Change]) -> Job:
    for change in changes:
        job = change.apply(job)
    return job


def change(key: str, value: Any, shown: str | None = None) -> Change:
    """`section.key=value` of the recipe."""
    section, _, name = key.partition(".")

    def apply(job: Job) -> Job:
        part = replace(getattr(job.recipe, section), **{name: value})
        return replace(job, recipe=replace(job.recipe, **{section: part}))

    return Change(f"{key}={value if shown is None else shown}", apply)


def settings(job: Job) -> Iterator[Change]:
    """What costs least time first."""
    recipe = job.recipe
    if recipe.model.attention == "eager":
        yield change("model.attention", "auto")
    if recipe.model.fp32_head:
        yield change("model.fp32_head", False, "false")
    if job.device.gpu and not job.sft and recipe.trainer.offload is not Offload.all and may_sleep(job):
        yield change("trainer.sleep", True, "true")
    if job.vllm and job.device.gpu:
        yield from utilisation(job)
        if not job.rl.rollout.sleep and may_sleep(job):
            yield change("rollout.sleep", True, "true")
    if not recipe.model.gradient_checkpointing:
        yield change("model.gradient_checkpointing", True, "true")
    tokens = recipe.batch.tokens_per_microbatch
    while tokens > job.longest:
        tokens = max(tokens // 2, job.longest)
        yield change("batch.tokens_per_microbatch", tokens)
    yield from sharding(job)
    yield from shared(job)
    yield from splits(job)
    if not job.sft and not job.vllm and job.decoded > 1:
        rows = job.decoded
        while rows > 1:
            rows = -(-rows // 2)
            yield change("rollout.max_num_seqs", rows)
    if job.device.gpu:
        if recipe.trainer.zero_stage == 0:
            yield change("trainer.zero_stage", 2)
        yield change("trainer.offload", Offload.optimizer, "optimizer")


def may_sleep(job: Job) -> bool:
    """Whether engine and trainer have turns on one device."""
    return not samples_beside(job) and not job.elsewhere


def utilisation(job: Job) -> Iterator[Change]:
    """The engine's share: up where not even a sequence fits, else down."""
    now = job.rl.rollout.gpu_memory_utilization
    key = "rollout.gpu_memory_utilization"
    steps = [round(0.9 - 0.05 * n, 2) for n in range(17)]
    for value in [s for s in steps[::-1] if s > now] + [s for s in steps if s < now]:
        yield change(key, value)


def splits(job: Job) -> Iterator[Change]:
    """The engine over twice the ranks again and again; on one, where it cannot be split as it is."""
    if uncut(job):
        yield change("rollout.tensor_parallel", 1)
    size = 2 * job.split
    able = job.vllm and job.device.gpu and job.rl.rollout.seeded and not job.elsewhere
    able = able and not job.rl.rollout.max_staleness
    while able and size <= min(job.ranks, MOST_PARTS) and job.ranks % size == 0:
        wanted = change("rollout.tensor_parallel", size)
        if not uncut(wanted.apply(job)):
            yield wanted
        size *= 2


def sharding(job: Job) -> Iterator[Change]:
    if job.ranks > 1:
        for stage in range(max(job.recipe.trainer.zero_stage + 1, 2), 4):
            yield change("trainer.zero_stage", stage)


def shared(job: Job) -> Iterator[Change]:
    """Micro-batches, which may be one long sequence, over twice the ranks again and again."""
    size, fixed = 2 * job.together, job.recipe.trainer.ranks or job.ranks
    while job.device.gpu and size <= job.ranks and fixed % size == 0 and job.unshared(size) is None:
        yield change("trainer.sequence_parallel", size)
        size *= 2


def lora(job: Job) -> Iterator[Change]:
    """Adapters in place of all weights, then what is left to try."""
    if job.recipe.model.lora.rank:
        return
    adapters = change("model.lora", replace(job.recipe.model.lora, rank=LORA_RANK))
    yield Change(f"model.lora.rank={LORA_RANK}", adapters.apply)
    yield from settings(job)


def ranks(job: Job) -> Iterator[Change]:
    """Twice the ranks again and again; weights are only split by ZeRO-3."""
    if not job.device.gpu:
        return
    count = job.ranks
    while count < MOST_RANKS:
        count *= 2
        yield Change(f"--ranks {count}", lambda j, n=count: replace(j, ranks=n))  # type: ignore[misc]
        for stage in range(max(job.recipe.trainer.zero_stage + 1, 2), 4):
            yield change("trainer.zero_stage", stage)
    yield from settings(job)
