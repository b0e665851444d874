"""Images as a row of a data set has them. PIL is imported when one is opened, and not before.

A picture costs what its row holds: a path, the file's bytes, or the text of a scene. Its pixels are made
when somebody looks, the same for training, sampling and evaluation: turned as its EXIF says, flattened on
white, RGB.
"""

from __future__ import annotations

import base64
import io
import os.path
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rlvr_cli.vision import scenes
from rlvr_cli.vision.urls import NotFetched, fetched, name_of

if TYPE_CHECKING:
    import numpy as np

LONGEST_SIDE = 16_384
MOST_PIXELS = 100_000_000
"""Of an image as stored; beyond it a small file may unpack to more memory than the machine has."""
BASE64 = ("iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR")
"""What PNG, JPEG, GIF and WebP files begin with in base64."""
BROKEN = (
    *(OSError, SyntaxError, ValueError, RuntimeError, TypeError, ArithmeticError, LookupError, EOFError),
    struct.error,
)
"""What PIL raises on damaged files, by their format and by what is wrong."""
DEEP = ("I;16", "I;16B", "I;16L", "I", "F")
"""Modes of PIL with more than eight bits a channel, which `convert` clips."""


class BadImage(ValueError):
    """This image cannot be used; says why in a few words, without its place."""


class Picture(Protocol):
    """An image that can be opened again and again."""

    @property
    def key(self) -> bytes:
        """The same for the same image, and for no other."""

    def size(self) -> tuple[int, int]:
        """(width, height) in pixels, after it was opened once as a whole. Raises BadImage."""

    def rgb(self) -> np.ndarray:
        """uint8 [height, width, 3]. Raises BadImage."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """The bytes of an image file."""

    data: bytes

    @property
    def key(self) -> bytes:
        return sha256(self.data).digest()

    def size(self) -> tuple[int, int]:
        return _size(self.rgb())

    def rgb(self) -> np.ndarray:
        return _rgb(io.BytesIO(self.data))


@dataclass(frozen=True, slots=True)
class Stored:
    """An image file on this machine."""

    path: Path

    @property
    def key(self) -> bytes:
        return sha256(b"path:" + str(self.path).encode()).digest()

    def size(self) -> tuple[int, int]:
        return _size(self.rgb())

    def rgb(self) -> np.ndarray:
        return _rgb(self._file())

    def _file(self) -> Path:
        if not os.path.isfile(self.path):  # False too for a name that is longer than names may be
            raise BadImage(f"there is no file {self.path}")
        return self.path


@dataclass(frozen=True, slots=True)
class Linked:
    """An image of an https address, fetched into `folder` when it is first opened."""

    url: str
    folder: Path

    @property
    def key(self) -> bytes:
        return bytes.fromhex(name_of(self.url))

    def size(self) -> tuple[int, int]:
        return _size(self.rgb())

    def rgb(self) -> np.ndarray:
        try:
            return _rgb(fetched(self.url, self.folder, _demand_image))
        except NotFetched as error:
            raise BadImage(str(error)) from None


@dataclass(frozen=True, slots=True)
class Scene:
    """Shapes that are drawn on the spot (`scenes.py`)."""

    text: str

    @property
    def key(self) -> bytes:
        return sha256(self.text.encode()).digest()

    def size(self) -> tuple[int, int]:
        return scenes.SIDE, scenes.SIDE

    def rgb(self) -> np.ndarray:
        return scenes.draw(self.text)


def picture(value: Any, folder: Path = Path(), urls: Path | None = None) -> Picture:
    """What a column holds: a path (below `folder`, unless it is absolute), bytes, base64, a data URL, a
    struct {bytes, path} of Hugging Face's `Image`, or an image of PIL; with `urls`, the folder that keeps
    what is fetched, also an https address.

    Raises BadImage where it is nothing of these; whether it can be opened shows later.
    """
    if isinstance(value, Mapping):
        inner = value.get("bytes") or value.get("path") or value.get("url")
        if not inner or isinstance(inner, Mapping):
            raise BadImage(f"an object with {', '.join(map(str, value)) or 'no keys'} holds no image")
        return picture(inner, folder, urls)
    if isinstance(value, bytes | bytearray):
        return Encoded(bytes(value))
    if hasattr(value, "getbands"):  # an image of PIL, as `datasets` decodes its column
        kept = io.BytesIO()
        value.save(kept, format="PNG")
        return Encoded(kept.getvalue())
    if not isinstance(value, str) or not value.strip():
        raise BadImage(f"{type(value).__name__} {'is empty' if value == '' else 'is no image'}")
    return _of_text(value.strip(), folder, urls)


def _of_text(value: str, folder: Path, urls: Path | None) -> Picture:
    if value.startswith(scenes.PREFIX):
        if not scenes.KNOWN.fullmatch(value):
            raise BadImage(f"{value[:60]!r} is no scene that can be drawn")
        return Scene(value)
    if value.startswith("data:"):
        head, comma, body = value.partition(",")
        if not comma or not head.endswith(";base64"):
            raise BadImage("its data URL is not in base64")
        return Encoded(_decoded(body))
    if value.startswith(("http://", "https://")):
        if urls is not None:
            return Linked(value, urls)
        raise BadImage(
            f"{value[:60]} is on the network; download it, or name a folder for what is fetched (image_urls)"
        )
    longer = len(value) > 255  # than any file name may be
    if (longer or value.startswith(BASE64)) and "." not in value[-8:]:
        return Encoded(_decoded(value))
    path = Path(os.path.expanduser(value.removeprefix("file://")))
    # some sets write a slash before what is below their folder
    if folder != Path() and path.is_absolute() and not os.path.exists(path):
        path = Path(str(path).lstrip("/"))
    return Stored(folder / path)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        raise BadImage("its base64 text is damaged") from None


@contextmanager
def _opened(file: Path | io.BytesIO) -> Iterator[Any]:
    """The image with its header read. BadImage where it is none, or too large to be unpacked."""
    import warnings

    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Of its size, judged below by our own limit; of tags that are cut off, lines for every such file.
            warnings.simplefilter("ignore")
            with Image.open(file) as image:
                width, height = image.size
                if width * height > MOST_PIXELS:
                    raise BadImage(
                        f"{width} x {height} pixels would unpack to {width * height * 3 / 2**30:.1f} GiB"
                    )
                if max(width, height) > LONGEST_SIDE:
                    raise BadImage(f"{width} x {height} pixels; a side may have {LONGEST_SIDE}")
                yield image
    except Image.DecompressionBombError:
        raise BadImage("it would unpack to more pixels than PIL opens") from None
    except UnidentifiedImageError:
        raise BadImage("it is no image that PIL knows") from None
    except BadImage:
        raise
    except BROKEN as error:
        raise BadImage(f"it is damaged ({' '.join(str(error).split())[:80]})") from error


def _demand_image(data: bytes) -> None:
    """BadImage where the bytes are no image of which the header can be read."""
    with _opened(io.BytesIO(data)):
        pass


def _size(pixels: np.ndarray) -> tuple[int, int]:
    height, width = pixels.shape[:2]
    return width, height


def _rgb(file: Path | io.BytesIO) -> np.ndarray:
    import numpy as np
    from PIL import Image, ImageOps

    with _opened(file) as opened:
        opened.load()
        image = ImageOps.exif_transpose(opened)
        if image.mode in DEEP:
            wide = np.asarray(image, np.float64)
            top = 65535.0 if image.mode.startswith("I;16") or wide.max() > 255 else 255.0
            image = Image.fromarray((wide.clip(0, top) * (255.0 / top)).round().astype(np.uint8))
        if image.has_transparency_data:  # `convert` alone would show the colour below, often black
            with_alpha = image.convert("RGBA")
            ground = Image.new("RGBA", with_alpha.size, (255, 255, 255, 255))
            image = Image.alpha_composite(ground, with_alpha)
        return np.array(image.convert("RGB"), np.uint8)
