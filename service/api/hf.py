"""POST /v1/hf: the shape of Hugging Face's Inference API, so that its clients need nothing but another address."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, Request, Response

from service.api.amounts import check_labels
from service.api.answers import json_response
from service.api.noted import note
from service.api.openapi import IMAGE_ERRORS, Responses, json_body
from service.api.requests import SentImage, image_bytes, media_type, validated_json
from service.api.schemas import HuggingFaceRequest, HuggingFaceScore
from service.engine import Engine
from service.errors import ApiError
from service.question import Question
from service.settings import Settings

INPUTS, LABELS, TEMPLATE = "inputs", "parameters.candidate_labels", "parameters.hypothesis_template"
ARTIFACT = "X-Candor-Artifact"  # the body is Hugging Face's, and has no place for it

_ANSWERED: Responses = {
    200: {"headers": {ARTIFACT: {"description": "tag of the prompt artifact that answered", "schema": {"type": "string"}}}}
}


def routes(engine: Callable[[], Engine], settings: Settings) -> APIRouter:
    """The route, for an engine that is there once it has been loaded."""
    router = APIRouter()

    @router.post(
        "/v1/hf",
        response_model=list[HuggingFaceScore],
        responses=_ANSWERED | IMAGE_ERRORS,
        openapi_extra=json_body(HuggingFaceRequest),
    )
    async def hugging_face(request: Request) -> Response:
        """Classify one image as Hugging Face's zero-shot image classification does, with calibrated confidence."""
        answering = engine()
        if (content := media_type(request)) != "application/json":
            raise ApiError(400, f"send application/json, not {content[:100] or 'no content type'!r}")
        image, question = asked(validated_json(await request.body(), HuggingFaceRequest, settings), settings)
        answer = await answering.hugging_face(image, question)
        note(request.scope, answer, len(question.labels))
        response = json_response(answer["results"][0])
        response.headers[ARTIFACT] = answer["artifact"]
        return response

    return router


def asked(sent: HuggingFaceRequest, settings: Settings) -> tuple[SentImage, Question]:
    """The image, and what is asked about it.

    Args:
        sent: in Hugging Face's shape.
        settings: the limits.

    Raises:
        ApiError: 413 where there are too many labels; 422 where one is too long.
    """
    labels = sent.parameters.candidate_labels
    check_labels(labels, settings, LABELS)
    template = sent.parameters.hypothesis_template
    templates = None if template is None else (template,)
    question = Question(tuple(labels), templates, open_set=False, labels_field=LABELS, templates_field=TEMPLATE)
    return SentImage(INPUTS, image_bytes(sent.inputs, INPUTS)), question
