"""A row of tokens with images as the layers of a model take it: embeddings, and positions of three axes.

The tower is run once for every image that is in the row, however many sequences show it.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlvr_cli.vision.album import album, runs
from rlvr_cli.vision.processor import Processor


@dataclass(frozen=True, slots=True)
class Shown:
    """The images of rows [R, L] of tokens."""

    pixels: Tensor
    """float32 [patches, 3 x 2 x side x side] of all images, one after the other."""
    grid_I3: Tensor
    """Patches of each: 1, rows, columns."""
    places_k: Tensor
    """Index into the flattened rows of every image token."""
    features_k: Tensor
    """Which of the tower's outputs stands there."""

    def to(self, device: torch.device) -> Shown:
        return Shown(
            *(each.to(device) for each in (self.pixels, self.grid_I3, self.places_k, self.features_k))
        )


def show(ids_RL: Tensor, positions_RL: Tensor, processor: Processor) -> tuple[Tensor, Tensor, Shown | None]:
    """(token ids without numbers of images, positions [3, R, L], images; None: there are none).

    `positions_RL`: of each sequence from 0 on, as of a text. An image of h x w tokens takes as many of them
    as its longer side has, and its tokens have that of its first one plus their row and column (M-RoPE,
    Qwen2-VL, 2409.12191): what comes after it moves forward by h w - max(h, w).
    """
    flat, text = ids_RL.flatten().numpy(), positions_RL.flatten().numpy()
    positions = np.tile(text, (3, 1))
    found = runs(flat)
    starts = np.flatnonzero(text == 0)
    for place, number in found:
        image = album[number]
        end = starts[np.searchsorted(starts, place, "right") :]
        stop = int(end[0]) if len(end) else len(flat)
        row, column = np.divmod(np.arange(image.tokens), image.columns)
        here = slice(place, place + image.tokens)
        first = positions[0, place]
        positions[:, here] = first + np.stack([np.zeros_like(row), row, column])
        positions[:, here.stop : stop] -= image.tokens - max(image.rows, image.columns)
    ids = np.where(flat < 0, processor.pad, flat)
    shape = tuple(ids_RL.shape)
    shown = _shown(found, processor) if found else None
    return torch.from_numpy(ids).view(shape), torch.from_numpy(positions).view(3, *shape), shown


def _shown(found: list[tuple[int, int]], processor: Processor) -> Shown:
    numbers = list(dict.fromkeys(number for _, number in found))
    made = [processor.patches(number) for number in numbers]
    sizes = [album[number].tokens for number in numbers]
    begins = dict(zip(numbers, np.cumsum([0, *sizes[:-1]]).tolist(), strict=True))
    places = [np.arange(place, place + album[number].tokens) for place, number in found]
    features = [begins[number] + np.arange(album[number].tokens) for _, number in found]
    return Shown(
        torch.from_numpy(np.concatenate([pixels for pixels, _ in made])),
        torch.tensor([grid for _, grid in made]),
        torch.from_numpy(np.concatenate(places)),
        torch.from_numpy(np.concatenate(features)),
    )


def blank(processor: Processor) -> Shown:
    """An image of one token that stands nowhere: for ranks that must run the tower and have none to show."""
    patches = processor.merge**2
    none = torch.zeros(0, dtype=torch.int64)
    grid = torch.tensor([[1, processor.merge, processor.merge]])
    return Shown(torch.zeros(patches, 3 * 2 * processor.patch**2), grid, none, none)


def embedded(decoder: Any, tower: Any, ids_RL: Tensor, shown: Shown, *, frozen: bool) -> dict[str, Any]:
    """What the decoder is called with for the tokens: embeddings [R, L, D] with what the tower makes of the
    images in their places and, of a tower whose middle layers speak too (DeepStack, Qwen3-VL), what is added
    to the images' hidden states after the decoder's first layers."""
    hidden_RLD: Tensor = decoder.get_input_embeddings()(ids_RL)
    with torch.no_grad() if frozen else nullcontext():
        made = tower(shown.pixels.to(tower.dtype), grid_thw=shown.grid_I3)
    features_fD, deep = made.pooler_output, list(getattr(made, "deepstack_features", None) or ())
    flat_tD = hidden_RLD.flatten(0, 1)
    here_kD = features_fD[shown.features_k].to(flat_tD.dtype)
    flat_tD = flat_tD.index_put((shown.places_k,), here_kD)
    if not len(shown.places_k):  # in the graph all the same, so that every rank goes back through the tower
        flat_tD = flat_tD + sum(each.sum() for each in (features_fD, *deep)) * 0.0
        deep = []
    told: dict[str, Any] = {"inputs_embeds": flat_tD.view_as(hidden_RLD)}
    if deep:
        images_t = torch.zeros(len(flat_tD), dtype=torch.bool, device=ids_RL.device)
        images_t[shown.places_k] = True  # in the order of places_k, which rises
        told["visual_pos_masks"] = images_t.view_as(ids_RL)
        told["deepstack_visual_embeds"] = [each[shown.features_k] for each in deep]
    return told


def tower_of(causal: Any) -> Any | None:
    """The vision tower, with the layers that lead to the language model; None: the model has none."""
    return getattr(getattr(causal, "model", None), "visual", None)
