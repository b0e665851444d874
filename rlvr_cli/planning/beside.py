"""A step whose samples are drawn while the trainer works (`rollout.overlap=beside`): which phases overlap."""

from __future__ import annotations

from rlvr_cli.planning.job import Job
from rlvr_cli.schema import Overlap

STANDING = ("sync", "checkpoint")
"""Phases in which nothing is sampled."""


def samples_beside(job: Job) -> bool:
    """Whether sampling and training go on at the same time."""
    return not job.sft and job.rl.rollout.max_staleness > 0 and job.rl.rollout.overlap is Overlap.beside


def has_own_devices(job: Job) -> bool:
    """Whether sampling takes nothing of the trainer's: servers on CPUs share its cores, an engine in process
    its GPU."""
    return job.elsewhere and (job.device.gpu or bool(job.rl.rollout.servers.urls))


def step_time(job: Job, seconds: dict[str, float]) -> float:
    """Seconds of a step whose phases take these: one after the other, unless devices differ."""
    return at_best(seconds) if samples_beside(job) and has_own_devices(job) else sum(seconds.values())


def at_best(seconds: dict[str, float]) -> float:
    """Seconds of a step where sampling and training do not slow each other: the longer of the two."""
    standing = sum(seconds.get(phase, 0.0) for phase in STANDING)
    sampling = seconds["rollout"]
    return standing + max(sampling, sum(seconds.values()) - standing - sampling)


def assumption(job: Job, seconds: dict[str, float]) -> str | None:
    """What the time of a step takes for granted, in words."""
    if not samples_beside(job):
        return None
    if has_own_devices(job):
        return (
            "servers sample while the step trains: it takes the longer of the two, and sync and checkpoint "
            "besides"
        )
    return (
        "sampling and training share a device, and together take as long as one after the other; "
        f"{at_best(seconds):,.1f} s a step if neither slowed the other"
    )
