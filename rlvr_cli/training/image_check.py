"""Before training: whether engine and trainer make the same numbers of the run's first image."""

from __future__ import annotations

from rlvr_cli.core import distributed
from rlvr_cli.training.parts import Parts
from rlvr_cli.vision.album import album


def check_images(parts: Parts) -> None:
    """Say it in a line; SyncError where they differ by more than rounding. Of texts nothing is said."""
    processor = parts.trainer.processor
    numbers = album.numbers(parts.probe_tokens) if processor is not None else []
    if processor is None or not numbers:
        return
    pixels_pn, grid = processor.patches(numbers[0])
    gaps = distributed.gather(parts.engine.image_gap(parts.probe_tokens, (pixels_pn, grid)))
    known = [gap for gap in gaps if gap is not None]
    if len(known) < len(gaps):
        said = "the same, but for rounding at most"
    else:
        said = f"up to {max(known):.1e} apart, which is rounding" if max(known) else "the same, bit for bit"
    image = album[numbers[0]]
    size = f"{image.original[0]} x {image.original[1]} pixels, seen as {image.width} x {image.height}"
    parts.tracker.event(
        "images",
        f"what engine and trainer make of the first image ({size}, {len(pixels_pn)} patches) is {said}",
    )
