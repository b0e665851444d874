"""The example F1 of four responses, ten tokens: numbers that several pages of tests work out by hand."""

from typing import Any

import pytest
import torch
from torch import Tensor

from rlvr_cli.algorithms import AXES, Algorithm, options
from rlvr_cli.algorithms.advantage import AdvantageInputs
from rlvr_cli.algorithms.objective import policy_loss


def flat(*rows: list[float]) -> Tensor:
    return torch.tensor([x for row in rows for x in row], dtype=torch.float64)


REWARDS = torch.tensor([[1.0, 0.0, 0.0, 1.0]], dtype=torch.float64)
LENGTHS = torch.tensor([2, 4, 3, 1])
OLD = flat([-0.5, -1.0], [-0.2, -0.7, -1.5, -0.1], [-2.0, -0.3, -0.4], [-0.05])
NEW = flat([-0.3, -0.7], [-0.25, -1.1, -1.2, -0.1], [-1.6, -0.35, -0.8], [-0.04])
REF = flat([-0.6, -0.9], [-0.2, -0.8, -1.4, -0.3], [-2.2, -0.3, -0.5], [-0.05])
ROLL = flat([-0.5, -1.1], [-0.3, -0.7, -0.6, -0.1], [-2.0, -0.2, -0.4], [-0.05])
ENTROPY = flat([0.01, 1.2], [0.3, 0.02, 2.0, 0.05], [0.9, 0.001, 0.6], [0.4])
ALL = torch.ones(10, dtype=torch.bool)
AGGREGATIONS = ["token_mean", "seq_mean_token_mean", "seq_mean_token_sum", "constant"]
DEFAULTS: dict[str, Any] = {
    "shaping": "identity",
    "filter": "none",
    "advantage": "group_zscore",
    "reweight": "none",
    "token_weights": "all",
    "loss": "clipped",
    "aggregation": "token_mean",
    "mismatch": "none",
    "kl": "none",
    "distillation": "none",
    "reference": "fixed",
    "entropy": "none",
    "gradient": "global_clip",
}


def make(axis: str, option: str, **values: Any) -> Any:
    return options(axis)[option](**values)


def algorithm(**parts: Any) -> Algorithm:
    """Every axis at a plain default, except those given (an option's name or an object)."""
    chosen = DEFAULTS | parts
    return Algorithm(
        name="test", **{a: make(a, chosen[a]) if isinstance(chosen[a], str) else chosen[a] for a in AXES}
    )


def advantages(option: Any, rewards_PG: Tensor = REWARDS, lengths_B: Tensor = LENGTHS, **more: Any) -> Tensor:
    return option(AdvantageInputs(rewards_PG=rewards_PG, lengths_B=lengths_B, **more))


def per_sample(advantages_N: Tensor, lengths_B: Tensor = LENGTHS) -> list[float]:
    """The one advantage of each sequence, after checking that all its tokens share it."""
    parts = advantages_N.split(lengths_B.tolist())
    assert all((part == part[0]).all() for part in parts)
    return [float(part[0]) for part in parts]


def total(recipe: Algorithm, advantages_N: Tensor, keep_N: Tensor = ALL, **tensors: Any) -> Tensor:
    """The loss on F1."""
    given = {"new_N": NEW, "old_N": OLD, "rollout_N": OLD, "ref_N": None, "entropy_N": None} | tensors
    weights_N = recipe.aggregation(keep_N, LENGTHS)
    return policy_loss(recipe, advantages_N=advantages_N, weights_N=weights_N, lengths_B=LENGTHS, **given)[0]


def aggregation(name: str, length: int = 4) -> Any:
    return make("aggregation", name, **({"length": length} if name == "constant" else {}))


def near(expected: Any) -> Any:
    return pytest.approx(expected, abs=1e-5)


ZSCORED = advantages(make("advantage", "group_zscore"))
