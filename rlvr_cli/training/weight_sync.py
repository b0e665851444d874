"""Trainer -> rollout engine, and the proof that the weights arrived."""

from __future__ import annotations

import numpy as np

from rlvr_cli.core import distributed
from rlvr_cli.engine.trainer import Trainer
from rlvr_cli.rollout import Engine, SyncError
from rlvr_cli.schema import Precision, Recipe, Rollout
from rlvr_cli.training.parts import Parts


def probe_tokens(vocabulary: int, rollout: Rollout) -> list[int]:
    """A fixed sequence of arbitrary tokens."""
    length = min(64, rollout.max_prompt_tokens + rollout.max_tokens - 1)
    return np.random.default_rng(20260101).integers(0, vocabulary, size=length).tolist()


def sync(parts: Parts) -> None:
    """Hand the trainer's weights to the rollout engine and compare the two on a fixed sequence.

    Raises SyncError when their logprobs differ by more than rounding: what is sampled from then on would
    come from another policy than the one trained.
    """
    parts.engine.wake()
    parts.engine.load(parts.trainer.weights())
    demand_agreement(parts, "after a weight sync", "it does not hold the trainer's weights")


def engine_precision(recipe: Recipe) -> Precision:
    return recipe.rollout.dtype or recipe.trainer.precision


def probe_tolerance(recipe: Recipe) -> float:
    if recipe.rollout.probe_tolerance is not None:
        return recipe.rollout.probe_tolerance
    exact = recipe.trainer.precision is Precision.fp32 and engine_precision(recipe) is Precision.fp32
    return 1e-4 if exact else 0.1


def probe_gap(engine: Engine, trainer: Trainer, probe_tokens: list[int]) -> float:
    """Mean |logprob difference| of engine and trainer on the probe: that of the worst rank, on every rank."""
    ours = np.asarray(engine.probe(probe_tokens))
    sequence = np.asarray(probe_tokens, np.int32)
    theirs, _, _ = trainer.score([sequence], [np.arange(len(sequence)) > 0], temperature=1.0)
    gaps = distributed.gather(float(np.abs(ours - theirs.numpy()).mean()))
    return float(np.max(gaps))  # NaN where any is; Python's max may pass over it


def self_check(parts: Parts) -> None:
    """The engine read the start model from disk: it must agree with the trainer before any sync.

    The first sync then proves that reloading weights works in this version of the engine.
    """
    demand_agreement(parts, "before training", "the two implement this model differently")


def demand_agreement(parts: Parts, when: str, meaning: str) -> None:
    """Raise SyncError when engine and trainer differ by more than rounding on the probe."""
    gap = probe_gap(parts.engine, parts.trainer, parts.probe_tokens)
    tolerance = probe_tolerance(parts.recipe)
    if not gap <= tolerance:  # also when the gap is NaN
        raise SyncError(
            f"{when}, the rollout engine's logprobs are off by {gap:.2e} on average "
            f"(rollout.probe_tolerance {tolerance:.0e}): {meaning}"
        )
