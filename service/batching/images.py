"""Images of callers: the core's decoder, its refusals as HTTP errors."""

from __future__ import annotations

from PIL import Image

from candor import images
from candor.images import ImageTooLarge, UnreadableImage
from service.errors import ApiError


def decode_image(data: bytes, max_pixels: int, field: str = "image", at_least: int | None = None) -> Image.Image:
    """An RGB image from the bytes of a file.

    Args:
        data: the file.
        max_pixels: width x height that is still decoded.
        field: named in errors.
        at_least: a JPEG may be decoded at a fraction of its size while both sides stay so long; None decodes all of it.

    Raises:
        ApiError: 413 where the header announces too many pixels; 415 where it is no image we decode, or is damaged.
    """
    try:
        return images.decode_image(data, max_pixels, at_least)
    except UnreadableImage as error:
        raise ApiError(413 if isinstance(error, ImageTooLarge) else 415, str(error), field) from error
