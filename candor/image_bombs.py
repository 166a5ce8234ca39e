"""Small files that cost minutes or gigabytes to decode, known by their structure before any decoder sees them.

Pillow bounds pixels, text chunks and metadata itself. What is counted here, it does not: measured with files of 20 MB, one
TIFF of five million strips took 28 s and 1.2 GB, a PNG of 9 x 9 pixels with thousands of colour profiles 13 s, and a JPEG
may hold a million scans.
"""

from __future__ import annotations

import struct

import numpy as np

MAX_SCANS = 100  # of a JPEG; progressive ones have about ten. libtiff draws the same line
MAX_SEGMENTS = 10_000  # of a JPEG
MAX_FILLER = 100_000  # bytes between the segments of a JPEG
MAX_CHUNKS = 50_000  # of a PNG
MAX_PROFILES = 8  # of a PNG, which may have one; each inflates to a megabyte
MAX_PARTS = 200_000  # strips or tiles of a TIFF: 50 million pixels in tiles of 16 x 16
MAX_RUN_LENGTH_BMP = 4_000_000  # pixels and bytes of a run-length BMP, whose decoder is written in Python

_EOI, _SOS, _ALONE = 0xD9, 0xDA, (0x01, 0xD8)
_TAGS = {"width": 322, "height": 323}
_PARTS = (273, 324)  # where strips and tiles begin


def bomb(data: bytes, max_pixels: int) -> str | None:
    """Why decoding a file would cost far more than its size and its pixels tell; None where it would not.

    Args:
        data: the file.
        max_pixels: of one tile.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(data)
    if data[:2] in (b"II", b"MM"):
        return _tiff(data, max_pixels)
    return _bmp(data) if data.startswith(b"BM") else None


def _jpeg(data: bytes) -> str | None:
    places, at, segments, scans, filler = _markers(data), 2, 0, 0, 0
    while (number := int(np.searchsorted(places, at))) < len(places) and data[places[number] + 1] != _EOI:
        place = int(places[number])
        segments += 1
        scans += data[place + 1] == _SOS
        filler += 0 if scans else place - at
        if scans > MAX_SCANS or segments > MAX_SEGMENTS or filler > MAX_FILLER:
            return f"a JPEG of more than {MAX_SCANS} scans, {MAX_SEGMENTS} segments or {MAX_FILLER} bytes between them"
        at = place + 2
        if data[place + 1] not in _ALONE:
            at += max(2, int.from_bytes(data[at : at + 2], "big"))
    return None


def _markers(data: bytes) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Where ff stands before a byte that makes a marker of it: 00 is data, ff filling, d0 to d7 restart within a scan."""
    values = np.frombuffer(data, np.uint8)
    after = values[1:]
    return np.flatnonzero((values[:-1] == 0xFF) & (after != 0) & (after != 0xFF) & ((after & 0xF8) != 0xD0))


def _png(data: bytes) -> str | None:
    at, chunks, profiles = 8, 0, 0
    while at < len(data):
        chunks += 1
        profiles += data[at + 4 : at + 8] == b"iCCP"
        if chunks > MAX_CHUNKS or profiles > MAX_PROFILES:
            return f"a PNG of more than {MAX_CHUNKS} chunks or {MAX_PROFILES} colour profiles"
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return None


def _tiff(data: bytes, max_pixels: int) -> str | None:
    if data.startswith(b"MM\0+"):  # read in one way by Pillow and in another by libtiff
        return "a big-endian BigTIFF"
    sides = {"width": 1, "height": 1}
    for tag, count, value in _tiff_entries(data):
        if tag in _PARTS and count > MAX_PARTS:
            return f"a TIFF of {count} strips or tiles; at most {MAX_PARTS} are decoded"
        for side, number in _TAGS.items():
            if tag == number:
                sides[side] = max(sides[side], value)
    if sides["width"] * sides["height"] > max_pixels:
        return f"a TIFF with tiles of {sides['width']} x {sides['height']}; at most {max_pixels} pixels are decoded"
    return None


def _tiff_entries(data: bytes) -> list[tuple[int, int, int]]:
    """(tag, count, value if it is one number) of the first directory; of BigTIFF too."""
    end = "<" if data[:1] == b"I" else ">"
    big = data[2:3] == b"+"  # as Pillow knows it
    entry, number = struct.Struct(f"{end}HH{'Q8s' if big else 'I4s'}"), "Q" if big else "I"
    try:
        (start,) = struct.unpack_from(end + number, data, 8 if big else 4)
        (length,) = struct.unpack_from(end + ("Q" if big else "H"), data, start)
    except struct.error:
        return []  # no directory, no image
    start += 8 if big else 2
    whole = min(length, max(0, len(data) - start) // entry.size, 0xFFFF)  # a tag has 16 bits
    found = []
    for tag, kind, count, value in entry.iter_unpack(data[start : start + whole * entry.size]):
        size = {3: "H", 4: "I", 16: "Q"}.get(kind, "I")
        found.append((tag, count, struct.unpack_from(end + (size if size != "Q" or big else "I"), value)[0]))
    return found


def _bmp(data: bytes) -> str | None:
    if len(data) < 34 or int.from_bytes(data[30:34], "little") not in (1, 2) or data[14] < 40:
        return None
    width, height = struct.unpack_from("<ii", data, 18)
    if max(len(data), abs(width * height)) > MAX_RUN_LENGTH_BMP:
        return f"a run-length coded BMP of more than {MAX_RUN_LENGTH_BMP} pixels or bytes; send it as PNG"
    return None
