"""What the bench sends: pictures made by code, labels nobody has to know, and bodies prepared before any clock runs."""

from __future__ import annotations

import base64
import io
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass

import httpx
import numpy as np
from PIL import Image, ImageDraw

SIZE = 224  # pixels a side
NOISE = 16  # grey levels; makes a JPEG of about 18 KB at quality 90
ADJECTIVES = ("red", "blue", "small", "old", "wooden", "broken", "shiny", "striped", "wet", "painted")
NOUNS = ("umbrella", "anchor", "teapot", "bicycle", "lantern", "violin", "ladder", "basket", "helmet", "kite")


@dataclass(frozen=True)
class Body:
    """A request's body.

    Attributes:
        content: its bytes.
        content_type: of the header.
    """

    content: bytes
    content_type: str


def pictures(count: int) -> list[bytes]:
    """Different JPEG files of SIZE x SIZE pixels: shapes under noise. The same ones every time."""
    files = []
    for seed in range(count):
        random = np.random.default_rng(seed)
        image = Image.new("RGB", (SIZE, SIZE), tuple(random.integers(0, 256, 3).tolist()))
        draw = ImageDraw.Draw(image)
        for shape in (draw.rectangle, draw.ellipse) * 3:
            left, top, width, height = random.integers(0, SIZE // 2, 4).tolist()
            shape((left, top, left + width + 8, top + height + 8), fill=tuple(random.integers(0, 256, 3).tolist()))
        noisy = np.asarray(image, np.float32) + random.normal(0, NOISE, (SIZE, SIZE, 3))
        file = io.BytesIO()
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files


def labels(count: int, first: int = 0) -> tuple[str, ...]:
    """Different labels of two or three words.

    Args:
        count: of them.
        first: number of the first one; label sets that do not overlap by number have no label in common.
    """
    pairs = list(itertools.product(ADJECTIVES, NOUNS))
    numbers = range(first, first + count)
    return tuple(" ".join(pairs[n % len(pairs)]) + (f" {n // len(pairs)}" if n >= len(pairs) else "") for n in numbers)


def form_body(image: bytes, labels: Sequence[str], **fields: str) -> Body:
    """A request as curl sends it: multipart, the labels as one JSON list."""
    parts = {"image": ("picture.jpg", image, "image/jpeg")}
    data = {"labels": json.dumps(labels)} | fields
    request = httpx.Request("POST", "http://localhost", files=parts, data=data)
    return Body(request.read(), request.headers["content-type"])


def json_body(image: bytes, labels: Sequence[str], **fields: object) -> Body:
    """The same as JSON, the image in base64."""
    document = {"image": base64.b64encode(image).decode(), "labels": list(labels)} | fields
    return Body(json.dumps(document).encode(), "application/json")
