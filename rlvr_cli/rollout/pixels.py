"""What an engine's own processor makes of an image, against what the trainer's does.

Tokens say of an image how large it is seen; that its colours are read alike shows here: before training the
engine's processor is given the run's first image, as it is given all of them, and every number that comes out
is compared.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any

import numpy as np

from rlvr_cli.rollout.engine import SyncError

ROUNDING = 1e-5
"""Largest difference of a normalised value that another order of the same operations makes, in fp32."""
ROUNDING_16 = 2**-6
"""The same where an engine keeps pixels in 16 bits: the last of them, of values below 4."""
MOST_SENT = 2**18
"""Values that go to a server; of larger images each n-th."""

REMEDY = (
    "their image processors differ; take the model's preprocessor_config.json as its authors have it, or set "
    "rollout=hf"
)

Grid = Sequence[int]


def made_by(engine: Any, prompt: Any) -> tuple[Any, list[int]]:
    """(pixel values [patches, n], grid) that vLLM's processor makes of a prompt's first image. `engine`:
    vLLM's, in the process or in a server."""
    from vllm.renderers.inputs.preprocess import parse_model_prompt

    parsed = parse_model_prompt(engine.model_config, prompt)
    [whole] = engine.renderer.render_cmpl([parsed], skip_mm_cache=True)
    made = whole["mm_kwargs"]["image"][0].get_data()
    pixels = made["pixel_values"]
    if engine.model_config.multimodal_config.mm_device_do_normalize:  # the tower is given plain colours
        pixels = _normalised(pixels, engine.model_config)
    return pixels, made["image_grid_thw"].flatten().tolist()


def _normalised(colours_pn: Any, config: Any) -> Any:
    """As the first layer of the tower does it, by the same mean, deviation and scale, in fp32."""
    import torch
    from vllm.model_executor.layers.fusion.mm_input_norm import _load_norm_params

    norm = _load_norm_params(config)
    mean_c, deviation_c = torch.tensor(norm.image_mean), torch.tensor(norm.image_std)
    patches_pcn = colours_pn.cpu().float().view(len(colours_pn), len(mean_c), -1)
    by_c, plus_c = norm.rescale_factor / deviation_c, -mean_c / deviation_c
    return (patches_pcn * by_c[:, None] + plus_c[:, None]).view(len(colours_pn), -1)


def gap(made: Any, grid: Grid, ours_pn: np.ndarray, our_grid: Grid) -> float:
    """Largest difference. `made`: a tensor of the engine's [patches, n]; `ours_pn` float32. SyncError where
    it is more than rounding."""
    import torch

    if list(grid) != list(our_grid) or tuple(made.shape) != ours_pn.shape:
        raise SyncError(
            f"the rollout engine cuts the run's first image into {list(grid)} patches, the trainer into "
            f"{list(our_grid)}: {REMEDY}"
        )
    ours = torch.from_numpy(ours_pn).to(made.dtype).float()
    found = float((made.float().cpu() - ours).abs().max())
    if not found <= (ROUNDING if made.dtype is torch.float32 else ROUNDING_16):
        raise SyncError(
            f"the rollout engine reads the run's first image with other colours than the trainer (its pixel "
            f"values differ by up to {found:.2g}): {REMEDY}"
        )
    return found


def packed(pixels_pn: np.ndarray, grid: Grid) -> dict[str, Any]:
    """For a server: what it compares its own with."""
    values = np.ascontiguousarray(pixels_pn.ravel()[:: stride(pixels_pn.size)])
    return {"grid": list(grid), "shape": list(pixels_pn.shape), "values": b64encode(values.data).decode()}


def demand_same_pixels(engine: Any, prompt: Any, sent: dict[str, Any]) -> None:
    """In a server: ValueError where it makes other pixels of the prompt than `packed` has been given."""
    made, grid = made_by(engine, prompt)
    ours = np.frombuffer(b64decode(sent["values"]), np.float32).copy()
    if list(made.shape) == sent["shape"]:
        made = made.flatten()[:: stride(made.numel())]
    try:
        gap(made, grid, ours, sent["grid"])
    except SyncError as error:
        raise ValueError(str(error)) from None


def stride(size: int) -> int:
    return -(-size // MOST_SENT)
