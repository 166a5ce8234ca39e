"""Pictures of every kind, whole and broken: what a hostile caller would call an image."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from random import Random

import numpy as np
from PIL import Image

ORIENTATION = 0x0112


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    """The file of a picture."""
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def whole() -> dict[str, bytes]:
    """Small valid files, by name."""
    pixels = np.random.default_rng(5).integers(0, 255, (24, 32, 3), np.uint8)
    rgb = Image.fromarray(np.kron(pixels[:6, :8], np.ones((4, 4, 1), np.uint8)))
    deep = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    files = {
        "jpeg": encoded(rgb, "JPEG"),
        "jpeg-progressive": encoded(rgb, "JPEG", progressive=True),
        "jpeg-grey": encoded(rgb.convert("L"), "JPEG"),
        "jpeg-cmyk": encoded(rgb.convert("CMYK"), "JPEG"),
        "jpeg-exif": encoded(rgb, "JPEG", exif=exif),
        "jpeg-restarts": encoded(rgb, "JPEG", restart_marker_blocks=2),
        "mpo": encoded(rgb, "MPO", save_all=True, append_images=[rgb]),
        "png": encoded(rgb, "PNG"),
        "png-alpha": encoded(rgb.convert("RGBA"), "PNG"),
        "png-palette": encoded(rgb.quantize(16), "PNG", transparency=3),
        "png-1bit": encoded(rgb.convert("1"), "PNG"),
        "png-16bit": encoded(deep, "PNG"),
        "png-exif": encoded(rgb, "PNG", exif=exif),
        "apng": encoded(rgb, "PNG", save_all=True, append_images=[rgb.rotate(90)]),
        "webp": encoded(rgb, "WEBP"),
        "webp-lossless-alpha": encoded(rgb.convert("RGBA"), "WEBP", lossless=True),
        "webp-animation": encoded(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(180)]),
        "gif": encoded(rgb.quantize(32), "GIF"),
        "gif-animation": encoded(rgb.quantize(32), "GIF", save_all=True, append_images=[rgb.rotate(180).quantize(32)]),
        "bmp": encoded(rgb, "BMP"),
        "bmp-1bit": encoded(rgb.convert("1"), "BMP"),
        "tiff-float": encoded(Image.fromarray(pixels[..., 0].astype(np.float32)), "TIFF"),
        "tiff-16bit": encoded(deep, "TIFF"),
        "tiff-exif": encoded(rgb, "TIFF", exif=exif),
        "tiff-tiled": tiff((322, 32), (323, 32), (324, 8), (325, 1024), body=bytes(1024)),
    }
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "lzma", "zstd"):
        files[f"tiff-{compression}"] = encoded(rgb, "TIFF", compression=compression)
    for compression in ("group3", "group4"):
        files[f"tiff-{compression}"] = encoded(rgb.convert("1"), "TIFF", compression=compression)
    for mode in ("CMYK", "P", "LA", "RGBA", "LAB"):
        files[f"tiff-{mode.lower()}"] = encoded(Image.new(mode, (32, 24)), "TIFF")
    return files


def bombs() -> dict[str, bytes]:
    """Small files that would be large or long, and files that are something else."""
    jpeg, gif = encoded(Image.new("RGB", (64, 64)), "JPEG", progressive=True), encoded(Image.new("P", (9, 9)), "GIF")
    last = jpeg.rindex(b"\xff\xda")
    webp = bytearray(
        encoded(Image.new("RGB", (9, 9)), "WEBP", save_all=True, append_images=[Image.new("RGB", (9, 9), "red")])
    )
    webp[webp.find(b"VP8X") + 12 : webp.find(b"VP8X") + 18] = (59_999).to_bytes(3, "little") * 2
    profile, megabyte = chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(2**20 - 1))), zlib.compress(bytes(2**24))
    return {
        "png-60000": png(60_000, 60_000),
        "png-aspect": encoded(Image.new("1", (1, 60_000)), "PNG"),
        "png-profiles": png(9, 9, profile * 100),
        "png-ztxt": png(9, 9, chunk(b"zTXt", b"a\0\0" + megabyte)),
        "png-itxt": png(9, 9, chunk(b"iTXt", b"a\0\1\0\0\0" + megabyte)),
        "png-idat": png(9, 9, pixels=bytes(2**24)),
        "png-chunks": png(9, 9, chunk(b"abCd", b"") * 51_000),
        "jpeg-scans": jpeg[:-2] + jpeg[last:-2] * 5000 + jpeg[-2:],
        "jpeg-60000": jpeg.replace(b"\0\x11\x08\0\x40\0\x40", b"\0\x11\x08\xea\x60\xea\x60"),
        "jpeg-filling": jpeg[:2] + b"\xff" * 200_000 + jpeg[2:],
        "gif-canvas": gif[:6] + struct.pack("<HH", 60_000, 60_000) + gif[10:],
        "webp-canvas": bytes(webp),
        "tiff-60000": tiff((256, 60_000), (257, 60_000), (273, 8), (279, 100)),
        "tiff-tile": tiff((322, 40_000), (323, 40_000), (324, 8), (325, 100)),
        "tiff-strips": tiff((273, 8), (278, 1), (279, 8), counts={273: 250_000, 279: 250_000}, body=bytes(1_000_008)),
        "tiff-rows": tiff((273, 8), (278, 2**31), (279, 100)),
        "bmp-60000": encoded(Image.new("1", (8, 8)), "BMP").replace(
            struct.pack("<ii", 8, 8), struct.pack("<ii", 60_000, 60_000)
        ),
        "ico": encoded(Image.new("RGB", (16, 16)), "ICO"),
        "eps": encoded(Image.new("RGB", (16, 16)), "EPS"),
        "pdf": encoded(Image.new("RGB", (16, 16)), "PDF"),
        "tga": encoded(Image.new("RGB", (16, 16)), "TGA"),
        "ppm": encoded(Image.new("RGB", (16, 16)), "PPM"),
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        "zip": b"PK\3\4" + bytes(60),
        "empty": b"",
        "zeros": bytes(5000),
    }


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *extra: bytes, pixels: bytes = bytes(90)) -> bytes:
    """A grey PNG that says its size is that."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def tiff(*entries: tuple[int, int], counts: dict[int, int] | None = None, body: bytes = bytes(100)) -> bytes:
    """A grey TIFF with these tags behind a body; 32 x 24 unless they say otherwise."""
    tags = {256: 32, 257: 24, 258: 8, 259: 1, 262: 1, 277: 1} | dict(entries)
    directory = b"".join(struct.pack("<HHII", tag, 4, (counts or {}).get(tag, 1), tags[tag]) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + struct.pack("<H", len(tags)) + directory + bytes(4)


def mutations(rng: Random) -> Iterator[bytes]:
    """Files without end: whole ones, bombs, and whole ones with bytes changed, cut off, added, moved, or of two kinds."""
    good, bad = list(whole().values()), list(bombs().values())
    while True:
        data = bytearray(rng.choice(good))
        match rng.randrange(12):
            case 0:
                yield bytes(data)
            case 1:
                yield rng.choice(bad)
            case 2:
                yield bytes(data[: rng.randrange(len(data))])
            case 3:
                yield bytes(data) + rng.randbytes(rng.randrange(1, 500))
            case 4:
                yield bytes(data) + rng.choice(good)
            case 5:
                yield rng.choice(good)[: rng.randrange(4, 64)] + bytes(data)
            case 6:
                start = rng.randrange(len(data))
                del data[start : start + rng.randrange(1, 20)]
                yield bytes(data)
            case 7:  # headers hold the sizes
                data[rng.randrange(min(len(data), 64))] = rng.choice((0, 1, 127, 128, 255))
                yield bytes(data)
            case _:
                for _ in range(rng.choice((1, 1, 2, 4, 8, 64))):
                    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
                yield bytes(data)
