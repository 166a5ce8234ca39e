"""POST /v1/feedback: the true labels of earlier predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from candor.clip.templates import readable
from service.api.amounts import check_labels, check_number
from service.api.answers import json_response
from service.api.openapi import Responses, Schema, error, json_body
from service.api.requests import media_type, validated_json
from service.api.schemas import BLANK, ErrorEnvelope
from service.engine import Engine
from service.errors import CODES, ApiError, envelope
from service.feedback.receipts import MAX_LENGTH
from service.feedback.service import SentFeedback
from service.refusals import refusals
from service.settings import Settings

MOST = 1000  # labels in one request
VALUES = 32 * MOST  # of JSON; commas inside of labels look like more values
EXAMPLE: Schema = {"prediction_id": "the prediction_id of an answer", "label": "red umbrella"}

ERRORS: Responses = {
    **error(400, "The body cannot be read"),
    **error(404, "The service takes no feedback"),
    **error(409, "Another label is kept for this prediction already; overwrite replaces it"),
    **error(413, "Too large, or too many"),
    **error(422, "Well-formed, but impossible; or a prediction_id that is not valid, or not any more"),
    **error(503, "Loading, draining or overloaded, or the store cannot be written; see Retry-After"),
}
_ONE_OR_SEVERAL: list[Schema] = [
    {
        "required": ["prediction_id", "label"],
        "properties": {
            "prediction_id": {"type": "string"},
            "label": {"type": "string"},
            "overwrite": {"type": "boolean"},
            "feedback": {"type": "null"},
        },
    },
    {
        "required": ["feedback"],
        "properties": {
            "prediction_id": {"type": "null"},
            "label": {"type": "null"},
            "overwrite": {"type": "null"},
            "feedback": {"type": "array"},
        },
    },
]

PredictionId = Annotated[str, StringConstraints(min_length=1, max_length=MAX_LENGTH)]
TrueLabel = Annotated[str, Field(json_schema_extra={"pattern": rf"^[^\u0000]*[^{BLANK}\u0000][^\u0000]*$"})]


class FeedbackItem(BaseModel):
    """The true label of one prediction."""

    model_config = ConfigDict(extra="forbid")

    prediction_id: PredictionId = Field(description="of the answer")
    label: TrueLabel = Field(description="the true one; it need not be one of the request's")
    overwrite: bool = Field(False, description="whether it may replace another label of the same prediction")


class FeedbackRequest(BaseModel):
    """The true label of one prediction; or `feedback`, a list of at most 1000."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": EXAMPLE, "oneOf": [*_ONE_OR_SEVERAL]})

    prediction_id: PredictionId | None = Field(None, description="of the answer")
    label: TrueLabel | None = Field(None, description="the true one; it need not be one of the request's")
    overwrite: bool | None = Field(None, description="whether it may replace another label of the same prediction")
    feedback: list[FeedbackItem] | None = Field(
        None, min_length=1, fail_fast=True, description="of several predictions", json_schema_extra={"maxItems": MOST}
    )


class FeedbackResult(BaseModel):
    """What became of one label, and what it says of the prediction. It is kept durably before this is answered."""

    status: Literal["stored", "repeated", "overwritten"] = Field(description='"repeated": that label was kept already')
    outcome: Literal["correct", "wrong", "outside"] = Field(
        description='"outside": the true label was none of the request\'s, so that no answer could have been right'
    )


class FeedbackResponse(BaseModel):
    """A result a label, in the order they were sent; of several, an error in the place of each that has one."""

    results: list[FeedbackResult | ErrorEnvelope]


def routes(engine: Callable[[], Engine], settings: Settings) -> APIRouter:
    """The route, for an engine that is there once it has been loaded."""
    router = APIRouter()

    @router.post(
        "/v1/feedback", response_model=FeedbackResponse, responses=ERRORS, openapi_extra=json_body(FeedbackRequest)
    )
    async def feedback(request: Request) -> Response:
        """Tell the true labels of earlier predictions. What is acknowledged survives a crash; repeats change nothing."""
        service = engine().feedback
        if service is None:
            raise ApiError(404, "this service takes no feedback; see CANDOR_FEEDBACK")
        if (content := media_type(request)) != "application/json":
            raise ApiError(400, f"send application/json, not {content[:100] or 'no content type'!r}")
        sent = validated_json(await request.body(), FeedbackRequest, settings, VALUES)
        items = _items(sent)
        refused = [_wrong(item, settings) for item in items]
        taken = iter(await service.add([item for item, why in zip(items, refused, strict=True) if why is None]))
        found = [why or next(taken) for why in refused]
        if sent.feedback is None and isinstance(found[0], ApiError):
            raise found[0]
        return json_response({"results": _placed(found)})

    return router


def _items(sent: FeedbackRequest) -> list[SentFeedback]:
    """One label, or several.

    Raises:
        ApiError: neither, both, or too many.
    """
    if sent.feedback is not None:
        for name in ("prediction_id", "label", "overwrite"):
            if getattr(sent, name) is not None:
                raise ApiError(422, f"give either 'feedback' or {name!r}, not both", name)
        check_number(len(sent.feedback), MOST, "feedback")
        return [
            SentFeedback(item.prediction_id, item.label, item.overwrite, f"feedback.{i}.")
            for i, item in enumerate(sent.feedback)
        ]
    if sent.prediction_id is None or sent.label is None:
        missing = "prediction_id" if sent.prediction_id is None else "label"
        raise ApiError(422, "send 'prediction_id' and 'label', or 'feedback' with a list of them", missing)
    return [SentFeedback(sent.prediction_id, sent.label, bool(sent.overwrite))]


def _wrong(item: SentFeedback, settings: Settings) -> ApiError | None:
    """Why a label cannot be one; None where it can."""
    field = f"{item.field}label"
    try:
        check_labels([item.label], settings, field)  # before anything is made of it: it may be of megabytes
    except ApiError as error:
        return error
    if not readable(item.label):
        return ApiError(422, "the label is empty", field)
    if "\0" in item.label:  # PostgreSQL keeps none
        return ApiError(422, "the label holds a NUL character", field)
    return None


def _placed(found: Sequence[dict[str, Any] | ApiError]) -> list[dict[str, Any]]:
    """Results, and the envelopes of errors in the other places, which are counted as refusals."""
    for each in found:
        if isinstance(each, ApiError):
            refusals.count(CODES[each.status])
    return [dict(envelope(e.status, e.message, e.field)) if isinstance(e, ApiError) else e for e in found]
