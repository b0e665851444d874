"""Every form in which data sets have images opens to the same pixels; what cannot be used says why."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rlvr_cli.vision.pictures import LONGEST_SIDE, BadImage, Encoded, Scene, Stored, picture

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


def encoded(image: Image.Image, form: str = "PNG", **more: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **more)
    return file.getvalue()


PNG = encoded(Image.fromarray(PIXELS))


def odd_exif() -> bytes:
    """A JPEG file that is to be turned, whose EXIF has a text where PIL writes a number back."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "hello"
    whole = encoded(Image.fromarray(PIXELS), "JPEG", exif=exif)
    tag = whole.index(b"\x01\x0e\x00\x02")
    return whole[:tag] + b"\x01\x1a\x00\x02" + whole[tag + 4 :]


def odd_dds() -> bytes:
    """A DDS file whose pixels are of no format."""
    whole = bytearray(encoded(Image.fromarray(PIXELS), "DDS"))
    whole[80] = 0
    return bytes(whole)


def empty_png(width: int, height: int) -> bytes:
    """A PNG file of a few bytes that says it is of this size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    ends = chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + ends


def test_all_forms_of_a_column_are_the_same_pixels(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    text = base64.b64encode(PNG).decode()
    forms: list[Any] = [
        PNG,
        text,
        f"data:image/png;base64,{text}",
        {"bytes": PNG, "path": "elsewhere.png"},
        {"bytes": None, "path": str(tmp_path / "a.png")},
        str(tmp_path / "a.png"),
        Image.fromarray(PIXELS),
    ]
    for form in forms:
        found = picture(form)
        assert (found.rgb() == PIXELS).all() and found.size() == (30, 20), form
    # relative to a folder, also where a set writes a slash first
    for name in ("a.png", "/a.png"):
        assert (picture(name, tmp_path).rgb() == PIXELS).all()
    assert picture(PNG).key == picture(text).key != picture("a.png", tmp_path).key


def test_modes_and_orientation() -> None:
    red = Image.new("RGBA", (4, 4), (255, 0, 0, 0))  # invisible: the ground shows
    assert (Encoded(encoded(red)).rgb() == 255).all()
    gray_alpha = Image.new("LA", (4, 4), (0, 128))
    assert abs(int(Encoded(encoded(gray_alpha)).rgb()[0, 0, 0]) - 127) <= 1
    palette = Image.fromarray(PIXELS).convert("P", palette=Image.Palette.ADAPTIVE)
    assert (Encoded(encoded(palette)).rgb() == np.array(palette.convert("RGB"))).all()
    cmyk = Image.fromarray(PIXELS).convert("CMYK")
    assert Encoded(encoded(cmyk, "TIFF")).rgb().shape == (20, 30, 3)
    deep = Image.fromarray(np.full((3, 5), 65535 // 2, np.uint16))
    assert (Encoded(encoded(deep)).rgb() == 127).all()  # `convert` alone would clip it to 255
    turned = Image.fromarray(PIXELS)
    exif = turned.getexif()
    exif[0x0112] = 6  # turned by a quarter, as telephones store photographs
    found = Encoded(encoded(turned, exif=exif))
    assert found.size() == (20, 30) and (found.rgb() == np.rot90(PIXELS, -1)).all()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("nowhere.png", "there is no file nowhere.png"),
        (PNG[:200], "it is damaged"),
        (encoded(Image.fromarray(PIXELS), "JPEG")[:400], "it is damaged"),
        (odd_exif(), r"it is damaged \("),
        (odd_dds(), r"it is damaged \(Unknown pixel format"),
        ("~nobody-of-this-name/a.png", "there is no file ~nobody-of-this-name/a.png"),
        ("a" * 300 + ".png", "there is no file a+.png"),
        ("/" + "a" * 300 + ".png", "there is no file /a+.png"),
        ("é" * 300, "its base64 text is damaged"),
        (b"no image at all", "no image that PIL knows"),
        (empty_png(50_000, 50_000), "would unpack to more pixels than PIL opens"),
        (empty_png(12_000, 12_000), "12000 x 12000 pixels would unpack to 0.4 GiB"),
        (empty_png(20_000, 20), f"20000 x 20 pixels; a side may have {LONGEST_SIDE}"),
        ("https://example.org/a.png", "is on the network"),
        ("data:image/png,plain", "not in base64"),
        ("data:image/png;base64,!!!!", "its base64 text is damaged"),
        ({"bytes": None, "path": None}, "holds no image"),
        (7, "int is no image"),
    ],
)
def test_what_cannot_be_used(value: Any, said: str) -> None:
    with pytest.raises(BadImage, match=said) as told:
        picture(value).rgb()
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("text", ["", "240", "a,1", "240,1;blob,red,1,2,3,4", "240,1;square,pink,1,2,3,4"])
def test_no_scene(text: str) -> None:
    with pytest.raises(BadImage, match="scene:"):
        picture(f"scene:{text}")


def test_below_a_folder_too_long_a_name_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(BadImage, match="there is no file"):
        picture("/" + "a" * 300 + ".png", tmp_path).size()


def test_kinds() -> None:
    assert isinstance(picture("a.png"), Stored) and isinstance(picture(PNG), Encoded)
    scene = picture("scene:240,1;square,red,0,0,14,14")
    assert isinstance(scene, Scene) and scene.size() == (56, 56) == scene.rgb().shape[1::-1]
    assert scene.rgb()[7, 7].tolist() != scene.rgb()[40, 40].tolist()
