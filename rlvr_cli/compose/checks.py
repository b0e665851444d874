"""What must fit together in a recipe and no single field can tell."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields

from rlvr_cli.algorithms.check import check as check_algorithm
from rlvr_cli.algorithms.check import check_reference
from rlvr_cli.compose.ahead import check_ahead
from rlvr_cli.compose.control import check_controller, check_diagnosis
from rlvr_cli.compose.distillation import check_distillation, check_on_data, check_unheard
from rlvr_cli.compose.engines import check_engines
from rlvr_cli.compose.environments import check_environments, refuse_environments
from rlvr_cli.compose.evolving import check_evolving
from rlvr_cli.compose.experience import check_experience
from rlvr_cli.compose.holdout import benches_of, check_holdout
from rlvr_cli.compose.placement import check_placement
from rlvr_cli.compose.sources import check_sources
from rlvr_cli.compose.strict import Place
from rlvr_cli.compose.tracked import check_tracked
from rlvr_cli.compose.trees import check_trees
from rlvr_cli.compose.values import SHOWN, check_values
from rlvr_cli.compose.verifiers_by import check_benches_route_nothing, check_verifiers_by
from rlvr_cli.core.errors import hint
from rlvr_cli.schema import (
    Bench,
    Critic,
    DistillationRecipe,
    EvalRecipe,
    ExperienceRecipe,
    Precision,
    Recipe,
    Rollout,
    SFTRecipe,
    Source,
)
from rlvr_cli.schema.derived import updates_in_step
from rlvr_cli.schema.score_names import score_names
from rlvr_cli.schema.stages import stages_of
from rlvr_cli.vision.refusals import check_vision

LONGEST_NAME = 80
NAME = rf"\w[\w.+-]{{0,{LONGEST_NAME - 1}}}"


def check(recipe: Recipe | SFTRecipe | EvalRecipe, place: Place) -> None:
    """Raise UserError for the first thing that does not fit."""
    try:
        check_values(recipe)
        _check_names(recipe)
        check_vision(recipe)
        check_sources(recipe)
        check_unheard(recipe)
        check_evolving(recipe)
        check_holdout(recipe, getattr(recipe, "data", {}), benches_of(recipe))
        if isinstance(recipe, EvalRecipe):
            _check_benches(recipe.benches, "benches")
            check_benches_route_nothing(recipe.benches, "benches")
            check_tracked(recipe.benches, "benches")
            if isinstance(recipe, ExperienceRecipe):
                check_experience(recipe)
                _check_verifiers(recipe.data, recipe.verifiers)
            else:
                _check_overruled(recipe.rollout)
            check_ahead(recipe)
            check_engines(recipe)
            check_placement(recipe)
            check_environments(recipe)
            return
        if not recipe.data:
            raise ValueError("data is empty; add e.g. `- data@data.train: addition` to the defaults list")
        _check_sleep(recipe)
        _check_head(recipe)
        _check_shared_rows(recipe)
        check_verifiers_by(recipe)
        if isinstance(recipe, Recipe):
            _check_verifiers(recipe.data, recipe.verifiers)
            _check_benches(recipe.eval.benches, "eval.benches")
            check_benches_route_nothing(recipe.eval.benches, "eval.benches")
            check_tracked(recipe.eval.benches, "eval.benches")
            _check_best(recipe)
            _check_stages(recipe)
            _check_watched(recipe)
            _check_sandboxed(recipe)
            _check_critic(recipe)
            _check_pairs(recipe)
            check_trees(recipe)
            check_ahead(recipe)
            check_engines(recipe)
            check_placement(recipe)
            check_environments(recipe)
            check_distillation(recipe)
            check_diagnosis(recipe)
            check_controller(recipe)
        else:
            refuse_environments(recipe.data, f"{recipe.algorithm.name} samples nothing")
            if isinstance(recipe, DistillationRecipe):
                check_on_data(recipe)
    except ValueError as error:
        raise place.complain(error) from error


def _check_sleep(recipe: Recipe | SFTRecipe) -> None:
    """A trainer that sleeps needs an engine that samples meanwhile, and that makes room afterwards."""
    if not recipe.trainer.sleep:
        return
    if isinstance(recipe, SFTRecipe):
        raise ValueError(
            f"trainer.sleep is for while an engine samples; {recipe.algorithm.name} samples nothing: "
            f"leave it out"
        )
    if not recipe.rollout.sleep:
        raise ValueError(
            "trainer.sleep has no use with rollout.sleep=false: the engine's memory stays while the trainer "
            "works; set rollout.sleep=true"
        )


def _check_head(recipe: Recipe | SFTRecipe) -> None:
    """An output layer in fp32 where all else is fp32 already."""
    sampled = recipe.rollout.dtype if isinstance(recipe, Recipe) else None
    precisions = {recipe.trainer.precision, sampled or recipe.trainer.precision}
    if recipe.model.fp32_head and precisions == {Precision.fp32}:
        raise ValueError(
            "model.fp32_head has no use where trainer.precision is fp32: all of the model is; leave it out, "
            "or set trainer.precision=bf16"
        )


def _check_shared_rows(recipe: Recipe | SFTRecipe) -> None:
    """Ranks can share a row of sequences that lie end to end in rlvr's own attention."""
    size, attention = recipe.trainer.sequence_parallel, recipe.model.attention
    if size > 1 and attention != "auto":
        raise ValueError(
            f"trainer.sequence_parallel is {size}, and model.attention={attention} does not know of rows "
            "that ranks share; set model.attention=auto, or trainer.sequence_parallel=1"
        )


def _check_pairs(recipe: Recipe) -> None:
    """A loss on pairs is differentiated once a step."""
    if recipe.algorithm.advantage.name == "online_pairs" and updates_in_step(recipe) > 1:
        raise ValueError(
            "batch.updates_per_step must be 1 with algorithm.advantage=online_pairs, whose gradient is that "
            "of the policy at the start of the step, and token_weights one of a single update, as all"
        )


def _check_critic(recipe: Recipe) -> None:
    """A critic's settings without a critic, or a policy that would never move."""
    advantage, critic, steps = recipe.algorithm.advantage, recipe.critic, recipe.trainer.steps
    if advantage.needs_critic:
        if critic.pretrain_steps >= steps:
            raise ValueError(
                f"critic.pretrain_steps is {critic.pretrain_steps}; it must be below trainer.steps "
                f"({steps}), or the policy never moves"
            )
        return
    changed = [f.name for f in fields(Critic) if getattr(critic, f.name) != getattr(Critic(), f.name)]
    if changed:
        raise ValueError(
            f"critic.{changed[0]} is set, but algorithm.advantage={advantage.name} has no critic; "
            "leave it out, or choose algorithm=ppo"
        )


def _check_sandboxed(recipe: Recipe) -> None:
    """A verifier with limits of its own stays within those of a worker, which ends it without a verdict."""
    found = {f"verifiers.{key}": verifier for key, verifier in recipe.verifiers.items()}
    found |= {f"eval.benches.{key}.verifier": bench.verifier for key, bench in recipe.eval.benches.items()}
    for key, verifier in found.items():
        needed, limit = getattr(verifier, "needs_s", 0.0), recipe.verification.timeout_s
        if needed > limit:
            raise ValueError(
                f"verification.timeout_s is {limit:g}, and the limits of {key} add up to {needed:g}; "
                f"set verification.timeout_s={needed:g}, or lower those"
            )
        memory = getattr(verifier, "memory_mb", 0)
        if 0 < recipe.verification.memory_mb < memory:
            raise ValueError(
                f"{key}.memory_mb is {memory}, more than a worker may have (verification.memory_mb is "
                f"{recipe.verification.memory_mb}); raise that, or lower {key}.memory_mb"
            )


def _check_names(recipe: Recipe | SFTRecipe | EvalRecipe) -> None:
    """The name and the keys that are chosen freely: they become names of files, folders and metrics."""
    chosen = [("name", "is", recipe.name)]
    for section in ("data", "verifiers", "stages", "benches", "eval.benches"):
        found: object = recipe
        for part in section.split("."):
            found = getattr(found, part, None)
        if isinstance(found, Mapping):
            chosen += [(section, "has the key", str(key)) for key in found]
    for section, has, name in chosen:
        if not re.fullmatch(NAME, name):
            shown = name if len(name) <= SHOWN else f"{name[:SHOWN]}..."
            raise ValueError(
                f"{section} {has} '{shown}'; use letters, digits and . _ + - only, at most {LONGEST_NAME}"
            )
    if recipe.out is not None and not recipe.out.strip("./~ "):
        raise ValueError(f"out is '{recipe.out}'; it must be a directory of its own, e.g. runs/{recipe.name}")


def _check_verifiers(data: Mapping[str, Source], verifiers: Mapping[str, object]) -> None:
    for key, source in data.items():
        if not source.verifiers and "verifiers" not in source.columns and not source.verifiers_by.column:
            if not verifiers:
                raise ValueError(
                    f"data.{key}.verifiers is empty, and no verifier is defined; add e.g. "
                    "`- verifier@verifiers.math: math` to the defaults list"
                )
            raise ValueError(f"data.{key}.verifiers is empty; name at least one of: {', '.join(verifiers)}")
        for name in source.verifiers:
            if name not in verifiers:
                raise ValueError(f"data.{key}.verifiers: '{name}' is not in verifiers{hint(name, verifiers)}")
        if source.verifiers and all(getattr(verifiers[name], "gate", False) for name in source.verifiers):
            raise ValueError(
                f"data.{key}.verifiers: {', '.join(source.verifiers)} only gate; one must score what passes"
            )


def _check_stages(recipe: Recipe) -> None:
    """Every rule for the recipe as written holds in each of its stages."""
    found = stages_of(recipe)
    for key, staged in zip(["", *recipe.stages], found, strict=True):
        try:
            check_algorithm(
                staged.algorithm, group_size=staged.batch.group_size, max_tokens=staged.rollout.max_tokens
            )
        except ValueError as error:
            raise ValueError(f"stages.{key}: {error}" if key else str(error)) from error
    used = any(staged.algorithm.kl.needs_reference for staged in found)
    if not used:
        check_reference(recipe.algorithm)
    for key, stage in recipe.stages.items():
        if stage.reset_reference and not used:
            raise ValueError(
                f"stages.{key}.reset_reference renews a reference policy that nothing uses: choose "
                "algorithm/kl=loss or algorithm/kl=reward with a coef above 0"
            )


def _check_watched(recipe: Recipe) -> None:
    """A reference that is reset by validation needs validation."""
    rule, benches = recipe.algorithm.reference, recipe.eval.benches
    if rule.patience is None:
        return
    if not benches or recipe.eval.every is None:
        raise ValueError(
            f"algorithm.reference.patience is {rule.patience}, but nothing is evaluated on the way; it needs "
            "eval.every and a bench such as +bench@eval.benches.addition=addition"
        )
    if rule.bench is not None and rule.bench not in benches:
        raise ValueError(
            f"algorithm.reference.bench: '{rule.bench}' is not in eval.benches{hint(rule.bench, benches)}"
        )


def _check_best(recipe: Recipe) -> None:
    if recipe.checkpoint.best is None:
        return
    name, _, metric = recipe.checkpoint.best.partition("/")
    if name not in recipe.eval.benches:
        raise ValueError(f"checkpoint.best: eval.benches has no '{name}'{hint(name, recipe.eval.benches)}")
    bench = recipe.eval.benches[name]
    known = score_names(bench.k, bench.pass_at, bench.majority)
    if metric not in known:
        raise ValueError(f"checkpoint.best: {name} has no score '{metric}'{hint(metric, known)}")


def _check_overruled(rollout: Rollout) -> None:
    """How a bench is sampled is part of its protocol: the same key of `rollout` would be ignored."""
    for key in ("temperature", "top_p", "max_tokens", "stop"):
        if getattr(rollout, key) != getattr(Rollout(), key):
            raise ValueError(f"rollout.{key} does nothing here; set benches.<name>.{key}")


def _check_benches(benches: Mapping[str, Bench], prefix: str) -> None:
    for key, bench in benches.items():
        limits = (("k", 1), ("max_tokens", 1), ("temperature", 0), ("max_prompt_tokens", 1))
        for field, least in limits:
            value = getattr(bench, field)
            if value is not None and value < least:
                raise ValueError(f"{prefix}.{key}.{field} is {value}; it must be at least {least}")
        if not 0 < bench.top_p <= 1:
            raise ValueError(f"{prefix}.{key}.top_p is {bench.top_p}; it must be in (0, 1]")
        if bad := [j for j in bench.pass_at if not 1 <= j <= bench.k]:
            raise ValueError(
                f"{prefix}.{key}.pass_at asks for pass@{bad[0]}, which takes 1 to k = {bench.k} samples; "
                f"set {prefix}.{key}.k={max(bad)} (-k {max(bad)}) or another pass_at"
            )
        if bench.temperature == 0 and bench.k > 1:
            raise ValueError(
                f"{prefix}.{key}.k is {bench.k}, but at temperature 0 all samples are the same; "
                f"set k=1 or {prefix}.{key}.temperature"
            )
