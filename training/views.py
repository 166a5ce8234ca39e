"""What the tower is shown of a sample: the content of its picture, each view of it as a tensor, and the view's key."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from candor.clip.backbone import Backbone
from candor.errors import IntegrityError
from candor.files import file_digest
from candor.images import UnreadableImage
from training.augment import RATIO, AugmentConfig, ImageSettings, apply_view, draw_view, view_generator
from training.data import Sample

SCHEMA = 2  # raise it when candor.images decodes a file otherwise than before: no key can see that
PROBES = ((48, 36), (480, 360))  # (width, height): one picture that is enlarged and one that is reduced


@dataclass(frozen=True)
class Content:
    """What a sample shows.

    Attributes:
        digest: sha256 of the image file, or of the pixels where there is no file.
        image: the picture, where it had to be drawn to know.
    """

    digest: bytes
    image: Image.Image | None = None


def content_of(sample: Sample) -> Content:
    """Identify what a sample shows; a file is read, but not decoded.

    Raises:
        UnreadableImage: the file is missing or cannot be read.
    """
    if sample.path is None:
        image = sample.open()
        about = f"{image.mode} {image.width} {image.height} ".encode()
        return Content(hashlib.sha256(about + image.tobytes()).digest(), image)
    try:
        return Content(bytes.fromhex(file_digest(sample.path)))
    except OSError as error:
        raise UnreadableImage(f"{sample.path}: cannot be read ({error.strerror})") from error


def picture_of(sample: Sample, content: Content) -> Image.Image:
    """The picture that `content` was made of.

    Raises:
        UnreadableImage: it cannot be decoded.
        IntegrityError: the file changed since; its features would be kept under the wrong key.
    """
    if sample.path is None:
        return content.image or sample.open()
    image = sample.open()
    if content_of(sample).digest != content.digest:
        raise IntegrityError(sample.path, f"sha256 {content.digest.hex()}", "a file that was changed while it was read")
    return image


class ViewMaker:
    """Makes views of pictures for one backbone, and the key of each.

    Args:
        backbone: sees the views.
        augment: which views there are.
        seed: of the random ones.
    """

    def __init__(self, backbone: Backbone, augment: AugmentConfig, seed: int) -> None:
        self.backbone, self.augment, self.seed = backbone, augment, seed
        self.settings = ImageSettings.of(backbone)

    @property
    def count(self) -> int:
        """V: how many views an image has."""
        return max(self.augment.views, 1)

    def tensor(self, image: Image.Image, digest: bytes, view: int) -> Tensor:
        """One view of a picture.

        Args:
            image: RGB.
            digest: of its content; the random views follow from it, the seed and `view` alone.
            view: from 0; without random views every number gives the test transform.

        Returns:
            (3, H, W) float32, normalised as the backbone wants it.
        """
        if self.augment.views == 0:
            return self.backbone.preprocess(image)
        draw = draw_view(*image.size, self.augment, view_generator(self.seed, digest, view))
        return apply_view(image, draw, self.settings)

    def key_prefix(self, view: int) -> bytes:
        """sha256 of all that a feature of this view depends on, beside the content of the image."""
        visual = self.backbone.model.visual
        parts = {
            "schema": SCHEMA,
            "weights": self.backbone.digest,
            # the same weights run otherwise under another activation or head count
            "model": [self.backbone.name, hashlib.sha256(repr(visual).encode()).hexdigest()],
            "arithmetic": [str(next(visual.parameters()).dtype), torch.get_float32_matmul_precision()],
            "device": self.backbone.device.type,
            "versions": [version(name) for name in ("torch", "torchvision", "open_clip_torch", "pillow")],
            "transform": self._transform(view),
            "probes": self._probe(view),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).digest()

    def _transform(self, view: int) -> list[object]:
        if self.augment.views:
            settings = repr(self.settings)
            return ["random view", settings, self.augment.scale, RATIO, self.augment.flip, self.seed, view]
        settings = json.dumps(self.backbone.model.visual.preprocess_cfg, sort_keys=True, default=str)
        # the text of a function holds its address, which differs from run to run
        return ["test transform", settings, re.sub(r" at 0x[0-9a-fA-F]+", "", str(self.backbone.preprocess))]

    def _probe(self, view: int) -> str:
        """sha256 of what the transform makes of known pictures: sees a change that no text of it tells."""
        digest = hashlib.sha256()
        for width, height in PROBES:
            made = self.tensor(_probe_picture(width, height), b"probe", view)
            digest.update(np.ascontiguousarray(made.cpu().numpy()).data)
        return digest.hexdigest()


@cache
def _probe_picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def view_key(prefix: bytes, digest: bytes) -> bytes:
    """The key of one view of one image: sha256 of `ViewMaker.key_prefix` and the digest of its content."""
    return hashlib.sha256(prefix + digest).digest()
