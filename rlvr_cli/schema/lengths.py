"""How long prompts and responses of a recipe may be, in tokens."""

from __future__ import annotations

from collections.abc import Mapping

from rlvr_cli.schema.evaluation import Bench
from rlvr_cli.schema.recipes import Recipe
from rlvr_cli.schema.sampling import Rollout
from rlvr_cli.schema.stages import stages_of


def prompt_limit(bench: Bench, rollout: Rollout) -> int:
    """Longest prompt of a bench that is asked."""
    return rollout.max_prompt_tokens if bench.max_prompt_tokens is None else bench.max_prompt_tokens


def positions(benches: Mapping[str, Bench], rollout: Rollout) -> int:
    """Longest prompt and response together, over all benches."""
    return max((prompt_limit(b, rollout) + b.max_tokens for b in benches.values()), default=0)


def longest(recipe: Recipe) -> int:
    """Longest prompt and response together, of training in all its stages and of evaluation."""
    responses = [stage.rollout.max_tokens for stage in stages_of(recipe)]
    return max(
        recipe.rollout.max_prompt_tokens + max(responses), positions(recipe.eval.benches, recipe.rollout)
    )
