"""A preset of an algorithm as composing makes it."""

from pathlib import Path

import yaml
from omegaconf import OmegaConf

import rlvr_cli
from rlvr_cli.algorithms import Algorithm, options
from rlvr_cli.core import shipped_recipes

FOLDER = Path(rlvr_cli.__file__).parent / "conf" / "algorithm"
PRESETS = {name: FOLDER / f"{name}.yaml" for name in sorted(shipped_recipes.presets())}
"""Of reinforcement learning."""


def preset(name: str) -> Algorithm:
    """The preset as composing makes it: option schemas, then the preset's own values."""
    tree = yaml.safe_load(PRESETS[name].read_text())
    chosen = {axis: option for entry in tree.pop("defaults")[:-1] for axis, option in entry.items()}
    parts = {axis: OmegaConf.structured(options(axis)[option]) for axis, option in chosen.items()}
    root = OmegaConf.create({"rollout": {"max_tokens": 64}, "algorithm": parts})
    merged = OmegaConf.merge(root, {"algorithm": tree})
    OmegaConf.resolve(merged)
    return Algorithm(
        name=merged.algorithm.name, **{axis: OmegaConf.to_object(merged.algorithm[axis]) for axis in parts}
    )
