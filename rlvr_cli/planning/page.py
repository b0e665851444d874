"""The page `rlvr plan` prints, as wide as the terminal and at most 100 columns."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator

from rlvr_cli.planning.beside import assumption
from rlvr_cli.planning.items import PHASES
from rlvr_cli.planning.job import Job
from rlvr_cli.planning.planner import Plan, gib
from rlvr_cli.planning.server_memory import as_servers
from rlvr_cli.planning.speed import DECODING, mfu
from rlvr_cli.planning.traffic import Traffic
from rlvr_cli.schema import Recipe, SFTRecipe
from rlvr_cli.schema.training import Kernels

COLUMNS = 100
WIDTH = 25
"""Of the first column of the table."""
CELL = 11
GLUE = "\N{NO-BREAK SPACE}"
"""Between words that stay on one line."""


def show(plan: Plan) -> str:
    columns = min(COLUMNS, shutil.get_terminal_size((COLUMNS, 0)).columns)
    parts = [head(plan), table(plan, columns), verdict(plan), times(plan)]
    if plan.traffic is not None:
        parts.append(between(plan, plan.traffic))
    return "\n\n".join("\n".join(x for line in part for x in wrap(line, columns)) for part in parts)


def wrap(line: str, columns: int) -> list[str]:
    """The line, broken where it is too long for the terminal."""
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    found = textwrap.wrap(
        line, columns, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return [part.replace(GLUE, " ") for part in found]


def head(plan: Plan) -> Iterator[str]:
    job, shape = plan.job, plan.job.policy
    recipe = job.recipe
    yield f"plan: {recipe.name} ({recipe.algorithm.name})"
    trained = "" if shape.trained == shape.parameters else f", {shape.trained:,} trained"
    sizes = f"{shape.kind}: {shape.layers} layers of {shape.hidden}"
    yield f"model: {recipe.model.path} ({sizes}, {shape.parameters:,} parameters{trained})"
    if (tower := shape.tower) is not None:
        yield (
            f"images: at most {tower.most_pixels:,} pixels, {tower.most_tokens:,} tokens, each; of a prompt "
            f"at most {job.image_tokens:,} are images; tower: {tower.layers} layers of {tower.hidden}, "
            f"{tower.parameters:,} parameters, {'trained' if tower.trained else 'frozen'}"
        )
    memory = f"{gib(job.device.memory):.1f} GiB" + ("" if job.device.gpu else " for all ranks")
    trainer = recipe.trainer
    yield (
        f"ranks: {job.ranks} x {job.device.name} ({memory}), ZeRO-{trainer.zero_stage}, "
        f"{trainer.precision.value}, offload {trainer.offload.value}"
    )
    recomputed = "with" if recipe.model.gradient_checkpointing else "without"
    shared = f", of which {job.together} ranks have {job.piece_tokens:,} each" if job.together > 1 else ""
    yield (
        f"a step of a rank: {job.sequences:,} sequences of at most {job.longest:,} tokens, micro-batches of "
        f"{job.micro_tokens:,}{shared}, {recomputed} gradient checkpointing"
    )
    if plan.memory.cache_tokens is not None:
        tokens = plan.memory.cache_tokens
        full = tokens / job.longest
        parts = f" of an engine on {job.split} ranks" if job.split > 1 else ""
        asked = (as_servers(job) if job.elsewhere else job).decoded
        parts = f" of each of {job.servers} servers" if job.elsewhere else parts
        yield (
            f"KV cache{parts}: {tokens:,.0f} tokens, {full:,.1f} sequences of full length, "
            f"{asked:,} asked for"
        )
    yield from episodes(recipe)


def episodes(recipe: Recipe | SFTRecipe) -> Iterator[str]:
    """What is assumed where problems are played in turns."""
    if isinstance(recipe, SFTRecipe):
        return
    used = {source.environment for source in recipe.data.values()}
    named = [
        f"{name} (at most {each.max_turns} turns)"
        for name, each in recipe.environments.items()
        if name in used
    ]
    if named:
        yield (
            f"episodes with {', '.join(named)}: a whole one, with all that is said to it, has at most "
            f"rollout.max_tokens={recipe.rollout.max_tokens:,} tokens; times take all of them as sampled and "
            "no wait for environments, whose own processes are not counted"
        )


def table(plan: Plan, columns: int) -> Iterator[str]:
    """Phases side by side: in a narrow terminal those that take most."""
    memory = plan.memory
    idle = ("rollout", "sync") if plan.job.preference is not None else ("rollout", "scoring", "sync")
    used = [p for p in PHASES if not (plan.job.sft and p in idle)]
    room = max(1, (columns - WIDTH) // CELL)
    largest = sorted(used, key=memory.total, reverse=True)[:room]
    shown = [phase for phase in PHASES if phase in largest]
    yield f"{'memory of a rank, GiB':<{WIDTH}}" + "".join(f"{phase:>{CELL}}" for phase in shown)
    for item in memory.items:
        name = f"{item.name} (host)" if item.host else item.name
        cells = "".join(cell(item.phases.get(phase, 0.0)) for phase in shown)
        yield f"{name:<{WIDTH}}{cells}".rstrip()
    total = "".join(f"{gib(memory.total(phase)):>10.2f}{mark(plan, phase)}" for phase in shown)
    yield f"{'in all':<{WIDTH}}{total}".rstrip()
    if len(shown) < len(used):
        left = len(used) - len(shown)
        yield f"(left out: {left} phases that take less; {WIDTH + CELL * len(used)} columns show all)"


def cell(size: float) -> str:
    return f"{gib(size):>10.2f} " if size else f"{'-':>10} "


def mark(plan: Plan, phase: str) -> str:
    return "*" if phase == plan.memory.peak_phase else " "


def verdict(plan: Plan) -> Iterator[str]:
    memory, job = plan.memory, plan.job
    word = "fits" if memory.fits else "does not fit"
    limit = f"{gib(memory.limit):.2f} GiB may be used"
    yield f"{word}: peak {gib(memory.peak):.2f} GiB in {memory.peak_phase}, {limit}"
    if job.device.gpu:
        host = gib(memory.host_peak)
        yield f"host memory: {host:.1f} GiB of tensors a rank, {host * job.ranks:.1f} GiB in all"
    yield from memory.problems
    if job.recipe.trainer.kernels is Kernels.liger:
        yield "trainer.kernels=liger: what it saves is not counted"
    if (measured := plan.measured) is not None:
        seen, thought = measured.peak, plan.predicted
        yield (
            f"measured in {measured.steps} steps: {gib(seen):.2f} GiB; predicted before: "
            f"{gib(thought):.2f} GiB ({(thought - seen) / seen:+.0%})"
        )
    for advice in plan.advice:
        yield f"  fits with: {' '.join(advice.settings)} (peak {gib(advice.memory.peak):.2f} GiB)"
    if not memory.fits and not plan.advice:
        yield "  nothing tried makes it fit: take a smaller model, shorter sequences or larger GPUs"


def times(plan: Plan) -> Iterator[str]:
    job, steps = plan.job, plan.job.recipe.trainer.steps
    if plan.memory.problems and plan.measured is None:
        yield "time: not estimated, as the engine would not start"
        return
    if plan.seconds is None:
        yield (
            f"time: the speed of {job.device.name} is not known; --calibrate measures it, "
            "--gpu h100 assumes another device"
        )
        return
    step = plan.step or 0.0
    yield f"{'time of a step, seconds':<{WIDTH}}" + "  ".join(
        f"{name}{GLUE}{seconds:.2f}" for name, seconds in plan.seconds.items()
    )
    tokens = job.ranks * job.sequences * (job.prompt + job.response)
    yield (
        f"in all: {step:,.1f} s a step, {tokens / step:,.0f} tokens a second; "
        f"{steps:,} steps in {span(plan.total or 0)}"
    )
    if plan.measured is not None:
        yield (
            f"measured: mean of {plan.measured.steps - 1} steps after the first, without checkpoints and "
            "evaluations"
        )
        return
    yield "assumed:"
    training = f"training reaches {mfu(job):.0%} of the dense peak"
    if isinstance(job.recipe, SFTRecipe):
        yield f"  examples of {job.prompt:,.0f} tokens (--prompt-tokens)"
        yield f"  {training}; evaluations are not counted"
    else:
        yield (
            f"  prompts of {job.prompt:,.0f} and responses of {job.response:,.0f} tokens "
            "(--prompt-tokens, --response-tokens)"
        )
        if job.recipe.algorithm.filter.drops:
            yield f"  {job.kept:.0%} of the groups pass the filter (--kept)"
        yield f"  {training}; {DECODING}"
        if told := assumption(plan.jobs[0][1], plan.seconds):
            yield f"  {told}"
        yield "  verification runs beside generation; evaluations are not counted"


def between(plan: Plan, told: Traffic) -> Iterator[str]:
    """What ranks share and tell each other."""
    job, sync = plan.job, plan.sync
    assert sync is not None
    updates, machines = job.rl.batch.updates_per_step, -(-job.ranks // job.machine)
    places = f" on {machines} machines" if machines > 1 else ""
    yield f"between {job.ranks} ranks{places}, a step:"
    most = job.micro_tokens if job.members > 1 else job.longest  # of a prompt's samples, or of one
    yield (
        f"  an update of a rank: {job.row_tokens / updates:,.0f} tokens on average, at most "
        f"{most / job.together:,.0f} more"
    )
    samples, idle = samples_of(job) // updates, job.ranks - samples_of(job) // updates * job.together
    if idle > 0:
        yield f"  {idle} of {job.ranks} ranks have nothing of an update, which has {samples} samples"
    yield (
        f"  sent by a rank: {size(told.scores)} of scores, {size(told.tokens)} of tokens and logprobs to "
        f"where these train, {size(told.sums)} in sums over tokens"
    )
    yield f"  known to every rank: {size(told.known)} in CPU memory, {told.controller:.1f} s of one CPU core"
    others = f", of which a rank receives {size(sync.gathered)} from the others" if sync.gathered else ""
    yield f"  a weight sync: {size(sync.weights)}{others}"
    if sync.broadcast:
        kept = f", {size(sync.host)} kept in CPU memory for one that is replaced" if sync.host else ""
        yield f"  broadcast to servers: {size(sync.broadcast)}{kept}"
    elif sync.host:
        posted = f", {size(sync.posted)} sent over HTTP" if sync.posted else ""
        yield f"  on their way to servers: {size(sync.host)} of CPU memory{posted}"
    if machines > 1:
        yield f"  into each machine: {size(told.entering)} of these by TCP, {size(sync.entering)} of weights"


def samples_of(job: Job) -> int:
    """Of a step, over all ranks."""
    return job.rl.batch.prompts_per_step * job.rl.batch.group_size


def size(count: float) -> str:
    """Bytes in the unit a person would use."""
    for unit, step in (("GB", 1e9), ("MB", 1e6)):
        if count >= step:
            return f"{count / step:,.1f} {unit}"
    return f"{count / 1e3:,.0f} kB"


def span(seconds: float) -> str:
    """Seconds in the unit a person would use."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"
