"""A recipe -> its plan: parameters, memory, time, and what to change where it does not fit."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.planning.advice import Advice, advise
from rlvr_cli.planning.beside import step_time
from rlvr_cli.planning.calibrate import Measured, shortened
from rlvr_cli.planning.gpus import GIB, Device, count, find
from rlvr_cli.planning.items import PHASES, Memory
from rlvr_cli.planning.job import NODE, Job, cached_shapes
from rlvr_cli.planning.memory import memory_of
from rlvr_cli.planning.speed import times_of
from rlvr_cli.planning.traffic import Sync, Traffic, step_of, sync_of, traffic
from rlvr_cli.schema import Placement, Recipe, SFTRecipe
from rlvr_cli.schema.stages import stages_of


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the command line says besides the recipe."""

    gpu: str = "auto"
    ranks: int | None = None
    response: float | None = None
    prompt: float | None = None
    kept: float | None = None
    machine: int | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    job: Job
    jobs: list[tuple[int, Job]]
    """Steps and job of each stage."""
    memory: Memory
    """With the correction of `measured`, where there is one."""
    predicted: float
    """Peak before any correction (bytes); where steps were measured, of those."""
    seconds: dict[str, float] | None
    """Phase -> seconds of a step of the first stage; None: the device's speed is not known."""
    total: float | None
    """Seconds of all steps."""
    advice: list[Advice]
    traffic: Traffic | None
    """What the ranks tell each other in a step of the first stage; None: they do not."""
    sync: Sync | None
    measured: Measured | None = None

    @property
    def step(self) -> float | None:
        """Seconds of a step of the first stage, whose phases may overlap."""
        if self.seconds is None:
            return None
        if self.measured is not None:  # its phases are what the step waited for
            return sum(self.seconds.values())
        return step_time(self.jobs[0][1], self.seconds)


def make_plan(recipe: Recipe | SFTRecipe, wish: Wish, measured: Measured | None = None) -> Plan:
    """Plan a recipe whose model has been resolved.

    Raises UserError for an unknown GPU or model, and where ranks cannot share micro-batches as they should.
    """
    device = find(wish.gpu)
    if measured is not None:
        wish = replace(wish, response=measured.response or None, kept=measured.kept)
    job = job_of(recipe, device, ranks_of(recipe, wish, device), wish)
    if why := job.unshared(job.together):
        raise UserError(why)
    predicted, correction = memory_of(job).peak, 0.0
    if measured is not None:  # compared with what was run: no checkpoints, the first stage alone
        short = replace(job, recipe=shortened(recipe, Path(recipe.out or "."), wish.ranks))
        predicted = memory_of(short).allocated  # what `perf/peak_memory_gb` sees: on GPUs only torch's
        correction = measured.peak - predicted
    memory = memory_of(job, correction)
    jobs = stage_jobs(recipe, job, wish)
    seconds, total = time_of(jobs, measured)
    return Plan(
        job=job,
        jobs=jobs,
        memory=memory,
        predicted=predicted,
        seconds=seconds,
        total=total,
        advice=[] if memory.fits else advise(job, correction),
        traffic=traffic(step_of(jobs[0][1])) if job.ranks > 1 and not job.sft else None,
        sync=None if job.sft else sync_of(job),
        measured=measured,
    )


def ranks_of(recipe: Recipe | SFTRecipe, wish: Wish, device: Device) -> int:
    here = count() if wish.gpu == "auto" else NODE if device.gpu else 1
    if device.gpu and not isinstance(recipe, SFTRecipe) and recipe.rollout.placement is Placement.servers:
        here -= recipe.rollout.servers.started(width := recipe.rollout.tensor_parallel) * width
    return wish.ranks or recipe.trainer.ranks or max(here, 1)


def job_of(recipe: Recipe | SFTRecipe, device: Device, ranks: int, wish: Wish) -> Job:
    """Without other word, prompts and responses are taken to be half as long as they may be."""
    if isinstance(recipe, SFTRecipe):
        response, prompt, drops = 0.0, wish.prompt or recipe.algorithm.max_length / 2, False
    else:
        response = wish.response or recipe.rollout.max_tokens / 2
        prompt = wish.prompt or recipe.rollout.max_prompt_tokens / 2
        drops = recipe.algorithm.filter.drops
    kept = wish.kept or (0.5 if drops else 1.0)
    return Job(
        recipe=recipe,
        device=device,
        ranks=ranks,
        shapes=cached_shapes(),
        response=response,
        prompt=prompt,
        kept=kept,
        machine=wish.machine or (NODE if device.gpu else ranks),
    )


def stage_jobs(recipe: Recipe | SFTRecipe, job: Job, wish: Wish) -> list[tuple[int, Job]]:
    """Steps and job of each stage; memory is planned for the largest, time for each."""
    steps = recipe.trainer.steps
    if isinstance(recipe, SFTRecipe) or not recipe.stages:
        return [(steps, job)]
    begins = [0, *(min(stage.after, steps) for stage in recipe.stages.values()), steps]
    found = []
    for stage, begin, end in zip(stages_of(recipe), begins, begins[1:], strict=False):
        response = wish.response or stage.rollout.max_tokens / 2
        found.append((end - begin, replace(job, recipe=replace(stage, stages={}), response=response)))
    return found


def time_of(
    jobs: list[tuple[int, Job]], measured: Measured | None
) -> tuple[dict[str, float] | None, float | None]:
    """Seconds of a first-stage step by phase, and of all steps."""
    if measured is None:
        each = [times_of(job) for _, job in jobs]
        if any(seconds is None for seconds in each):
            return None, None
        per_step = [step_time(job, seconds or {}) for seconds, (_, job) in zip(each, jobs, strict=True)]
        return each[0], sum(s * n for s, (n, _) in zip(per_step, jobs, strict=True))
    sizes = [job.sequences * (job.prompt + job.response) for _, job in jobs]  # later stages by their tokens
    step = measured.seconds["step"]
    total = sum(n * step * size / sizes[0] for (n, _), size in zip(jobs, sizes, strict=True))
    phases = {name: s for name, s in measured.seconds.items() if name != "step"}
    other = step - sum(phases.values())
    return phases | {"other": max(other, 0.0)}, total + measured.startup


def as_json(plan: Plan) -> dict[str, Any]:
    """Everything on the page, in bytes and seconds."""
    memory, job = plan.memory, plan.job
    return {
        "model": asdict(job.policy),
        "device": asdict(job.device),
        "ranks": job.ranks,
        "assumed": {"prompt_tokens": job.prompt, "response_tokens": job.response, "kept": job.kept},
        "memory": {
            "items": [asdict(item) for item in memory.items],
            "phases": {phase: memory.total(phase) for phase in PHASES},
            "peak": memory.peak,
            "peak_phase": memory.peak_phase,
            "host_peak_of_a_rank": memory.host_peak,
            "limit": memory.limit,
            "cache_tokens": memory.cache_tokens,
            "problems": memory.problems,
        },
        "fits": memory.fits,
        "micro_batch_tokens": job.micro_tokens,
        "micro_batch_tokens_of_a_rank": job.piece_tokens,
        "seconds": plan.seconds,
        "step_seconds": plan.step,
        "total_seconds": plan.total,
        "between_ranks": asdict(plan.traffic) if plan.traffic else None,
        "weight_sync": asdict(plan.sync) if plan.sync else None,
        "predicted_peak": plan.predicted,
        "measured": asdict(plan.measured) if plan.measured else None,
        "advice": [{"settings": a.settings, "peak": a.memory.peak} for a in plan.advice],
    }


def gib(size: float) -> float:
    return size / GIB
