"""The vision tower of a model that sees: its size, how much of a prompt is images, what passes through it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlvr_cli.core.model_paths import TINY_VISION
from rlvr_cli.engine.tiny_vision import SIDE
from rlvr_cli.schema import Model, Vision

MOST_PIXELS = 12_845_056
"""Of an image, where no processor's file is here to say: Qwen2.5-VL's."""
CHANNELS = 3 * 2
"""Numbers of a patch for each of its pixels: colours, and two moments in time."""


@dataclass(frozen=True, kw_only=True)
class Tower:
    """Sizes of a tower, with the layers that lead to the language model."""

    parameters: int
    trained: bool
    layers: int
    hidden: int
    inner: int
    gated: bool
    patch: int
    """Pixels of a patch's side."""
    merge: int
    """Patches of a token's side."""
    most_pixels: int
    """Of one image, as the model sees it."""
    deep: int = 0
    """Layers besides the last one that say something of an image token (DeepStack)."""

    @property
    def most_tokens(self) -> int:
        """Of one image."""
        return self.most_pixels // (self.patch * self.merge) ** 2

    def patches(self, tokens: float) -> float:
        return tokens * self.merge**2

    def operations(self, tokens: float) -> float:
        """Of a forward pass for images of so many tokens; scores of attention are not counted."""
        return 2 * self.parameters * self.patches(tokens)

    def kept(self, tokens: float, width: int, *, checkpointing: bool) -> float:
        """Bytes for the backward pass of a trained tower, counted on Qwen2.5-VL's: pixels and the merger (6
        hidden); of every layer norms (6 hidden), queries and keys before and after their rotation, values and
        output (8 hidden), and the feed-forward layer. Of a frozen one 0."""
        if not self.trained:
            return 0.0
        layer = width * (14 * self.hidden + self.inner * (4 if self.gated else 2))
        held = layer + width * self.hidden * self.layers if checkpointing else layer * self.layers
        return self.patches(tokens) * (held + 4 * CHANNELS * self.patch**2 + width * 6 * self.hidden)

    def passing(self, tokens: float, width: int) -> float:
        """Bytes held while a layer runs: pixels in fp32, its inputs and what it makes of them."""
        pixels = 4 * CHANNELS * self.patch**2
        return self.patches(tokens) * (pixels + width * (8 * self.hidden + 4 * self.inner))


def tower_of_config(model: Model, config: Any, parameters: int, *, gated: bool) -> Tower | None:
    """None where there are no `parameters` of one."""
    vision = getattr(config, "vision_config", None)
    if not parameters or vision is None:
        return None
    return Tower(
        parameters=parameters,
        trained=model.vision is Vision.train and not model.lora.rank,
        layers=int(vision.depth),
        hidden=int(getattr(vision, "embed_dim", None) or vision.hidden_size),
        inner=int(getattr(vision, "intermediate_size", None) or 4 * vision.hidden_size),
        gated=gated,
        patch=int(vision.patch_size),
        merge=int(vision.spatial_merge_size),
        most_pixels=model.max_pixels or most_pixels(model),
        deep=len(getattr(vision, "deepstack_visual_indexes", None) or ()),
    )


def most_pixels(model: Model) -> int:
    """As the model's own processor limits images."""
    if model.path == TINY_VISION:
        return int(SIDE**2)
    try:
        found = json.loads((Path(model.path).expanduser() / "preprocessor_config.json").read_bytes())
        return int(found.get("max_pixels") or found["size"]["longest_edge"])
    except (OSError, ValueError, KeyError, TypeError):
        return MOST_PIXELS
