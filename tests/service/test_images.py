"""Whatever a caller sends as an image is an RGB picture or a 4xx."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from service.batching.images import decode_image
from service.errors import ApiError

LIMIT = 1_000_000


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8))


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces a size and holds next to nothing."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + body
        + struct.pack(">I", zlib.crc32(body))
        + struct.pack(">I", 10)
        + b"IDAT"
        + bytes(10)
    )


@pytest.mark.parametrize("format", ["PNG", "BMP", "GIF", "TIFF", "WEBP", "JPEG"])
def test_formats(format: str) -> None:
    image = decode_image(encoded(picture(), format), LIMIT)
    assert (image.mode, image.size) == ("RGB", (30, 20))


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "I;16", "YCbCr"])
def test_modes(mode: str) -> None:
    grey = Image.new("RGB", (4, 4), (128, 128, 128))
    if mode == "P":
        source = grey.quantize(4)
    elif mode == "I;16":
        source = Image.fromarray(np.full((4, 4), 128 * 256, np.uint16))
    else:
        source = grey.convert(mode)
    image = decode_image(encoded(source, "TIFF" if mode in ("CMYK", "YCbCr") else "PNG"), LIMIT)
    assert image.mode == "RGB"
    if mode != "1":
        assert image.getpixel((0, 0)) == pytest.approx((128, 128, 128), abs=3)


def test_transparent_is_white() -> None:
    assert decode_image(encoded(Image.new("RGBA", (2, 2), (255, 0, 0, 0))), LIMIT).getpixel((0, 0)) == (255, 255, 255)


def test_a_camera_held_sideways() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_image(encoded(picture(), "JPEG", exif=exif), LIMIT).size == (20, 30)


@pytest.mark.parametrize("size", [(20_000, 20_000), (10_000, 10_000), (1001, 1000)])
def test_too_many_pixels_are_refused_by_the_header(size: tuple[int, int]) -> None:
    with pytest.raises(ApiError, match="pixels") as caught:
        decode_image(png_header(*size), LIMIT)
    assert caught.value.status == 413


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"%PDF-1.4", b"<svg xmlns='http://www.w3.org/2000/svg'/>", png_header(3, 3)]
    + [encoded(picture(), format)[:cut] for format in ("PNG", "JPEG", "GIF", "WEBP", "TIFF") for cut in (20, 200)],
)
def test_what_is_no_image_or_half_of_one(data: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        decode_image(data, LIMIT)
    assert caught.value.status == 415


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"]), st.data())
def test_damaged_files_never_surprise(format: str, data: st.DataObject) -> None:
    good = bytearray(encoded(picture(), format))
    for position in data.draw(st.lists(st.integers(0, len(good) - 1), min_size=1, max_size=8)):
        good[position] = data.draw(st.integers(0, 255))
    try:
        outcome: object = decode_image(bytes(good), LIMIT).mode
    except ApiError as error:
        outcome = error.status
    assert outcome in ("RGB", 413, 415)
