"""What ranks tell each other in a step of RL, and what a weight sync moves: bytes, and CPU seconds. No torch.

Bytes follow from what is sent (docs/scale.md). What no formula gives is measured by `benchmarks/ranks.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from rlvr_cli.schema import RolloutLora, Transfer
from rlvr_cli.schema.derived import needs_old_logprobs, updates_in_step

if TYPE_CHECKING:
    from rlvr_cli.planning.job import Job

SAMPLE, GROUP, PROMPT_TOKEN, RANK = 104, 141, 4.14, 1980
"""Bytes that every rank is told: of a sample (length, flags, scores), of its group, of a token of its prompt,
of a rank (sums of metrics, of what texts say)."""
SENT_SAMPLE, PARCEL = 110, 220
"""Bytes besides the tokens: of a sample on its way to where it trains, of all that go to one rank."""
SCORES = 3
"""Numbers that a model's pass gives for each token: logprob, entropy, greedy hit."""
KNOWN_TOKEN = 66
"""Bytes of CPU memory that each rank has for each response token of a step, whoever trains on it."""
GATHERS = 8
"""Times a step in which every rank is told something by each of the others, besides once an update."""
SAMPLE_S, TOKEN_S, PASSED_S = 100e-6, 0.13e-6, 85e-6
"""CPU seconds of each rank for a sample, for a response token that trains, for passing a block on."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """Sizes of a step, over all ranks."""

    ranks: int
    machine: int
    """Ranks on a machine."""
    engines: int
    """That prompts are dealt to; their first ranks have the samples."""
    together: int
    """Ranks that share a micro-batch, and have the same samples."""
    sampled: float
    """Samples, those of groups that do not train included."""
    trained: float
    """Samples that train."""
    group: int
    """Samples of a prompt."""
    prompt: float
    """Mean tokens of a prompt."""
    response: float
    """Mean tokens of a response."""
    updates: int
    columns: int
    """Numbers of each response token that are summed over ranks, so that every rank has them."""
    versions: bool
    """Each token says under which weights it was sampled."""


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Of a step. Bytes go by gloo, through CPU memory."""

    scores: float
    """Bytes that a rank sends on, so that all know lengths, flags and scores of all samples."""
    tokens: float
    """Bytes of tokens and logprobs that a rank which samples sends to those that train on them."""
    sums: float
    """Bytes that a rank sends in sums of numbers of single tokens."""
    entering: float
    """Bytes of all three that enter a machine."""
    known: float
    """Bytes of CPU memory of each rank for numbers of all tokens."""
    controller: float
    """CPU seconds of each rank for dealing, telling, shaping, filtering, advantages and metrics."""


@dataclass(frozen=True, kw_only=True)
class Sync:
    """Of a weight sync, in bytes."""

    weights: float
    """What the engines are sent."""
    gathered: float
    """What a rank receives of it from the others: ZeRO-3 has it in pieces."""
    entering: float
    """What enters a machine of that, at least."""
    host: float
    """CPU memory for weights on their way to servers, or kept for one that is replaced, of the rank that
    leads them."""
    posted: float
    """What rank 0 sends over HTTP to servers given by URL."""
    broadcast: float
    """What the rank that leads servers sends to all of them through process groups."""


def traffic(step: Step) -> Traffic:
    """Rings: a rank passes on N - 1 blocks until all are known, and 2 (N - 1) / N of what is summed."""
    others, responses = 1 - 1 / step.ranks, step.trained * step.response
    groups = ceil(step.sampled / step.group / step.engines)
    block = groups * (GROUP + step.group * SAMPLE + PROMPT_TOKEN * step.prompt) + RANK
    scores = (step.ranks - 1) * block
    leaving = step.together * others * step.trained / step.engines
    sample = SENT_SAMPLE + (12 if step.versions else 8) * step.response
    tokens = leaving * sample + min(step.ranks - 1, leaving) * PARCEL
    sums = 2 * others * 4 * step.columns * responses
    machines = step.ranks / step.machine
    # A ring enters each machine once; what is handed over comes from all ranks elsewhere.
    handed = tokens * step.engines / machines * (1 - 1 / machines) / others if machines > 1 else 0.0
    return Traffic(
        scores=scores,
        tokens=tokens,
        sums=sums,
        entering=scores + sums + handed if machines > 1 else 0.0,
        known=KNOWN_TOKEN * responses,
        # A gather is two rings, of sizes and of what has them.
        controller=SAMPLE_S * step.sampled
        + TOKEN_S * responses
        + PASSED_S * 2 * (step.ranks - 1) * (GATHERS + step.updates),
    )


def step_of(job: Job) -> Step:
    """The step that a job plans for, with its mean lengths."""
    recipe, batch = job.rl, job.rl.batch
    trained = batch.prompts_per_step * batch.group_size
    passes = needs_old_logprobs(recipe) + job.needs_reference
    notes = SCORES if recipe.tracker.tokens else 0
    return Step(
        ranks=job.ranks,
        machine=min(job.machine, job.ranks),
        engines=job.ranks // job.split,
        together=job.together,
        sampled=trained / (job.kept if recipe.algorithm.filter.drops else 1),
        trained=trained,
        group=batch.group_size,
        prompt=job.prompt,
        response=job.response,
        updates=updates_in_step(recipe),
        columns=1 + SCORES * passes + (job.critic is not None) + notes,
        versions=recipe.rollout.max_staleness > 0,
    )


def broadcasts(job: Job) -> bool:
    """Whether weights go to servers through process groups."""
    if not job.elsewhere:
        return False
    transfer = job.rl.rollout.servers.transfer
    return transfer is Transfer.broadcast or (transfer is Transfer.auto and job.device.gpu)


def keeps_sent(job: Job) -> bool:
    """Whether host memory has what servers were sent: on its way, or for one that is replaced."""
    return job.elsewhere and (not broadcasts(job) or job.rl.rollout.servers.restarts > 0)


def sync_of(job: Job) -> Sync:
    """All weights, or the adapters alone, one tensor after the other; on their way to servers all of what is
    sent."""
    alone = job.rl.rollout.lora is RolloutLora.adapter
    weights = job.width * float(job.policy.trained if alone else job.plain.parameters)
    pieces = weights if job.recipe.trainer.zero_stage == 3 else 0.0
    return Sync(
        weights=weights,
        gathered=pieces * (1 - 1 / job.ranks),
        entering=pieces * max(0, 1 - job.machine / job.ranks),
        host=weights if keeps_sent(job) else 0.0,
        posted=weights * len(job.rl.rollout.servers.urls) if job.elsewhere and not broadcasts(job) else 0.0,
        broadcast=weights * job.servers if broadcasts(job) else 0.0,
    )
