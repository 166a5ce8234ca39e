"""What is told to whoever counts."""

from __future__ import annotations

from typing import Literal, Protocol

Stage = Literal["decode", "queue", "encode"]


class Watch(Protocol):
    """Hears what happens to images; called from any thread."""

    def image_batch(self, size: int) -> None:
        """The model has taken so many images at once."""

    def stage(self, stage: Stage, seconds: float) -> None:
        """A stage has ended: "decode" and "queue" of each image, "encode" of each batch."""


class Unwatched:
    """Hears nothing."""

    def image_batch(self, size: int) -> None:
        """Nothing."""

    def stage(self, stage: Stage, seconds: float) -> None:
        """Nothing."""


UNWATCHED = Unwatched()
