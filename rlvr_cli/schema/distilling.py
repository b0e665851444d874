"""Recipes of distillation on data: what differs from supervised fine-tuning, whose keys they have."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from rlvr_cli.schema.recipes import SFT, SFTRecipe
from rlvr_cli.schema.teacher import Teacher


@dataclass(kw_only=True)
class Distilling(SFT):
    """Stands in the place of an algorithm in a recipe of distillation on data; a preset fills it in."""

    name: str = "kd"
    """Name of the preset."""
    distillation: Any = MISSING
    """What is made of the teacher's distributions, an option that `name` picks."""


@dataclass(kw_only=True)
class DistillationRecipe(SFTRecipe):
    """Root of a recipe that trains on examples with a teacher beside them."""

    algorithm: Distilling = field(default_factory=Distilling)
    teacher: Teacher = field(default_factory=Teacher)
