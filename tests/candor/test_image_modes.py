"""Pixels of unusual files, against numbers worked by hand from the bytes."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from candor.images import ImageTooLarge, UnreadableImage, decode_image

NAN, INF = float("nan"), float("inf")


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def tiff(pixels: bytes, bits: int, kind: int = 1, photometric: int = 1, order: str = "<", channels: int = 1) -> bytes:
    """Two pixels in a row; `kind` is the sample format: 1 unsigned, 2 signed, 3 float."""
    bits_of_all = struct.pack(order + f"{channels}H", *[bits] * channels)
    tags = {256: 2, 257: 1, 258: bits, 259: 1, 262: photometric, 273: 8, 277: channels, 279: len(pixels), 339: kind}
    directory = b""
    for tag, value in tags.items():
        count = channels if tag == 258 else 1
        if count > 2:
            directory += struct.pack(order + "HHII", tag, 3, count, 8 + len(pixels))
        else:
            directory += struct.pack(order + "HHI", tag, 3, count) + struct.pack(
                order + "HH", value, value if count == 2 else 0
            )
    start = 8 + len(pixels) + len(bits_of_all)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", start)
    return head + pixels + bits_of_all + struct.pack(order + "H", len(tags)) + directory + bytes(4)


def grey(data: bytes) -> list[int]:
    """The two pixels of a grey picture."""
    pixels = np.asarray(decode_image(data))
    assert (pixels.min(2) == pixels.max(2)).all()
    return [int(value) for value in pixels[0, :, 0]]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("kind", "code", "values", "expected"),
    [
        (1, "H", (0, 65535), [0, 255]),
        (1, "H", (255, 256), [0, 1]),
        (2, "h", (-5, 32767), [0, 255]),  # the largest that 16 signed bits hold is white
        (2, "h", (128, 16384), [1, 128]),
        (2, "i", (32768, 65535), [128, 255]),  # 32 bits hold 16 in practice
        (2, "i", (-1, 2**31 - 1), [0, 255]),
        (3, "f", (0.5, 1), [128, 255]),  # nothing above 1: 1 is white
        (3, "f", (128, 255), [128, 255]),
        (3, "f", (0.25, 32768), [0, 128]),  # 32768 * 255 / 65535 = 127.5, to even
        (3, "f", (NAN, 1), [0, 255]),
        (3, "f", (-INF, INF), [0, 0]),
    ],
)
def test_grey_of_more_than_8_bits(
    order: str, kind: int, code: str, values: tuple[float, float], expected: list[int]
) -> None:
    data = tiff(struct.pack(order + 2 * code, *values), struct.calcsize(code) * 8, kind, order=order)
    assert grey(data) == expected


def test_twelve_bits() -> None:
    """0x800 of 0xfff is the middle; once it was shown as 8 of 255."""
    assert grey(tiff(b"\x80\x0f\xff", 12)) == [128, 255]


@pytest.mark.parametrize(("kind", "pixels"), [(1, struct.pack("<HH", 0, 65535)), (3, struct.pack("<ff", 0, 1))])
def test_white_is_zero(kind: int, pixels: bytes) -> None:
    """Pillow turns it round for 8 bits only."""
    assert grey(tiff(pixels, 16 if kind == 1 else 32, kind, photometric=0)) == [255, 0]
    assert grey(tiff(b"\0\xff", 8, photometric=0)) == [255, 0]


def test_cmyk() -> None:
    """(1 - C)(1 - K): cyan 255 takes all red, black 51 of 255 leaves 0.8; a JPEG holds them inverted, as Adobe does."""
    flat = Image.new("CMYK", (16, 16), (255, 0, 0, 51))
    assert decode_image(encoded(flat, "TIFF")).getpixel((0, 0)) == (0, 204, 204)
    assert decode_image(encoded(flat, "JPEG", quality=100)).getpixel((8, 8)) == pytest.approx((0, 204, 204), abs=2)


def test_lab() -> None:
    """L* 53.2, a* 80, b* 67 is pure red, and L* 87.7, a* -86, b* 83 pure green."""
    colours = bytes([136, 80, 67]) + bytes([224, 256 - 86, 83])
    pixels = np.asarray(decode_image(tiff(colours, 8, photometric=8, channels=3)))[0].astype(int)
    assert abs(pixels - [[255, 0, 0], [0, 255, 0]]).max() <= 12


def test_ycbcr() -> None:
    """Y 76, Cb 85, Cr 255 is red: 76 + 1.402 * 127 = 254."""
    image = Image.new("YCbCr", (2, 1), (76, 85, 255))
    assert decode_image(encoded(image, "JPEG", quality=100)).getpixel((0, 0)) == pytest.approx((254, 0, 0), abs=3)
    data = tiff(bytes([76, 85, 255] * 2), 8, photometric=6, channels=3)
    assert decode_image(data).getpixel((0, 0)) == pytest.approx((254, 0, 0), abs=3)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(bits: int, colour: int, row: bytes, key: bytes) -> bytes:
    """Two pixels in a row, and the colour that is transparent."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, bits, colour, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0" + row))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"tRNS", key) + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("bits", "row", "key", "expected"),
    [
        (1, b"\x40", 0, [255, 255]),
        (2, b"\x60", 1, [255, 170]),  # 1, 2 of 3
        (4, b"\x8a", 8, [255, 170]),  # 8, 10 of 15
        (8, b"\x08\x0a", 8, [255, 10]),
        (16, b"\x80\x01\x80\x02", 0x8001, [255, 128]),
    ],
)
def test_the_transparent_colour_of_a_grey_png(bits: int, row: bytes, key: int, expected: list[int]) -> None:
    """In the file's own bits; Pillow compared it with pixels of 8 for all depths."""
    assert grey(png(bits, 0, row, struct.pack(">H", key))) == expected


def test_the_transparent_colour_of_a_16_bit_png() -> None:
    data = png(16, 2, struct.pack(">6H", 0x8000, 0, 0, 0x4000, 0, 0), struct.pack(">3H", 0x8000, 0, 0))
    assert np.asarray(decode_image(data))[0].tolist() == [[255, 255, 255], [0x40, 0, 0]]


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "MPO"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_orientations_in_all_formats_that_have_one(format: str, orientation: int) -> None:
    """Red left and blue right in the file; where red lies once it is upright."""
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, :16, 0] = pixels[:, 16:, 2] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = np.asarray(decode_image(encoded(Image.fromarray(pixels), format, exif=exif))).astype(int)
    half = {1: upright[:, :16], 2: upright[:, 16:], 3: upright[:, 16:], 4: upright[:, :16]}.get(orientation)
    if half is None:
        half = upright[:16] if orientation in (5, 6) else upright[16:]
        assert upright.shape == (32, 16, 3)
    assert half.mean((0, 1)) == pytest.approx([255, 0, 0], abs=8)


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"\0" * 40,
        b"II*\0\xff\xff\xff\xff",
        b"MM\0*\0\0\0\x08\xff\xff",
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\xff\xff\xff\xff",
    ],
)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_a_broken_exif_block_says_nothing(format: str, block: bytes) -> None:
    picture = Image.new("RGB", (32, 16), (9, 90, 200))
    assert decode_image(encoded(picture, format, exif=b"Exif\0\0" + block)).size == (32, 16)


def test_a_colour_profile_is_ignored() -> None:
    """The numbers in the file are the colours, as for CLIP's own training."""
    picture = Image.new("RGB", (2, 2), (10, 200, 30))
    for profile in (b"nonsense", bytes(200)):
        assert decode_image(encoded(picture, "PNG", icc_profile=profile)).getpixel((0, 0)) == (10, 200, 30)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_file_cut_short_is_refused_or_whole(format: str) -> None:
    """Never half a picture: what still decodes has lost nothing that counts."""
    noise = np.random.default_rng(0).integers(0, 255, (24, 24, 3), np.uint8)
    good = encoded(Image.fromarray(noise), format, **({"compression": "tiff_lzw"} if format == "TIFF" else {}))
    whole = np.asarray(decode_image(good))
    refused = 0
    for length in range(len(good)):
        try:
            assert (np.asarray(decode_image(good[:length])) == whole).all(), length
        except UnreadableImage:
            refused += 1
    assert refused > 0.9 * len(good)


def test_more_pixels_than_pillow_decodes_are_told_with_its_own_limit() -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0))
    with pytest.raises(ImageTooLarge, match="more than the 178956970 pixels allowed"):
        decode_image(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b""), 10**10)


def test_damaged_files_warn_nobody() -> None:
    """Pillow warns of them on stderr; a service would fill its log with what callers send."""
    script = """
import warnings, sys
warnings.simplefilter("always")
from candor.images import decode_image, UnreadableImage
from PIL import TiffImagePlugin
from tests.candor.test_image_modes import tiff
for place in range(10, 140):
    data = bytearray(tiff(b"aabb", 16)); data[place % len(data)] ^= 255
    try: decode_image(bytes(data))
    except UnreadableImage: pass
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_many_threads_decode_alike() -> None:
    pictures = [
        encoded(Image.new("RGBA", (64, 64), (i, 255 - i, 9, i)), format) for i in range(20) for format in ("PNG", "WEBP")
    ]
    alone = [decode_image(data).tobytes() for data in pictures]
    with ThreadPoolExecutor(8) as threads:
        assert [image.tobytes() for image in threads.map(decode_image, pictures * 5)] == alone * 5
