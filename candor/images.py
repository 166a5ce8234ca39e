"""Images from the bytes of files: refused by their header if too large, decoded whole, turned upright, made RGB."""

from __future__ import annotations

import struct
from io import BytesIO

from PIL import Image, ImageOps

from candor.errors import InvalidInput

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 89_478_485  # where Pillow starts to warn of decompression bombs: 256 MiB of RGB

# Pillow's decoders raise all of these on damaged files
_DAMAGED = (OSError, ValueError, SyntaxError, EOFError, ArithmeticError, LookupError, TypeError, MemoryError, struct.error)


class UnreadableImage(InvalidInput):
    """A file that is no image we decode, or a damaged one."""


class ImageTooLarge(UnreadableImage):
    """An image with more pixels than are allowed."""


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """An RGB image from the bytes of a file.

    The first frame of an animation is taken. A picture is turned as its EXIF orientation says, transparent parts are laid
    over white, and 16-bit grey is scaled to 8 bits.

    Args:
        data: the file.
        max_pixels: width x height that is still decoded; the header is asked, before any pixel is.

    Returns:
        The image, mode RGB, its pixels loaded.

    Raises:
        ImageTooLarge: the header announces too many pixels.
        UnreadableImage: it is no image of a format in FORMATS, or is damaged.
    """
    try:
        image: Image.Image = Image.open(BytesIO(data), formats=FORMATS)
        width, height = image.size
        if width * height > max_pixels:
            raise ImageTooLarge(f"the image is {width} x {height}; at most {max_pixels} pixels are allowed")
        return _to_rgb(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as error:
        raise ImageTooLarge(f"the image has more than the {max_pixels} pixels allowed") from error
    except _DAMAGED as error:
        raise UnreadableImage(f"not an image that can be read as {', '.join(FORMATS)}, or a damaged one") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    """RGB; transparent parts over white, 16-bit grey scaled down instead of clipped."""
    if image.mode.startswith("I"):
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")
