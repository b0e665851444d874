"""Trainer -> rollout engine, and the proof that the weights arrived."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, cycle, islice

import numpy as np
import torch
from torch import Tensor

from rlvr_cli.core import distributed
from rlvr_cli.core.types import Problem
from rlvr_cli.data.sampler import Sampler
from rlvr_cli.engine.trainer import Trainer
from rlvr_cli.rollout import Engine, SyncError
from rlvr_cli.rollout.fingerprints import Receipt
from rlvr_cli.schema import Precision, Recipe, Rollout, RolloutLora
from rlvr_cli.training.parts import Parts
from rlvr_cli.training.rest import make_room, probe_logprobs, rest

PROBE = 64
"""Tokens that engine and trainer are compared on."""
DRIFT = 3.0
"""After a sync the two may differ by this many times what they did on the start model."""


def probe_tokens(sampler: Sampler[Problem], rollout: Rollout) -> list[int]:
    """The first prompts of the run's problems, end to end: text a model is made for. Of images the first
    prompt as it is, as a part of one is none."""
    length = min(PROBE, rollout.max_prompt_tokens + rollout.max_tokens - 1)
    of_all = [problem for items in sampler.items.values() for problem in items]
    if (seen := next((p.tokens for p in of_all if min(p.tokens, default=0) < 0), None)) is not None:
        return list(seen)
    problems = cycle(of_all)
    return list(islice(chain.from_iterable(problem.tokens for problem in problems), length))


def sync(parts: Parts) -> None:
    """Hand the trainer's weights to the rollout engine, which proves by fingerprints that it holds them.

    Then the two are compared on the probe. Raises SyncError when a number differs, or logprobs by more than
    rounding: what is sampled from then on would come from another policy than the one trained. What runs
    beside the trainer is paused before, and goes on with the next step.
    """
    if parts.ahead is not None:
        parts.ahead.pause(updating=True)
    tell(parts, parts.engine.load(sent(parts), version=parts.step))
    others = (parts.critic, parts.reference, parts.lessons)
    parts.expected = rest(parts.recipe.trainer, parts.trainer, others, parts.probe_tokens)
    parts.engine.wake()
    tolerance = sync_tolerance(parts.recipe, parts.start_gap)
    demand_agreement(parts, tolerance, "after a weight sync", "it does not hold the trainer's weights")


def sent(parts: Parts) -> Iterator[tuple[str, Tensor]]:
    """What the engine is to hold: all weights, or the adapters alone. All ranks must take them in step."""
    alone = parts.recipe.rollout.lora is RolloutLora.adapter
    return parts.trainer.adapters() if alone else parts.trainer.weights()


@contextmanager
def trainer_awake(parts: Parts, *, sync_after: bool = True) -> Iterator[None]:
    """Use of the trainer between a sync and the next samples: an engine that makes room is synced again."""
    made = make_room(parts)
    yield
    if made and sync_after:
        sync(parts)


def tell(parts: Parts, receipt: Receipt) -> None:
    """Once: what of the engine's weights no fingerprint vouches for. Keeps their share for the metrics."""
    parts.verified = receipt.verified
    for what, names in (("packs", list(receipt.untold)), ("was sent only a part of", receipt.partial)):
        if names and not parts.told_of_sync:
            shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            parts.tracker.event(
                "warning",
                f"weight sync: the engine {what} {len(names)} parameters ({shown}): they cannot be compared "
                "with what was sent, and the probe alone speaks for them",
            )
    parts.told_of_sync = True


def engine_precision(recipe: Recipe) -> Precision:
    return recipe.rollout.dtype or recipe.trainer.precision


def probe_tolerance(recipe: Recipe, *, bf16: float = 0.3) -> float:
    """Largest gap on the start model; `bf16`: what rounding may do there where the recipe does not say."""
    if recipe.rollout.probe_tolerance is not None:
        return recipe.rollout.probe_tolerance
    if not _is_exact(recipe):
        return bf16
    return 5e-3 if torch.cuda.is_available() else 1e-4  # attention in Triton multiplies in TF32


def sync_tolerance(recipe: Recipe, start_gap: float) -> float:
    """Largest gap after a sync: rounding as on the start model, whose gap is given, or a little more."""
    if recipe.rollout.probe_tolerance is not None:
        return recipe.rollout.probe_tolerance
    return max(probe_tolerance(recipe, bf16=0.02), DRIFT * start_gap)


def _is_exact(recipe: Recipe) -> bool:
    return recipe.trainer.precision is engine_precision(recipe) is Precision.fp32


def probe_gap(
    engine: Engine, trainer: Trainer, probe_tokens: list[int], expected: np.ndarray | None = None
) -> float:
    """Mean |logprob difference| of engine and trainer on the probe: that of the worst rank, on every rank.

    `expected`: of a trainer that sleeps.
    """
    ours = np.asarray(engine.probe(probe_tokens))
    theirs = probe_logprobs(trainer, probe_tokens) if expected is None else expected
    gaps = distributed.gather(float(np.abs(ours - theirs).mean()))
    return float(np.max(gaps))  # NaN where any is; Python's max may pass over it


def self_check(parts: Parts) -> None:
    """The engine read the start model from disk: it must agree with the trainer before any sync.

    Keeps the gap, by which later ones are judged. The first sync then proves that reloading weights works in
    this version of the engine.
    """
    tolerance = probe_tolerance(parts.recipe)
    meaning = "the two implement this model differently"
    parts.start_gap = demand_agreement(parts, tolerance, "before training", meaning)


def demand_agreement(parts: Parts, tolerance: float, when: str, meaning: str) -> float:
    """The gap of engine and trainer on the probe; SyncError when it is larger than rounding."""
    gap = probe_gap(parts.engine, parts.trainer, parts.probe_tokens, parts.expected)
    if not gap <= tolerance:  # also when the gap is NaN
        raise SyncError(
            f"{when}, the rollout engine's logprobs are off by {gap:.2e} on average "
            f"(at most {tolerance:.2g} is allowed, see rollout.probe_tolerance): {meaning}"
        )
    return gap
