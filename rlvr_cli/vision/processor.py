"""From a picture to what a model is given: one processor, in PIL, for training and for every engine.

transformers has two of them, in PIL and in torchvision, whose bicubic resize differs by up to 0.29 of a
normalised value. Here the picture is resized once, with PIL; an engine is handed the result, in which its own
processor has nothing left to resize, whichever it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.image_sizes import fitted
from rlvr_cli.schema import Model
from rlvr_cli.vision.album import Image, album, expanded
from rlvr_cli.vision.pictures import BadImage, Picture
from rlvr_cli.vision.prefetch import Prefetch, Tokens, resized

if TYPE_CHECKING:
    import numpy as np

KNOWN = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
"""Kinds of models (`model_type`) whose images are understood."""
BAN = -100.0
"""Added to the logits of tokens that would stand for an image that is not there, in engines and trainer."""
ATTRIBUTE = "image_processor"
Patches = tuple["np.ndarray", tuple[int, int, int]]


class Processor:
    """What a model makes of images."""

    def __init__(
        self,
        patch: int,
        merge: int,
        areas: dict[str, int],
        pad: int,
        *,
        banned: Sequence[int] = (),
        images: Any = None,
        workers: int | None = 0,
    ) -> None:
        """`areas`: fewest and most pixels, as `shortest_edge` and `longest_edge`; `pad`: the token of an
        image; `banned`: tokens that no response may hold; `images`: transformers' processor, in PIL, where
        pixels are wanted; `workers`: as `model.image_workers`."""
        self.patch, self.merge, self.pad, self.banned = patch, merge, pad, tuple(banned)
        self.least, self.most = int(areas["shortest_edge"]), int(areas["longest_edge"])
        self._images = images
        self.prefetch = Prefetch(workers)

    def fitted(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) as the model sees it: multiples of a token's side within the allowed areas.

        Raises BadImage.
        """
        try:
            return fitted(width, height, self.patch * self.merge, self.least, self.most)
        except ValueError as error:
            raise BadImage(str(error)) from None

    def look(self, picture: Picture, size: Future[tuple[int, int]] | None = None) -> int:
        """The picture's number in the album, after it was opened once as a whole. Raises BadImage.

        `size`: where it is being opened already (`prefetch.size`).
        """
        width, height = picture.size() if size is None else size.result()
        wide, tall = self.fitted(width, height)
        side = self.patch * self.merge
        return album.add(Image(picture, wide, tall, tall // side, wide // side, (width, height)))

    def expand(self, tokens: Sequence[int], numbers: Sequence[int]) -> list[int]:
        """`album.expanded` with this model's image token."""
        return expanded(tokens, numbers, self.pad)

    def coming(self, rows: Iterable[Tokens]) -> None:
        """Rows of tokens whose images are looked at next, in this order: workers begin with them."""
        if self._images is not None:
            self.prefetch.coming(rows, int(self._images.resample))

    def seen(self, number: int) -> np.ndarray:
        """uint8 [height, width, 3]: the image as the model sees it.

        UserError where it could be opened before and cannot be any more.
        """
        if (found := album.kept(number)) is not None:
            return found
        image = album[number]
        try:
            pixels = self.prefetch.take(number)
            if pixels is None:
                pixels = resized(image.picture, image.width, image.height, int(self._images.resample))
        except BadImage as bad:
            place = getattr(image.picture, "path", None) or getattr(image.picture, "url", "an image")
            raise UserError(
                f"{place} could be opened when the problems were read, and cannot be now: {bad}; put it "
                "back, and the same command goes on"
            ) from None
        return album.keep(number, pixels)

    def patches(self, number: int) -> Patches:
        """(float32 [patches, channels x 2 x side x side], the grid of patches (1, rows, columns))."""
        import numpy as np

        made = self._images(images=[self.seen(number)], do_resize=False, return_tensors="np")
        grid = tuple(int(n) for n in made["image_grid_thw"][0])
        return np.asarray(made["pixel_values"], np.float32), grid  # type: ignore[return-value]

    def settings(self) -> dict[str, Any]:
        """What decides what a model is given for an image, as JSON has it: equal ones make the same of it."""
        import transformers

        mean, std = ([float(n) for n in getattr(self._images, f"image_{which}")] for which in ("mean", "std"))
        return {
            "patch_size": self.patch,
            "merge_size": self.merge,
            "min_pixels": self.least,
            "max_pixels": self.most,
            "image_token": self.pad,
            "image_mean": mean,
            "image_std": std,
            "rescale_factor": float(self._images.rescale_factor),
            "transformers": transformers.__version__,
        }

    def save(self, folder: Path) -> None:
        """What an engine and other programs read beside the model."""
        self._images.save_pretrained(folder)


def load_processor(model: Model, config: Any) -> Processor | None:
    """The processor of a model that sees; None for one that reads text alone.

    Raises UserError where it sees in a way that is not understood here.
    """
    limits = [name for name in ("min_pixels", "max_pixels") if getattr(model, name) is not None]
    if config.model_type not in KNOWN:
        if limits:
            raise UserError(
                f"model.{limits[0]} is set, and '{model.path}' is a {config.model_type}, which sees no "
                f"images here (models that do: {', '.join(KNOWN)}); leave it out"
            )
        return None
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    try:
        images: Any = Qwen2VLImageProcessorPil.from_pretrained(model.path, revision=model.revision or "main")
    except (OSError, ValueError) as error:
        raise UserError(
            f"model.path: no image processor loads from '{model.path}': {str(error).splitlines()[0]}"
        ) from error
    size = {
        "shortest_edge": model.min_pixels or images.size["shortest_edge"],  # areas, whatever they are called
        "longest_edge": model.max_pixels or images.size["longest_edge"],
    }
    if size["shortest_edge"] > size["longest_edge"]:
        raise UserError(
            f"model.min_pixels is {size['shortest_edge']} and model.max_pixels {size['longest_edge']}: no "
            "image has so many and so few; change one"
        )
    images.size = size
    pad, video = int(config.image_token_id), int(config.video_token_id)
    more: dict[str, Any] = {"banned": (pad, video), "images": images, "workers": model.image_workers}
    return Processor(images.patch_size, images.merge_size, size, pad, **more)


def processor_of(tokenizer: Any) -> Processor | None:
    """The processor of the tokenizer's model; None where that reads text alone."""
    return getattr(tokenizer, ATTRIBUTE, None)
