"""Before the first step: sample some prompts from the start model and refuse a run that cannot learn.

Nothing of it stays: sampler and random generators go back, weights are only read, and the weight sync that
follows makes the engine forget its prefixes. Training is the same with and without it.
"""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from rlvr_cli.core import distributed, rng
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.files import write_atomically
from rlvr_cli.core.types import Group
from rlvr_cli.engine import process_group
from rlvr_cli.engine.model import eos_ids
from rlvr_cli.preflight.advice import MOST, OFF, RANDOM, refusal, warnings
from rlvr_cli.preflight.facts import Facts, Row, facts_of, row_of
from rlvr_cli.preflight.first_look import REPORT, fingerprint, is_new
from rlvr_cli.preflight.golds import neighbours
from rlvr_cli.preflight.otherwise import asked_otherwise
from rlvr_cli.preflight.rehearsal import rehearse
from rlvr_cli.preflight.table import lines_of
from rlvr_cli.preflight.template import replaced, template_faults
from rlvr_cli.schema import Recipe, Unscored
from rlvr_cli.training.assemble import assemble
from rlvr_cli.training.batches import sequences_of
from rlvr_cli.training.dynamic_sampling import collect_share, judge
from rlvr_cli.training.parts import Parts
from rlvr_cli.training.sampled import rollout_logprobs
from rlvr_cli.training.shares import slim
from rlvr_cli.training.stop import Interrupted
from rlvr_cli.training.tracker import open_tracker
from rlvr_cli.training.weight_sync import probe_tolerance

MOST_SAMPLES = 16
"""Responses to a prompt, whatever `batch.group_size`: more would cost, and tell little more."""
ROUNDS = 4
"""Times `preflight.prompts` that are sampled before a recipe counts as hopeless."""
BRIEF_S = 20.0
"""Seconds after which a first look samples no more."""


def preflight(parts: Parts) -> None:
    """Before the first step, where the recipe wants it: UserError where nothing can be learned.

    A shorter run has a first look at data, verifiers and a model that are new here, and goes on whatever is
    found. All ranks must call it, before a weight sync: it leaves the engine asleep.
    """
    settings = parts.recipe.preflight
    if parts.step > 0:
        return
    if settings.wanted(parts.recipe.trainer.steps):
        examine(parts)
    elif settings.enabled is None and distributed.gather(distributed.rank() == 0 and is_new(parts.recipe))[0]:
        examine(parts, brief=True)


def check(recipe: Recipe, terminal: TextIO) -> None:
    """Entry of `rlvr preflight`: the parts of a run, the preflight, and nothing else."""
    process_group.initialise(recipe.faults.hang_s)
    with open_tracker(recipe, terminal, kind="rl") as tracker, assemble(recipe, tracker) as parts:
        try:
            examine(parts)
            tracker.close("checked")
        except Interrupted:
            raise KeyboardInterrupt from None  # there is nothing to save


def check_quietly(recipe: Recipe, terminal: TextIO) -> None:
    """The same for `--json`: what it finds is in the file alone."""
    with open(os.devnull, "w") as nowhere:
        check(recipe, nowhere)


def examine(parts: Parts, *, brief: bool = False) -> None:
    """Measure, show, write `preflight.json`, and refuse where it must; the same on every rank.

    `brief`: take little time, and say what is hopeless instead of refusing it.
    """
    played = distributed.gather(rehearse(parts) if distributed.rank() == 0 else {})[0]
    facts, tolerance = measure(parts, brief=brief), probe_tolerance(parts.recipe, bf16=0.1)
    facts.environments = played
    if parts.tokenizer is not None:
        eos = eos_ids(parts.recipe.model.path, parts.tokenizer)
        facts.template += template_faults(parts.sampler.items, parts.recipe, parts.tokenizer, eos)
        facts.replaced = replaced(parts.recipe)
    refused = refusal(facts, parts.recipe, tolerance)
    warned = [] if refused else warnings(facts, parts.recipe, tolerance)
    if distributed.rank() == 0:
        content = {"passed": refused is None, "refused": refused, "warnings": warned, **asdict(facts)}
        content["fingerprint"] = fingerprint(parts.recipe)
        text = json.dumps(_finite(content), indent=1, ensure_ascii=False)
        write_atomically(Path(parts.out) / REPORT, text + "\n")
    parts.tracker.table("preflight of the start model", lines_of(facts))
    for warning in warned:
        parts.tracker.event("warning", f"preflight: {warning}")
    if brief and refused:
        parts.tracker.event("warning", f"{refused.removesuffix(OFF)}; the run goes on, as it is short")
    failed = "hopeless" if brief else "refused"
    outcome = failed if refused else f"passed, with {len(warned)} warnings" if warned else "passed"
    said = f"{outcome}: {facts.signal} of {facts.prompts} groups have a signal"
    parts.tracker.event("preflight", said, passed=refused is None)
    distributed.barrier()  # the report is there before the first rank ends
    if refused is not None and not brief:
        raise UserError(refused)


def measure(parts: Parts, *, brief: bool = False) -> Facts:
    """Sample, verify and score; what training goes on from is put back, whatever happens."""
    generators, start = rng.state(), parts.sampler.state()
    parts.timer.take()
    try:
        facts, groups = sample(parts, brief=brief)
        spent = parts.timer.take()
        if facts.nats <= RANDOM * facts.uniform:
            facts.template = asked_otherwise(parts, facts.correct)
        parts.engine.sleep()
        parts.timer.take()
        with parts.timer("score"):
            sequences, trained = sequences_of(groups)
            logprobs_N, _, _ = parts.trainer.score(sequences, trained)
    finally:
        parts.sampler.load(start)
        rng.load(generators)
    gap_N = np.abs(rollout_logprobs(groups, None).numpy() - logprobs_N.numpy())
    facts.mismatch_mean, facts.mismatch_max = float(gap_N.mean()), float(gap_N.max())
    times = distributed.gather(spent | parts.timer.take())
    names = ("rollout", "verify", "score")
    facts.seconds = {name: max(t.get(f"timing_s/{name}", 0.0) for t in times) for name in names}
    facts.step_s = step_seconds(parts, facts)
    return facts


def sample(parts: Parts, *, brief: bool = False) -> tuple[Facts, list[Group]]:
    """Groups of the next prompts, and more while none is useful, so that rare is not taken for never; but not
    where verdicts are missing, which more of them will not mend.

    `brief`: no more of them at once than a step has.
    """
    recipe = limited(parts.recipe)
    algorithm, most = recipe.algorithm, ROUNDS * recipe.preflight.prompts
    size = min(recipe.preflight.prompts, recipe.batch.prompts_per_step) if brief else recipe.preflight.prompts
    near, began = neighbours(parts.sampler.items), time.monotonic()
    groups: list[Group] = []
    rows: list[Row] = []
    while True:
        mine = collect_share(parts, parts.sampler.take(min(size, most - len(groups))), recipe)
        parts.stop.check()
        found = distributed.gather([(slim(g), row_of(g, recipe.verifiers, near)) for g in mine])
        pairs = sorted((pair for share in found for pair in share), key=lambda pair: pair[0].index)
        groups += [group for group, _ in pairs]
        rows += [row for _, row in pairs]
        keep = judge(groups, algorithm, parts.step)
        facts = facts_of(
            groups,
            rows,
            keep,
            algorithm.advantage.needs_group,
            parts.trainer.vocabulary,
            recipe.verifiers,
        )
        late = brief and distributed.gather(time.monotonic() - began)[0] > BRIEF_S
        silent = any(verifier.unscored >= MOST for verifier in facts.verifiers.values())
        if silent or (facts.useful and facts.repeated != 1) or len(groups) >= most or late:
            return facts, groups


def limited(recipe: Recipe) -> Recipe:
    """Fewer samples where groups are large; a verifier without a verdict is counted, not an error."""
    size = min(recipe.batch.group_size, MOST_SAMPLES)
    unscored = recipe.verification.unscored
    return replace(
        recipe,
        batch=replace(recipe.batch, group_size=size),
        verification=replace(
            recipe.verification, unscored=Unscored.drop if unscored is Unscored.fail else unscored
        ),
    )


def step_seconds(parts: Parts, facts: Facts) -> float:
    """About what a step takes: sampling with refills, the updates as three forward passes, no weight sync."""
    recipe = parts.recipe
    batch, rollout, drops = recipe.batch, recipe.rollout, recipe.algorithm.filter.drops
    kept = facts.kept / facts.prompts if drops else 1.0
    most = rollout.oversample * (rollout.max_rounds if drops else 1)
    prompts = batch.prompts_per_step * min(max(1.0, 1 / kept if kept else math.inf), most)
    share = batch.group_size / (facts.prompts * facts.samples)
    update = 3 + recipe.model.gradient_checkpointing  # a backward pass takes as long as two forward
    forward = update + parts.needs_old + (parts.reference is not None)
    forward += 0 if parts.critic is None else 1 + update
    sampling = (facts.seconds["rollout"] + facts.seconds["verify"]) * prompts
    return share * (sampling + facts.seconds["score"] * forward * batch.prompts_per_step)


def _finite(value: Any) -> Any:
    """JSON has no NaN: what was not measured is null."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
