"""What the service is told by its environment. The only reader of `CANDOR_...` variables."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Every setting is the environment variable CANDOR_<NAME>.

    Attributes:
        artifact: directory of a prompt artifact; None serves the hand-written template (zero-shot).
        index: directory of a vocabulary index; None gives no nearest labels and no lookup, and MCM as the open-set score.
        model, pretrained: the backbone where there is no artifact.
        device: "auto" takes a CUDA GPU if there is one.
        precision: "auto" is bf16 on a GPU and fp32 on the CPU.
        max_body_bytes: of one request.
        max_pixels: of one image, by its header, before anything is decoded.
        max_images: in one request.
        max_labels: in one request.
        max_batch: images that the model takes at once.
        max_queue: images that wait for the model; more are refused with 503.
        label_cache_bytes: of the text features of label sets that are kept.
    """

    model_config = SettingsConfigDict(env_prefix="CANDOR_", extra="ignore", frozen=True)

    artifact: Path | None = None
    index: Path | None = None
    model: str = "glyph-clip"
    pretrained: str | None = None
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    max_body_bytes: int = Field(20 * 2**20, ge=1024)
    max_pixels: int = Field(50_000_000, ge=1)
    max_images: int = Field(32, ge=1)
    max_labels: int = Field(1000, ge=1)
    max_batch: int = Field(32, ge=1)
    max_queue: int = Field(512, ge=1)
    label_cache_bytes: int = Field(256 * 2**20, ge=0)
