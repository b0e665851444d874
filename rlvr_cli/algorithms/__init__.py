"""Algorithms are presets over orthogonal axes; each option of an axis is a dataclass with `__call__`.

A file in this package declares options with `@option("<axis>")`; its fields are the hyperparameters
(the YAML schema) and `__call__` is the pure tensor maths. `conf/algorithm/<preset>.yaml` names one
option per axis. A new algorithm is one such file and one YAML; nothing central changes. Plugins
declare options in the same way, in files of their own (core/plugins.py).

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
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any, TypeVar, dataclass_transform

from omegaconf import MISSING

from rlvr_cli.core import plugins
from rlvr_cli.core.errors import hint

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
    "distillation",  # a teacher's opinion, as advantage or loss
    "reference",  # when the reference is renewed
    "entropy",  # bonus
    "gradient",  # clipping after backward
)

PREFERENCE = "preference"
"""What a recipe of preferences has in the place of the twelve: its loss. No axis, since nothing is
sampled, and nothing that the others compute has a meaning there."""
DISTILLATION = "distillation"
"""All that a recipe of distillation on data has of the axes: the teacher's."""
PARTS = (*AXES, PREFERENCE)

_OPTIONS: dict[str, dict[str, type]] = {part: {} for part in PARTS}
"""Those of this package; options of plugins are found where they stand."""
NEEDED = {
    "filter": ("drops",),
    "advantage": ("needs_group", "needs_critic"),
    "reweight": ("needs_group", "observe"),
    "token_weights": ("needs_entropy", "needs_old_logprobs"),
    "mismatch": ("proximal", "weighs", "recomputes", "needs_old_logprobs"),
    "kl": ("in_loss", "in_reward", "needs_reference"),
    "distillation": ("needs_teacher", "in_reward", "in_loss", "task_coef"),
    "reference": ("resets", "reset_optimizer", "patience"),
    "entropy": ("needs_entropy", "observe"),
    "gradient": ("max_norm", "needs_layer_norms", "log_layers"),
    PREFERENCE: ("needs_reference", "unpaired"),
}
"""What an option of an axis must have besides `name` and its call: it is read of each."""
T = TypeVar("T")


def no_distillation() -> Any:
    """What a preset that does not name the axis has."""
    return options("distillation")["none"]()


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
    distillation: Any = field(default_factory=no_distillation)
    reference: Any = MISSING
    entropy: Any = MISSING
    gradient: Any = MISSING


@dataclass_transform(kw_only_default=True)
def option(axis: str) -> Callable[[type[T]], type[T]]:
    """Class decorator: a keyword-only dataclass whose `name` field's default is the option's name.

    ValueError for a class that cannot be an option of this axis.
    """
    if axis not in PARTS:
        raise ValueError(f"algorithms have no axis '{axis}'{hint(axis, PARTS)}")

    def register(cls: type[T]) -> type[T]:
        cls = dataclass(kw_only=True)(cls)
        if not isinstance(getattr(cls, "name", None), str):
            raise ValueError(f'{cls.__name__} has no name; give it `name: str = "..."`')
        needed = ("cause" if axis == "reference" else "__call__", *NEEDED.get(axis, ()))
        has = {*dir(cls), *cls.__dataclass_fields__}  # type: ignore[attr-defined]
        if absent := [name for name in needed if name not in has]:
            raise ValueError(f"{cls.__name__} lacks what an option of {axis} needs: {', '.join(absent)}")
        cls._axis = axis  # type: ignore[attr-defined]
        if cls.__module__.startswith(f"{__name__}."):
            _OPTIONS[axis][cls.name] = cls  # type: ignore[attr-defined]
        return cls

    return register


@cache
def _import_all() -> None:
    """The files of this package, looked for once."""
    for module in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")


def options(axis: str) -> dict[str, type]:
    """Name -> dataclass of every option of an axis: of all files of this package, and of plugins."""
    _import_all()

    def name_of(value: Any) -> str | None:
        return str(value.name) if vars(value).get("_axis") == axis else None

    known = dict(sorted(_OPTIONS[axis].items()))  # whoever has imported one of them first
    return plugins.collect(f"option of {axis}", known, name_of)
