"""What callers of a soak send: many kinds of requests, and label sets that the service has never seen all the time."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from random import Random

from glyph_world.render import Scene, render

COLOURS = ("red", "blue", "green", "yellow", "black", "white")
THINGS = ("umbrella", "anchor", "snowman", "heart", "peace symbol", "yin yang", "airplane", "envelope", "sun", "star")
SIZES = (2, 5, 20, 100)  # labels of the sets that come again and again
NEW, BAD = 0.15, 0.05  # share of requests with new labels, and of those that must be refused
BOUNDARY = "soak"
REFUSALS = (400, 415, 422)


@dataclass(frozen=True)
class SoakRequest:
    """A request.

    Attributes:
        body, content_type: of POST /v1/classify.
        refused: whether it must be refused with one of REFUSALS instead of answered.
    """

    body: bytes
    content_type: str
    refused: bool = False

    def is_met_by(self, status: int) -> bool:
        """Whether an answer with that HTTP status is what the request asks for."""
        return status in (REFUSALS if self.refused else (200,))


def traffic(seed: int) -> Iterator[SoakRequest]:
    """Requests without end, the same for the same seed: forms and JSON, open set on and off, 2 to 100 labels.

    Args:
        seed: of all that is drawn.
    """
    rng = Random(seed)
    pictures = [_picture(rng, number) for number in range(24)]
    kept = [_labels(rng, size, "") for size in SIZES for _ in range(3)]
    for number in range(2**63):
        picture, labels = rng.choice(pictures), rng.choice(kept)
        if rng.random() < NEW:
            labels = _labels(rng, rng.choice((2, 5, 10)), f" {seed}.{number}")
        refused = rng.random() < BAD
        if refused and rng.random() < 0.5:
            picture = picture[: len(picture) // 2]
        elif refused:
            labels = [labels[0], labels[0]]
        options = {"labels": json.dumps(labels), "open_set": json.dumps(rng.random() < 0.5)}
        yield (_form if rng.random() < 0.5 else _json)(picture, options, refused)


def _picture(rng: Random, number: int) -> bytes:
    buffer = BytesIO()
    scene = Scene(rng.choice(("umbrella", "anchor", "snowman")), rng.choice(COLOURS), "drawing", number)
    render(scene).save(buffer, rng.choice(("PNG", "JPEG", "WEBP")))
    return buffer.getvalue()


def _labels(rng: Random, size: int, mark: str) -> list[str]:
    names = [f"{colour} {thing}" for colour in COLOURS for thing in THINGS]
    names += [f"{name} beside a {thing}" for name in names[:20] for thing in THINGS]
    return [name + mark for name in rng.sample(names, size)]


def _form(picture: bytes, options: dict[str, str], refused: bool) -> SoakRequest:
    mark = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name="
    fields = "".join(f'{mark}"{name}"\r\n\r\n{value}\r\n' for name, value in options.items())
    body = f'{mark}"image"; filename="x"\r\n\r\n'.encode() + picture + f"\r\n{fields}--{BOUNDARY}--\r\n".encode()
    return SoakRequest(body, f"multipart/form-data; boundary={BOUNDARY}", refused)


def _json(picture: bytes, options: dict[str, str], refused: bool) -> SoakRequest:
    image = base64.b64encode(picture).decode()
    fields = "".join(f',"{name}":{value}' for name, value in options.items())
    return SoakRequest(f'{{"image":"{image}"{fields}}}'.encode(), "application/json", refused)
