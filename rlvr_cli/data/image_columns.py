"""Images of a row: which column holds them, what of them can be used, and where they stand in its prompt."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rlvr_cli import schema
from rlvr_cli.core.errors import UserError
from rlvr_cli.vision import scenes
from rlvr_cli.vision.album import album
from rlvr_cli.vision.marks import placed
from rlvr_cli.vision.pictures import BASE64, BadImage, Picture, picture

if TYPE_CHECKING:
    from rlvr_cli.vision.processor import Processor

COLUMNS = ("images", "image")
NAMED = re.compile(r"\.(png|jpe?g|webp|gif|bmp|tiff?|ppm)$", re.IGNORECASE)
BEGINNINGS = ("data:image", "https://", "http://", scenes.PREFIX, *BASE64)

Row = dict[str, Any]


class Told(Protocol):
    """What a source's report keeps of images: `sources.Report`."""

    images: int

    def bad_image(self, why: str) -> None: ...


def image_column(raw: Row) -> str | None:
    """The column of the first row that holds its images, if it looks like one."""
    by_fold = {name.casefold(): name for name in raw}
    found = [by_fold[name] for name in COLUMNS if name in by_fold]
    return next((name for name in found if _is_images(raw[name])), None)


def _is_images(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_images(each) for each in value)
    if isinstance(value, Mapping):
        return bool(value) and set(value) <= {"bytes", "path"}
    if isinstance(value, str):
        return bool(NAMED.search(value)) or value.startswith(BEGINNINGS)
    return value is None or isinstance(value, bytes) or hasattr(value, "getbands")


def images_of(value: Any) -> list[Any]:
    """A column's images, one by one; [] where the row has none."""
    several = list(value) if isinstance(value, list | tuple) else [value]
    return [each for each in several if each is not None]


def identity(row: Row) -> str:
    """Tells rows with the same text and other images apart; "" for a row without images."""
    return "".join(_key(value) for value in row.get("images") or ())


def _key(value: Any) -> str:
    try:
        return f" {picture(value, urls=Path()).key.hex()[:16]}"  # nothing is fetched for it
    except BadImage:
        return f" {value!r:.60}"


def looked(row: Row, source: schema.Source, processor: Processor | None, report: Told, where: str) -> bool:
    """Whether the row can be used: its `images` become numbers of the album, its `prompt` has a mark for
    each. What cannot be opened is counted.

    UserError where the model reads no images, and where there are not as many marks as images.
    """
    values = row.get("images") or []
    if not values:
        return True
    if processor is None:
        raise UserError(
            f"{where} has {len(values)} image{'s' * (len(values) > 1)}, and the model reads text alone; take "
            "a model that sees (docs/vision.md), or a set without images"
        )
    row["prompt"] = placed(row["prompt"], len(values), where)
    try:
        row["images"] = opened(row, source, processor)
    except BadImage as bad:
        report.bad_image(f"{where}: {bad}")
        return False
    report.images += len(row["images"])
    return True


def sized(row: Row, source: schema.Source, processor: Processor | None) -> bool:
    """Whether a row's golds can be judged, some of which takes the sizes of its images: these are in its
    `extra` then. False: what is wrong is an image or the model, which `looked` says."""
    if not row.get("images"):
        return True
    if processor is None:
        return False
    try:
        opened(row, source, processor)
    except BadImage:
        return False
    return True


def opened(row: Row, source: schema.Source, processor: Processor) -> list[int]:
    """The album's numbers of a row's images, whose sizes become columns of its `extra`; once.

    BadImage where one cannot be used.
    """
    if "opened" not in row:
        try:
            asked = row.pop("asked", None) or [(_picture(value, source), None) for value in row["images"]]
            row["opened"] = [processor.look(*each) for each in asked]
        except BadImage as bad:
            row["opened"] = bad
        else:
            if "extra" in row:
                row["extra"] = sizes_of(row["opened"], processor.patch) | row["extra"]
    if isinstance(row["opened"], BadImage):
        raise row["opened"]
    found: list[int] = row["opened"]
    return found


def looked_ahead(
    rows: Iterable[tuple[int, str, Row]], source: schema.Source, processor: Processor | None
) -> Iterator[tuple[int, str, Row]]:
    """The same rows, of which the next ones' images are being opened by the processor's workers."""
    width = 0 if processor is None else processor.prefetch.width
    if processor is None or not width:
        yield from rows
        return
    waiting: deque[tuple[int, str, Row]] = deque()
    left, error = iter(rows), None
    while True:
        try:
            each = next(left)
        except StopIteration:
            break
        except Exception as raised:  # of a row that may never be asked for
            error = raised
            break
        with suppress(BadImage):
            pictures = [_picture(value, source) for value in each[2].get("images") or []]
            each[2]["asked"] = [(found, processor.prefetch.size(found)) for found in pictures]
        waiting.append(each)
        if len(waiting) > width:
            yield waiting.popleft()
    yield from waiting
    if error is not None:
        raise error


def stored_size(row: Row, source: schema.Source) -> dict[str, Any]:
    """`image_size` of the row's first image, where no model is there that sees it; {} without one that can
    be used."""
    try:
        values = row.get("images") or []
        return {"image_size": list(_picture(values[0], source).size())} if values else {}
    except BadImage:
        return {}


def _picture(value: Any, source: schema.Source) -> Picture:
    folder, urls = (Path(each).expanduser() if each else None for each in (source.images, source.image_urls))
    return picture(value, folder or Path(), urls)


def sizes_of(numbers: list[int], patch: int) -> dict[str, Any]:
    """What a verifier that judges places in an image has to know, as columns of the row: `images` with the
    sizes of all, `image_size` and `image_grid_thw` of the first."""
    found = [album[number] for number in numbers]
    first = found[0]
    grid = [1, first.height // patch, first.width // patch]
    return {
        "images": [image.sizes for image in found],
        "image_size": list(first.original),
        "image_grid_thw": grid,
    }
