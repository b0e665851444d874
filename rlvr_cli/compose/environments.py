"""Whether a recipe's environments are used, can be played with, and are there where they are named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rlvr_cli.core.errors import hint
from rlvr_cli.schema import Bench, EvalRecipe, Placement, Recipe, Rollout, Source
from rlvr_cli.verifiers.environment import by_turn

SAYS_NOTHING = "one answer is judged there: set data.{}.environment, or take another verifier"


def check_environments(recipe: Recipe | EvalRecipe) -> None:
    """ValueError for what would be ignored or could not work."""
    if isinstance(recipe, Recipe):
        _check_sources(recipe)
    if not isinstance(recipe, EvalRecipe) or not recipe.rescore:  # else the episodes are stored
        _check_benches(recipe)
    if (key := next(played(recipe), None)) is None:
        return
    _check_engine(key, recipe.rollout)
    if isinstance(recipe, EvalRecipe) and recipe.server.url is not None:
        raise ValueError(
            f"{key}: server.url samples texts, and episodes go on from tokens: set no server.url"
        )
    if isinstance(recipe, Recipe):
        _check_credit(recipe)
    if isinstance(recipe, Recipe) and hasattr(recipe.algorithm.advantage, "boundaries"):
        raise ValueError(
            f"{key}: algorithm.advantage={recipe.algorithm.advantage.name} samples anew from within a "
            "response, and an environment cannot go back; choose another advantage"
        )


def played(recipe: Recipe | EvalRecipe) -> Iterator[str]:
    """Keys that have problems played with an environment."""
    for name, source in recipe.data.items() if isinstance(recipe, Recipe) else ():
        if source.environment is not None:
            yield f"data.{name}.environment"
    prefix, benches = _benches(recipe)
    for name, bench in benches.items():
        if bench.environment is not None:
            yield f"{prefix}.{name}.environment"


def refuse_environments(data: Mapping[str, Source], why: str) -> None:
    """ValueError where a source has an environment and nothing is played."""
    for name, source in data.items():
        if source.environment is not None:
            raise ValueError(f"data.{name}.environment has no use: {why}; leave it out")


def _benches(recipe: Recipe | EvalRecipe) -> tuple[str, Mapping[str, Bench]]:
    return (
        ("eval.benches", recipe.eval.benches) if isinstance(recipe, Recipe) else ("benches", recipe.benches)
    )


def _check_sources(recipe: Recipe) -> None:
    for name, source in recipe.data.items():
        wanted = source.environment
        if wanted is not None and wanted not in recipe.environments:
            known = hint(wanted, recipe.environments)
            raise ValueError(f"data.{name}.environment: '{wanted}' is not in environments{known}")
        reading = [
            key for key in source.verifiers if key in recipe.verifiers and _reads(recipe.verifiers[key])
        ]
        if wanted is None and reading:
            raise ValueError(f"data.{name}.verifiers: {reading[0]}: {SAYS_NOTHING.format(name)}")
    used = {source.environment for source in recipe.data.values()}
    for name in recipe.environments:
        if name not in used and not _in_a_bench(recipe, name):
            raise ValueError(f"environments.{name} is used by no source; set data.<name>.environment={name}")


def _in_a_bench(recipe: Recipe, name: str) -> bool:
    return any(bench.environment == recipe.environments[name] for bench in recipe.eval.benches.values())


def _check_benches(recipe: Recipe | EvalRecipe) -> None:
    prefix, benches = _benches(recipe)
    for name, bench in benches.items():
        if bench.source.environment is not None:
            raise ValueError(
                f"{prefix}.{name}.source.environment names one of a run's; set {prefix}.{name}.environment, "
                "a section with a name"
            )
        if bench.environment is None and _reads(bench.verifier):
            raise ValueError(
                f"{prefix}.{name}.verifier reads what an environment gives, and the bench has none; set "
                f"{prefix}.{name}.environment"
            )


def _check_credit(recipe: Recipe) -> None:
    """Rewards of single turns, where nothing else mixes with them and the advantage does not add them up."""
    for key, verifier in recipe.verifiers.items():
        if not by_turn(verifier):
            continue
        if not getattr(recipe.algorithm.advantage, "by_token", False):
            raise ValueError(
                f"verifiers.{key}.credit=turn: algorithm.advantage={recipe.algorithm.advantage.name} gives "
                "one advantage to a whole sample; take gae, reinforce or batch_whitened, or credit=episode"
            )
        mixed = [name for name, s in recipe.data.items() if key in s.verifiers and len(s.verifiers) > 1]
        if mixed:
            raise ValueError(
                f"verifiers.{key}.credit=turn and data.{mixed[0]}.verifiers has others, whose scores are of "
                "the whole episode; leave them out, or set credit=episode"
            )


def _reads(verifier: object) -> bool:
    return hasattr(verifier, "of_sample")


def _check_engine(key: str, rollout: Rollout) -> None:
    if rollout.max_staleness:
        raise ValueError(
            f"{key}: rollout.max_staleness={rollout.max_staleness} would leave episodes half played; set "
            "rollout.max_staleness=0"
        )
    if rollout.tensor_parallel > 1 and rollout.placement is Placement.in_process:
        raise ValueError(
            f"{key}: with rollout.tensor_parallel={rollout.tensor_parallel} an engine in the trainer's "
            "process has several ranks, and an episode is played by one; set rollout.placement=servers"
        )
