"""What callers send and get, as pydantic models; the OpenAPI document is made from them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from candor.calibration.open_set import ScoreName

MAX_WORDS = 100  # of a lookup

Label = Annotated[str, StringConstraints(max_length=500)]


class ImageRequest(BaseModel):
    """Give `image` for one image or `images` for several, as base64 of a JPEG, PNG, WebP, GIF, BMP or TIFF file."""

    model_config = ConfigDict(extra="forbid")

    image: str | None = Field(None, description="one image, base64")
    images: list[str] | None = Field(None, description="several images, base64", min_length=1)


class ClassifyRequest(ImageRequest):
    """Images, and the labels to classify them among."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"image": "<base64>", "labels": ["red umbrella", "blue anchor"], "top_k": 2}},
    )

    labels: list[Label] = Field(description="the labels to choose from; any, and another set with every request")
    template: str | None = Field(None, description="a hand-written prompt with {} to use instead of the tuned one")
    top_k: int | None = Field(None, ge=1, description="scores to return; all by default")
    open_set: bool = Field(True, description="whether to say if the image shows any of the labels, and what else it may")


class LookupRequest(ImageRequest):
    """Images, and how many words of the vocabulary to find for each."""

    model_config = ConfigDict(json_schema_extra={"example": {"image": "<base64>", "k": 10}})

    k: int = Field(10, ge=1, le=MAX_WORDS, description="words an image")


class Score(BaseModel):
    """A label and its calibrated probability."""

    label: str
    score: float


class Nearest(BaseModel):
    """A label and its cosine to the image under the vocabulary's templates."""

    label: str
    similarity: float
    source: Literal["vocabulary", "labels"] = Field(description="whether the vocabulary or the request holds it")
    same_as: str | None = Field(description="the label of the request that a word of the vocabulary is another name of")


class OpenSet(BaseModel):
    """Whether the image shows any of the labels, and what it may show beside them."""

    score: float = Field(description="high: it shows one of the labels; 0..1, comparable within one method only")
    method: ScoreName = Field(description='"neglabel" where a vocabulary is served, "mcm" where none is')
    known: bool | None = Field(
        description="whether the score reaches the artifact's threshold; null where it has none for this method and "
        "vocabulary, or the request brought its own template"
    )
    nearest: list[Nearest] = Field(description="labels and words of the vocabulary, nearest first; empty without one")


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


class Word(BaseModel):
    """A word of the vocabulary and its cosine to the image."""

    label: str
    similarity: float
    metadata: dict[str, Any] = Field(description="what the vocabulary knows of it, such as WordNet's category and gloss")


class LookupResult(BaseModel):
    """The answer for one image."""

    nearest: list[Word] = Field(description="nearest first")


class LookupResponse(BaseModel):
    """A result an image, in the order they were sent."""

    vocabulary: str = Field(description="name of the vocabulary")
    results: list[LookupResult]


class ErrorBody(BaseModel):
    """What went wrong."""

    code: str
    message: str
    field: str | None


class ErrorEnvelope(BaseModel):
    """The body of every error."""

    error: ErrorBody
