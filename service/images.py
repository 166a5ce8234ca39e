"""Images of callers: refused by their header where they are too large, decoded whole, turned upright, made RGB."""

from __future__ import annotations

from io import BytesIO

from PIL import Image, ImageOps

from service.errors import ApiError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


def decode_image(data: bytes, max_pixels: int, field: str = "image") -> Image.Image:
    """An RGB image from the bytes of a file.

    Args:
        data: the file.
        max_pixels: width x height that is still decoded.
        field: named in errors.

    Raises:
        ApiError: 413 where the header announces too many pixels; 415 where it is no image we decode, or is damaged.
    """
    try:
        image: Image.Image = Image.open(BytesIO(data), formats=FORMATS)
        _check_pixels(image.size, max_pixels, field)
        image = ImageOps.exif_transpose(image)
        return _to_rgb(image)
    except Image.DecompressionBombError as error:
        raise ApiError(413, f"the image has more than the {max_pixels} pixels allowed", field) from error
    except (OSError, ValueError, SyntaxError, EOFError, ArithmeticError, LookupError, MemoryError) as error:
        # Pillow's decoders raise all of these on damaged files
        raise ApiError(415, f"not an image that can be read as {', '.join(FORMATS)}, or a damaged one", field) from error


def _check_pixels(size: tuple[int, int], max_pixels: int, field: str) -> None:
    if size[0] * size[1] > max_pixels:
        raise ApiError(413, f"the image is {size[0]} x {size[1]}; at most {max_pixels} pixels are allowed", field)


def _to_rgb(image: Image.Image) -> Image.Image:
    """RGB; transparent parts over white, 16-bit grey scaled down instead of clipped."""
    if image.mode.startswith("I"):
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")
