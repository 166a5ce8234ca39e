"""The decoder: every mode and format becomes the RGB picture it shows, or one error that says why."""

from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from candor.images import ImageTooLarge, UnreadableImage, decode_image


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


GREY = Image.new("RGB", (5, 3), (128, 128, 128))
DEEP = Image.fromarray(np.full((3, 5), 128 * 256, np.uint16))


@pytest.mark.parametrize(
    ("image", "format"),
    [
        (GREY, "PNG"),
        (GREY, "BMP"),
        (GREY, "GIF"),
        (GREY, "WEBP"),
        (GREY, "JPEG"),
        (GREY, "TIFF"),
        (GREY.convert("L"), "JPEG"),
        (GREY.convert("LA"), "PNG"),
        (GREY.quantize(2), "PNG"),
        (GREY.convert("CMYK"), "JPEG"),
        (GREY.convert("CMYK"), "TIFF"),
        (GREY.convert("RGBA"), "WEBP"),
        (DEEP, "PNG"),
        (DEEP, "TIFF"),
        (DEEP.convert("I"), "TIFF"),
    ],
)
def test_mid_grey_in_every_mode_is_mid_grey(image: Image.Image, format: str) -> None:
    decoded = decode_image(encoded(image, format))
    assert (decoded.mode, decoded.size) == ("RGB", (5, 3))
    assert decoded.getpixel((4, 2)) == pytest.approx((128, 128, 128), abs=3)


def test_big_endian_16_bit_tiff() -> None:
    """As microscopes write it; Pillow opens it in a mode of its own."""
    pixels = np.full((2, 2), 128 * 256, ">u2").tobytes()
    entries = [(256, 3, 2), (257, 3, 2), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1), (279, 4, 8)]
    directory = struct.pack(">H", len(entries))
    for tag, kind, value in entries:
        directory += struct.pack(">HHI", tag, kind, 1) + (
            struct.pack(">HH", value, 0) if kind == 3 else struct.pack(">I", value)
        )
    data = b"MM\0*" + struct.pack(">I", 16) + pixels + directory + bytes(4)
    assert decode_image(data).getpixel((1, 1)) == (128, 128, 128)


@pytest.mark.parametrize(
    "data",
    [
        encoded(Image.new("RGBA", (2, 2), (255, 0, 0, 0)), "PNG"),
        encoded(Image.new("LA", (2, 2), (7, 0)), "PNG"),
        encoded(Image.new("RGB", (2, 2), (9, 9, 9)).quantize(2), "PNG", transparency=0),
        encoded(Image.new("RGB", (2, 2), (9, 9, 9)), "PNG", transparency=(9, 9, 9)),
        encoded(Image.new("L", (2, 2), 9), "PNG", transparency=9),
        encoded(Image.new("P", (2, 2), 0), "GIF", transparency=0),
    ],
)
def test_what_is_transparent_is_white(data: bytes) -> None:
    assert decode_image(data).getpixel((0, 0)) == (255, 255, 255)


def test_half_transparent_red_over_white() -> None:
    """0.5 * (255, 0, 0) + 0.5 * 255: (255, 127 or 128, 127 or 128)."""
    red = decode_image(encoded(Image.new("RGBA", (1, 1), (255, 0, 0, 128)), "PNG")).getpixel((0, 0))
    assert red == pytest.approx((255, 127, 127), abs=1)


def test_a_camera_held_sideways() -> None:
    """Orientation 6: the top row of the file is the right column of the picture."""
    pixels = np.zeros((2, 3, 3), np.uint8)
    pixels[0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = np.asarray(decode_image(encoded(Image.fromarray(pixels), "PNG", exif=exif)))
    assert upright.shape == (3, 2, 3)
    assert (upright[:, 1] == 255).all()
    assert (upright[:, 0] == 0).all()


def test_the_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (2, 2), color) for color in ((255, 255, 255), (0, 0, 0))]
    assert decode_image(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])).getpixel((0, 0)) == (
        255,
        255,
        255,
    )


def test_the_limit_is_inclusive() -> None:
    data = encoded(GREY, "PNG")
    assert decode_image(data, 15).size == (5, 3)
    with pytest.raises(ImageTooLarge, match="the image is 5 x 3; at most 14 pixels are allowed"):
        decode_image(data, 14)


@pytest.mark.parametrize("data", [b"", b"hello", b"<svg/>", encoded(GREY, "PNG")[:40], encoded(GREY, "JPEG")[:300]])
def test_what_is_no_image_or_half_of_one(data: bytes) -> None:
    with pytest.raises(
        UnreadableImage, match="not an image that can be read as JPEG, PNG, WEBP, GIF, BMP, TIFF, or a damaged"
    ):
        decode_image(data)


def test_every_damaged_byte_of_a_tiff() -> None:
    """The decoders raise TypeError, struct.error and others; once these came through (a wrong tag type at byte 72)."""
    good = encoded(GREY, "TIFF")
    outcomes = set()
    for place in range(len(good)):
        for value in (0, 1, 2, 3, 4, 7, 16, 127, 255):
            try:
                outcomes.add(decode_image(good[:place] + bytes([value]) + good[place + 1 :], 1000).mode)
            except UnreadableImage as error:
                outcomes.add(type(error.__cause__).__name__)
    assert {"RGB", "UnidentifiedImageError", "TypeError"} <= outcomes
