"""Small files that would take minutes or gigabytes are refused at once, and their ordinary relatives are not."""

from __future__ import annotations

import re
import struct
import time
import zlib
from io import BytesIO

import pytest
from PIL import Image

from candor.images import UnreadableImage, decode_image


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


PICTURE = Image.new("RGB", (64, 48), (9, 90, 200))
JPEG = encoded(PICTURE, "JPEG")


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*extra: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", zlib.compress(bytes(90))) + chunk(b"IEND", b"")


def tiff(*entries: tuple[int, int, int], body: bytes = bytes(5000)) -> bytes:
    """(tag, count, value) of longs in a directory behind the body; 64 x 64 pixels of 8 bits."""
    size = ((256, 1, 64), (257, 1, 64), (258, 1, 8), (259, 1, 1), (262, 1, 1), (277, 1, 1))
    directory = b"".join(struct.pack("<HHII", tag, 4, count, value) for tag, count, value in sorted((*size, *entries)))
    return (
        b"II*\0"
        + struct.pack("<I", 8 + len(body))
        + body
        + struct.pack("<H", len(size) + len(entries))
        + directory
        + bytes(4)
    )


def progressive(extra_scans: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    data = encoded(PICTURE, "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * extra_scans + data[-2:]


def run_length_bmp(width: int, height: int, body: bytes = b"") -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 54 + 1024) + header + bytes(1024) + body


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (progressive(100), "a JPEG of more than 100 scans"),
        (progressive(200_000), "a JPEG of more than 100 scans"),
        (JPEG[:2] + b"\xff\xfe\0\2" * 10_000 + JPEG[2:], "segments"),
        (JPEG[:2] + b"\xff" * 5_000_000 + JPEG[2:], "bytes between them"),
        (JPEG[:2] + b"\xff\xd0" * 100_000 + JPEG[2:], "bytes between them"),
        (png(chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(2**20 - 1))) * 9), "8 colour profiles"),
        (png(chunk(b"tEXt", b"a\0b") * 50_000), "a PNG of more than 50000 chunks"),
        (tiff((273, 200_001, 8), body=bytes(800_004)), "a TIFF of 200001 strips or tiles; at most 200000"),
        (tiff((324, 200_001, 8), body=bytes(800_004)), "a TIFF of 200001 strips or tiles; at most 200000"),
        (tiff((322, 1, 4000), (323, 1, 3000), (324, 1, 8)), "a TIFF with tiles of 4000 x 3000; at most 10000000 pixels"),
        (b"MM\0+" + bytes(100), "a big-endian BigTIFF"),
        (run_length_bmp(4_000_001, 1), "a run-length coded BMP of more than 4000000 pixels or bytes"),
        (run_length_bmp(9, 9, bytes(4_000_000)), "a run-length coded BMP of more than 4000000 pixels or bytes"),
        (encoded(Image.new("1", (20_001, 100)), "PNG"), "the image is 20001 x 100; one side may be 200 times the other"),
        (encoded(Image.new("1", (1, 201)), "PNG"), "the image is 1 x 201; one side may be 200 times the other"),
    ],
)
def test_bombs_are_refused_at_once(data: bytes, reason: str) -> None:
    begun = time.process_time()
    with pytest.raises(UnreadableImage, match=re.escape(reason)):
        decode_image(data, 10_000_000)
    assert time.process_time() - begun < 0.5  # undefused: 5 to 28 s with files of 20 MB


@pytest.mark.parametrize(
    "data",
    [
        encoded(PICTURE, "JPEG", progressive=True),
        progressive(80),
        JPEG + JPEG * 200,  # what follows the picture is not looked at
        JPEG[:2] + b"\xff\xfe\0\2" * 5000 + JPEG[2:],
        JPEG[:2] + b"\xff" * 5000 + JPEG[2:],
        encoded(Image.effect_noise((640, 480), 90), "JPEG", quality=100, restart_marker_blocks=1),
        png(chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(2**20 - 1)))),
        png(chunk(b"tEXt", b"a\0b") * 5000),
        tiff((273, 1, 8), (278, 1, 64), (279, 1, 4096)),
        tiff((322, 1, 64), (323, 1, 64), (324, 1, 8), (325, 1, 4096)),
        tiff((273, 64, 8), (278, 1, 1), (279, 64, 8)),
        run_length_bmp(9, 9, b"\x09\x01\0\0" * 9 + b"\0\1"),
        encoded(Image.new("1", (1, 200)), "PNG"),
        encoded(Image.new("1", (200, 1)), "TIFF"),
    ],
)
def test_ordinary_files_are_not(data: bytes) -> None:
    assert decode_image(data, 10_000_000).mode == "RGB"


def test_a_scan_within_a_thumbnail_is_not_counted() -> None:
    """The bytes of a segment are skipped: an EXIF thumbnail, or a profile that holds ff da by chance."""
    segment = b"\xff\xe1" + struct.pack(">H", 2 + 400) + b"\xff\xda" * 200
    assert decode_image(JPEG[:2] + segment + JPEG[2:]).size == (64, 48)


def test_text_that_inflates_beyond_measure_is_refused() -> None:
    """Pillow's own limits: a megabyte a chunk, 64 a file."""
    with pytest.raises(UnreadableImage):
        decode_image(png(chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**24)))))
    with pytest.raises(UnreadableImage):
        decode_image(png(chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(bytes(2**20 - 1))) * 65))
