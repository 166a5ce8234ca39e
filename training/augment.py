"""Training views: the official random resized crop and flip, drawn for each image from a generator of its own."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Self

import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tv

from candor.clip.backbone import Backbone

RATIO = (3 / 4, 4 / 3)  # width : height of a crop, as torchvision and so CoOp have it
ATTEMPTS = 10  # draws before a crop is taken from the centre, as torchvision


class AugmentConfig(BaseModel):
    """How training images are varied.

    The defaults beside `views` are those of CoOp and its followers (Dassl's `random_resized_crop`, `random_flip`).

    Attributes:
        views: random views of an image that are encoded and kept; 0 takes the test transform, one view, no chance.
        scale: least and greatest area of a crop, as a share of the image.
        flip: mirror half of the views.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    views: int = Field(0, ge=0)
    scale: tuple[float, float] = (0.08, 1.0)
    flip: bool = True

    @model_validator(mode="after")
    def _scale_is_a_range(self) -> Self:
        low, high = self.scale
        if not 0 < low <= high <= 1:
            raise ValueError(f"scale must hold 0 < least <= greatest <= 1, got {low} and {high}")
        return self


@dataclass(frozen=True)
class View:
    """One draw: the crop in pixels of the image, and whether it is mirrored."""

    top: int
    left: int
    height: int
    width: int
    flip: bool


@dataclass(frozen=True)
class ImageSettings:
    """What a backbone wants of a picture.

    Attributes:
        size: (height, width) in pixels.
        mean, std: of each RGB channel, of 1.
        interpolation: of resizing.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: InterpolationMode

    @classmethod
    def of(cls, backbone: Backbone) -> ImageSettings:
        """Read from the preprocessing settings that open_clip keeps with every image tower."""
        settings = backbone.model.visual.preprocess_cfg
        size = settings["size"]
        height, width = (size, size) if isinstance(size, int) else size
        # open_clip takes bicubic for everything but "bilinear", "random" included
        bilinear = settings["interpolation"] == "bilinear"
        return cls(
            (int(height), int(width)),
            tuple(settings["mean"]),
            tuple(settings["std"]),
            InterpolationMode.BILINEAR if bilinear else InterpolationMode.BICUBIC,
        )


def view_generator(seed: int, digest: bytes, view: int) -> torch.Generator:
    """The generator of one view of one image: the same whatever else is drawn, in whatever order.

    Args:
        seed: of the run.
        digest: sha256 of the image's content.
        view: number of the view, from 0.
    """
    source = hashlib.sha256(b"%d %d " % (seed, view) + digest).digest()
    return torch.Generator().manual_seed(int.from_bytes(source[:8], "big") >> 1)


def draw_view(width: int, height: int, augment: AugmentConfig, generator: torch.Generator) -> View:
    """Draw a crop and a flip.

    The area is uniform in `scale`, the log of the aspect ratio uniform in RATIO's, the place uniform; a crop that does not
    fit is drawn again, ATTEMPTS times at most, and then taken from the centre with the nearest ratio allowed.

    Args:
        width: of the image, in pixels.
        height: of the image, in pixels.
        augment: scale and flip.
        generator: is drawn from as torchvision's RandomResizedCrop and RandomHorizontalFlip draw from the global one.

    Returns:
        The crop, inside the image, and the flip.

    Source:
        torchvision.transforms.RandomResizedCrop.get_params, whose only generator is the global one.
    """
    top, left, crop_height, crop_width = _draw_crop(width, height, augment.scale, generator)
    # drawn even where it is not used, so that `flip` does not change the crops
    heads = torch.rand(1, generator=generator).item() < 0.5
    return View(top, left, crop_height, crop_width, heads and augment.flip)


def _draw_crop(
    width: int, height: int, scale: tuple[float, float], generator: torch.Generator
) -> tuple[int, int, int, int]:
    low, high = torch.log(torch.tensor(RATIO)).tolist()
    for _ in range(ATTEMPTS):
        area = width * height * torch.empty(1).uniform_(*scale, generator=generator).item()
        ratio = torch.exp(torch.empty(1).uniform_(low, high, generator=generator)).item()
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top = int(torch.randint(height - h + 1, (1,), generator=generator).item())
            left = int(torch.randint(width - w + 1, (1,), generator=generator).item())
            return top, left, h, w
    ratio = min(max(width / height, RATIO[0]), RATIO[1])
    w, h = min(width, round(height * ratio)), min(height, round(width / ratio))
    return (height - h) // 2, (width - w) // 2, h, w


def apply_view(image: Image.Image, view: View, settings: ImageSettings) -> Tensor:
    """The training transform with its chance taken out: crop, resize (antialiased), flip, normalise.

    Args:
        image: RGB.
        view: of `draw_view`.
        settings: of the backbone that will see it.

    Returns:
        (3, H, W) float32.
    """
    cropped = tv.resized_crop(
        image, view.top, view.left, view.height, view.width, list(settings.size), settings.interpolation, antialias=True
    )
    pixels = tv.to_tensor(tv.hflip(cropped) if view.flip else cropped)
    made: Tensor = tv.normalize(pixels, list(settings.mean), list(settings.std))
    return made
