"""What callers send and get, as pydantic models; the OpenAPI document is made from them."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Label = Annotated[str, StringConstraints(max_length=500)]


class ClassifyRequest(BaseModel):
    """Give `image` for one image or `images` for several, as base64 of a JPEG, PNG, WebP, GIF, BMP or TIFF file."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"image": "<base64>", "labels": ["red umbrella", "blue anchor"], "top_k": 2}},
    )

    image: str | None = Field(None, description="one image, base64")
    images: list[str] | None = Field(None, description="several images, base64", min_length=1)
    labels: list[Label] = Field(description="the labels to choose from; any, and another set with every request")
    template: str | None = Field(None, description="a hand-written prompt with {} to use instead of the tuned one")
    top_k: int | None = Field(None, ge=1, description="scores to return; all by default")
    open_set: bool = Field(True, description="whether to look up the nearest labels of the vocabulary")


class Score(BaseModel):
    """A label and its calibrated probability."""

    label: str
    score: float


class Nearest(BaseModel):
    """A word of the vocabulary and its cosine to the image."""

    label: str
    similarity: float


class OpenSet(BaseModel):
    """What the image may show beside the caller's labels."""

    nearest: list[Nearest]


class LabelSetInfo(BaseModel):
    """How far the label set stands from what the prompt was tuned on."""

    size: int
    text_deviation: float = Field(description="mean of 1 - cos(tuned, zero-shot) over the labels")
    divergence: float | None = Field(description="mean distance of a label's text feature to its nearest others")


class Result(BaseModel):
    """The answer for one image."""

    label: str
    scope: str = Field(description='"base": the prompt was tuned on this label; "new": it was not')
    confidence: float = Field(description="calibrated probability of the label")
    scores: list[Score] = Field(description="highest first")
    open_set: OpenSet | None
    label_set: LabelSetInfo


class ClassifyResponse(BaseModel):
    """A result an image, in the order they were sent."""

    artifact: str = Field(description="tag of the prompt artifact that answered")
    results: list[Result]


class ErrorBody(BaseModel):
    """What went wrong."""

    code: str
    message: str
    field: str | None


class ErrorEnvelope(BaseModel):
    """The body of every error."""

    error: ErrorBody
