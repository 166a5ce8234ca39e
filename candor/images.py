"""Images from the bytes of files: refused by their header if too large, decoded whole, turned upright, made RGB.

Colour profiles (ICC) and gamma are ignored, as CLIP's own training ignored them: the numbers in the file are the colours.
"""

from __future__ import annotations

import logging
import struct
import warnings
from io import BytesIO

import numpy as np
from PIL import ExifTags, Image

from candor.errors import InvalidInput
from candor.image_bombs import bomb

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 89_478_485  # where Pillow starts to warn of decompression bombs: 256 MiB of RGB
MAX_RATIO = 200  # of the longer side to the shorter: a model's resizing makes the shorter one hundreds of pixels long

# Pillow's decoders raise all of these on damaged files
_DAMAGED = (OSError, ValueError, SyntaxError, EOFError, ArithmeticError, LookupError, TypeError, MemoryError, struct.error)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PHOTOMETRIC, _BITS, _SAMPLE_FORMAT = 262, 258, 339  # tags of a TIFF
_WHITE_IS_ZERO, _SIGNED = 0, 2

# Pillow warns and logs of damaged files, on every one. Said once for all threads: warnings.catch_warnings is for one only.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL)


class UnreadableImage(InvalidInput):
    """A file that is no image we decode, or a damaged one."""


class ImageTooLarge(UnreadableImage):
    """An image with more pixels than are allowed."""


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS, at_least: int | None = None) -> Image.Image:
    """An RGB image from the bytes of a file. For any thread.

    The first frame of an animation is taken. A picture is turned as its EXIF orientation says (an EXIF block that cannot
    be read says nothing), transparent parts are laid over white. Grey of 12 or 16 bits is scaled to 8; integers of 32
    bits are taken for 16. Floats are as their largest tells: white is 1, 255 or 65535.

    It takes up to about 20 bytes a pixel while it works, and seconds where a file is made to take long.

    Args:
        data: the file.
        max_pixels: width x height that is still decoded; the header is asked, before any pixel is.
        at_least: where a small picture is enough: a JPEG is decoded at a half, a quarter or an eighth of its size, several
            times faster, while both sides stay so long; None decodes all of it.

    Returns:
        The image, mode RGB, its pixels loaded.

    Raises:
        ImageTooLarge: the header announces too many pixels.
        UnreadableImage: it is no image of a format in FORMATS, is damaged or cut short, is more than MAX_RATIO times as
            long as it is wide or the other way round, or would take unduly long.
    """
    if reason := bomb(data, max_pixels):
        raise UnreadableImage(reason)
    try:
        image: Image.Image = Image.open(BytesIO(data), formats=FORMATS)
        _check_size(image, max_pixels)
        if at_least is not None:
            image.draft(None, (at_least, at_least))  # of other formats than JPEG it does nothing
        raw = _raw_mode(image)
        image.load()
        return _to_rgb(_upright(image), raw)
    except Image.DecompressionBombError as error:
        most = min(max_pixels, 2 * MAX_PIXELS)  # more than twice its own limit, Pillow does not decode
        raise ImageTooLarge(f"the image has more than the {most} pixels allowed") from error
    except _DAMAGED as error:
        raise UnreadableImage(f"not an image that can be read as {', '.join(FORMATS)}, or a damaged one") from error


def _check_size(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageTooLarge(f"the image is {width} x {height}; at most {max_pixels} pixels are allowed")
    if max(width, height) > MAX_RATIO * min(width, height):
        raise UnreadableImage(f"the image is {width} x {height}; one side may be {MAX_RATIO} times the other at most")


def _raw_mode(image: Image.Image) -> str:
    """How a PNG's pixels lie in the file, such as L;2; nothing for other formats."""
    tiles = getattr(image, "tile", [])
    return str(tiles[0][3]) if image.format == "PNG" and tiles else ""


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF orientation says; Pillow has done so with a TIFF already."""
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except _DAMAGED:
        return image
    if turn is None:
        return image
    turned = image.transpose(turn)
    turned.info = image.info
    return turned


def _to_rgb(image: Image.Image, raw: str) -> Image.Image:
    """RGB; transparent parts over white, more than 8 bits scaled down instead of clipped."""
    if image.mode == "F" or image.mode.startswith("I"):
        return _grey(image).convert("RGB")
    _scale_transparent_colour(image, raw)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        over = Image.new("RGB", rgba.size, "white")
        over.paste(rgba, mask=rgba.getchannel("A"))
        return over
    return image if image.mode == "RGB" else image.convert("RGB")


def _scale_transparent_colour(image: Image.Image, raw: str) -> None:
    """Pillow scales a PNG's pixels to 8 bits, but not the colour that the file calls transparent."""
    key = image.info.get("transparency")
    if raw in ("L;2", "L;4") and isinstance(key, int):
        image.info["transparency"] = key * (85 if raw == "L;2" else 17)
    elif raw == "RGB;16B" and isinstance(key, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in key)


def _grey(image: Image.Image) -> Image.Image:
    """Integers of more than 8 bits, or floats, as 8 bits: 0 is black (or white, where a TIFF says so)."""
    tags = getattr(image, "tag_v2", {})
    values = np.array(image)
    if image.mode == "F":
        values[~np.isfinite(values)] = 0
        white = next((white for white in (1.0, 255.0) if values.max() <= white), 65535.0)
        values *= np.float32(255 / white)
        grey = np.clip(np.rint(values, out=values), 0, 255, out=values).astype(np.uint8)
    else:
        bits = tags.get(_BITS, (16,))[0]
        if bits == 16 and tags.get(_SAMPLE_FORMAT) == (_SIGNED,):
            bits = 15
        grey = np.clip(values >> (min(bits, 16) - 8), 0, 255).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = 255 - grey
    if "transparency" in image.info:
        grey[values == image.info["transparency"]] = 255
    return Image.fromarray(grey)
