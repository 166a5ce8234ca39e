"""What callers send and get, as pydantic models; the OpenAPI document is made from them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, StringConstraints
from pydantic.json_schema import SkipJsonSchema

from candor.calibration.open_set import ScoreName

MAX_WORDS = 100  # of a lookup
EXAMPLE_IMAGE = (  # one red pixel, a PNG file
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mM4IScHAAK2AQUKW6YGAAAAAElFTkSuQmCC"
)
MAX_TEMPLATES = 100  # of one request; CLIP's own list for ImageNet has 80

# Patterns and formats below are for readers of the OpenAPI document; what is refused, and how, is said where it is checked.
BLANK = r"\s_\u001c-\u001f\u0085"  # what Python takes for white space, of a regular expression's set; "_" reads as " "
Label = Annotated[str, Field(json_schema_extra={"pattern": rf"[^{BLANK}]"})]
Template = Annotated[str, StringConstraints(max_length=500), Field(json_schema_extra={"pattern": r"^[^{}]*\{\}[^{}]*$"})]
LabelList = Annotated[list[Label], Field(min_length=1, json_schema_extra={"uniqueItems": True})]
CommaSeparated = Annotated[str, Field(json_schema_extra={"pattern": rf"^[^,]*[^{BLANK},][^,]*(,[^,]*[^{BLANK},][^,]*)*$"})]
Base64 = Annotated[str, Field(json_schema_extra={"format": "byte", "contentEncoding": "base64"})]
LabelSetName = Annotated[str, StringConstraints(min_length=1, max_length=100)]
# 2.0 is 2 in JSON
WHOLE = BeforeValidator(lambda value: int(value) if type(value) is float and value.is_integer() else value)
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


def _given(field: str, kind: str, other: str) -> dict[str, Any]:
    return {"required": [field], "properties": {field: {"type": kind}, other: {"type": "null"}}}


_LABELS_OR_SET: dict[str, Any] = {
    "oneOf": [_given("labels", "array", "label_set"), _given("label_set", "string", "labels")]
}
BOTH_TEMPLATES: dict[str, Any] = {
    "required": ["template", "templates"],
    "properties": {"template": {"type": "string"}, "templates": {"type": "array"}},
}


class ImageRequest(BaseModel):
    """Give `image` for one image or `images` for several, as base64 of a JPEG, PNG, WebP, GIF, BMP or TIFF file."""

    model_config = ConfigDict(extra="forbid")

    image: Base64 | None = Field(None, description="one image, base64; a data: URL is taken too")
    images: list[Base64] | None = Field(None, description="several images, base64", min_length=1)


class ClassifyRequest(ImageRequest):
    """Images, and the labels to classify them among: `labels` or `label_set`, one of the two."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"image": EXAMPLE_IMAGE, "labels": ["red umbrella", "blue anchor"], "top_k": 2},
            "allOf": [_LABELS_OR_SET, {"not": BOTH_TEMPLATES}],
        },
    )

    labels: list[Label] | None = Field(
        None,
        min_length=1,
        description="the labels to choose from; any, and another set with every request",
        json_schema_extra={"uniqueItems": True},
    )
    label_set: LabelSetName | None = Field(None, description="name of a kept label set to choose from instead")
    template: Template | None = Field(None, description="a hand-written prompt with {} to use instead of the tuned one")
    templates: list[Template] | None = Field(
        None, min_length=1, max_length=MAX_TEMPLATES, description="several of them; their text features are averaged"
    )
    top_k: Annotated[int, Field(ge=1), WHOLE] | None = Field(None, description="scores to return; all by default")
    open_set: bool = Field(True, description="whether to say if the image shows any of the labels, and what else it may")
    multi_label: bool = Field(
        False,
        description="score every label by itself, against the vocabulary: an image may show several labels, or none",
    )
    threshold: Share | None = Field(None, description="score from which on a label is accepted")
    thresholds: dict[str, Annotated[Share, Strict()]] | None = Field(
        None, description="the same for single labels, by name; the others have the global one"
    )


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


class LookupRequest(ImageRequest):
    """Images, and how many words of the vocabulary to find for each."""

    model_config = ConfigDict(json_schema_extra={"example": {"image": EXAMPLE_IMAGE, "k": 10}})

    k: Annotated[int, Field(ge=1, le=MAX_WORDS), WHOLE] = Field(10, description="words an image")


class ErrorBody(BaseModel):
    """What went wrong."""

    code: str
    message: str
    field: str | None


class ErrorEnvelope(BaseModel):
    """The body of every error."""

    error: ErrorBody


class Score(BaseModel):
    """A label and its score: its calibrated probability, or how surely the image shows it where each label is by itself."""

    label: str
    score: float = Field(description="0..1")
    accepted: bool | SkipJsonSchema[None] = Field(
        None,
        description="whether the score reaches the label's threshold; only with multi_label, and where there is one",
        json_schema_extra=_without_default,
    )


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

    prediction_id: str | None = Field(
        description="a signed receipt to send back to /v1/feedback with the true label, up to 64 KiB, mostly a few hundred "
        "characters; null with multi_label, with templates of the request, and where no feedback is taken"
    )
    label: str = Field(description="of the highest score")
    scope: Literal["base", "new"] = Field(description='"base": the prompt was tuned on this label; "new": it was not')
    confidence: float = Field(description="calibrated probability of the label; with multi_label its score")
    accepted: bool | None = Field(
        description="whether the confidence reaches the label's threshold; null where it has none"
    )
    scores: list[Score] = Field(description="highest first")
    open_set: OpenSet | None
    label_set: LabelSetInfo


class ClassifyResponse(BaseModel):
    """A result an image, in the order they were sent; of several images, an error in the place of each that has one."""

    artifact: str = Field(description="tag of the prompt artifact that answered")
    results: list[Result | ErrorEnvelope]


class Word(BaseModel):
    """A word of the vocabulary and its cosine to the image."""

    label: str
    similarity: float
    metadata: dict[str, Any] = Field(description="what the vocabulary knows of it, such as WordNet's category and gloss")


class LookupResult(BaseModel):
    """The answer for one image."""

    nearest: list[Word] = Field(description="nearest first")


class LookupResponse(BaseModel):
    """A result an image, in the order they were sent; of several images, an error in the place of each that has one."""

    artifact: str = Field(description="tag of the prompt artifact whose image tower answered")
    vocabulary: str = Field(description="name of the vocabulary")
    results: list[LookupResult | ErrorEnvelope]


def _split(labels: Any) -> Any:
    return [label.strip() for label in labels.split(",")] if isinstance(labels, str) else labels


class HuggingFaceParameters(BaseModel):
    """What transformers' zero-shot image classification pipeline takes."""

    model_config = ConfigDict(extra="forbid")

    candidate_labels: Annotated[
        LabelList,
        BeforeValidator(_split, json_schema_input_type=LabelList | CommaSeparated),
    ] = Field(description="the labels, or one string with commas between them")
    hypothesis_template: Template | None = Field(
        None, description="a hand-written prompt with {} to use instead of the tuned one"
    )


class HuggingFaceRequest(BaseModel):
    """An image and its labels in the shape of Hugging Face's Inference API; other fields than these two are ignored."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"inputs": EXAMPLE_IMAGE, "parameters": {"candidate_labels": ["cat", "dog"]}}}
    )

    inputs: Base64 = Field(description="one image, base64; a data: URL is taken too; nothing is fetched from an address")
    parameters: HuggingFaceParameters


class HuggingFaceScore(BaseModel):
    """A label and its calibrated probability."""

    score: float
    label: str
