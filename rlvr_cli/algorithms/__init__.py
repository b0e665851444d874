"""Algorithms are presets over orthogonal axes; each option of an axis is a dataclass with `__call__`.

A file in this package declares options with `@option("<axis>")`; its fields are the hyperparameters
(the YAML schema) and `__call__` is the pure tensor maths. `conf/algorithm/<preset>.yaml` names one
option per axis. A new algorithm is one such file and one YAML; nothing central changes.

Shapes are in the names:

    _P   prompts                        _PG, _P1   row per prompt
    _G   samples of a prompt            _B         P * G sequences, row-major
    _N   the response tokens of all sequences, end to end
    lengths_B (int) says how many of them each sequence has, maybe 0; they sum to N.

There is no padding. What an axis takes and returns stands at the top of its file, the formula, its
source and how other implementations differ in the option's docstring; numbers such as 2402.03300 are
arXiv's. In formulas r is a reward, A an advantage, new, old, rollout and ref are log-probabilities.

Option files import torch under TYPE_CHECKING only and compute with tensor methods, so that recipes
are composed and checked before torch is loaded.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar, dataclass_transform

from omegaconf import MISSING

AXES = (
    "shaping",  # score -> reward
    "filter",  # which groups train
    "advantage",  # reward -> advantage
    "reweight",  # factor on the advantage, e.g. by prompt difficulty
    "token_weights",  # which tokens count
    "loss",  # ratio and clip
    "aggregation",  # how tokens add up
    "mismatch",  # trainer against rollout logprobs
    "kl",  # penalty towards the reference policy
    "reference",  # when the reference is renewed
    "entropy",  # bonus
    "gradient",  # clipping after backward
)

_OPTIONS: dict[str, dict[str, type]] = {axis: {} for axis in AXES}
T = TypeVar("T")


@dataclass(kw_only=True)
class Algorithm:
    """One option per axis. Instances hold the options' dataclasses, ready to be called."""

    name: str = MISSING
    shaping: Any = MISSING
    filter: Any = MISSING
    advantage: Any = MISSING
    reweight: Any = MISSING
    token_weights: Any = MISSING
    loss: Any = MISSING
    aggregation: Any = MISSING
    mismatch: Any = MISSING
    kl: Any = MISSING
    reference: Any = MISSING
    entropy: Any = MISSING
    gradient: Any = MISSING


@dataclass_transform(kw_only_default=True)
def option(axis: str) -> Callable[[type[T]], type[T]]:
    """Class decorator: a keyword-only dataclass whose `name` field's default is the option's name."""

    def register(cls: type[T]) -> type[T]:
        cls = dataclass(kw_only=True)(cls)
        _OPTIONS[axis][cls.name] = cls  # type: ignore[attr-defined]
        return cls

    return register


def options(axis: str) -> dict[str, type]:
    """Name -> dataclass of every option of an axis, after importing all files of this package."""
    for module in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    return _OPTIONS[axis]
