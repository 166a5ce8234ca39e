"""`/v1/label_sets`: label sets that are kept by name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field, Strict

from candor.errors import InvalidInput
from service.api.amounts import check_labels, check_texts
from service.api.openapi import Responses, error, json_body
from service.api.requests import media_type, validated_json
from service.api.schemas import BOTH_TEMPLATES, MAX_TEMPLATES, LabelList, Share, Template
from service.engine import Engine
from service.errors import ApiError
from service.labels.in_time import in_time
from service.labels.spec import NAME, LabelSetSpec
from service.question import thresholds_of
from service.serving import Serving
from service.settings import Settings

Name = Annotated[str, Path(description="of a label set", json_schema_extra={"pattern": f"^{NAME}$"})]

UNKNOWN: Responses = error(404, "No such label set")
UNWRITTEN: Responses = error(503, "Loading, draining or overloaded, or label sets cannot be written; see Retry-After")
PUT_ERRORS: Responses = {
    **error(400, "The body cannot be read"),
    **error(409, "There are too many, or one whose name differs in case only"),
    **error(413, "Too large, or too many labels"),
    **error(422, "Well-formed, but impossible"),
    **UNWRITTEN,
}


class LabelSetRequest(BaseModel):
    """Labels to keep, and how images are to be classified among them where a request does not say so itself."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"labels": ["red umbrella", "blue anchor"], "threshold": 0.9},
            "not": BOTH_TEMPLATES,
        },
    )

    labels: LabelList = Field(description="the labels to choose from")
    template: Template | None = Field(None, description="a hand-written prompt with {} to use instead of the tuned one")
    templates: list[Template] | None = Field(
        None, min_length=1, max_length=MAX_TEMPLATES, description="several of them; their text features are averaged"
    )
    threshold: Share | None = Field(None, description="score from which on a label is accepted")
    thresholds: dict[str, Annotated[Share, Strict()]] | None = Field(
        None, description="the same for single labels, by name; the others have the global one"
    )


class KeptLabelSet(BaseModel):
    """A label set that is kept."""

    name: str
    labels: list[str]
    templates: list[str] | None = Field(description="null for the tuned prompt")
    threshold: float | None
    thresholds: dict[str, float] | None


class LabelSetSummary(BaseModel):
    """A label set in a list."""

    name: str
    size: int = Field(description="labels in it")


class LabelSetList(BaseModel):
    """All label sets that are kept, by name."""

    label_sets: list[LabelSetSummary]


def routes(engine: Callable[[], Engine], settings: Settings) -> APIRouter:
    """The routes.

    Args:
        engine: gives the running engine.
        settings: the limits.
    """
    router = APIRouter(prefix="/v1/label_sets", tags=["label sets"])

    @router.get("")
    async def list_label_sets() -> LabelSetList:
        """The label sets that are kept."""
        kept = engine().label_sets.all()
        return LabelSetList(label_sets=[LabelSetSummary(name=name, size=len(spec.labels)) for name, spec in kept.items()])

    @router.get("/{name}", responses=UNKNOWN)
    async def get_label_set(name: Name) -> KeptLabelSet:
        """A label set that is kept."""
        return _answer(name, engine().label_sets.get(name))

    created: dict[int | str, dict[str, Any]] = {201: {"model": KeptLabelSet, "description": "It is a new one"}}

    @router.put("/{name}", responses=created | PUT_ERRORS, openapi_extra=json_body(LabelSetRequest))
    async def put_label_set(name: Name, request: Request, response: Response) -> KeptLabelSet:
        """Keep labels under a name, in place of what had it; they are encoded at once."""
        running = engine()
        if (content := media_type(request)) != "application/json":
            raise ApiError(400, f"send application/json, not {content[:100] or 'no content type'!r}")
        spec = _spec(validated_json(await request.body(), LabelSetRequest, settings), settings)
        running.label_sets.check_name(name)
        await _encode(running.serving, spec)
        if await asyncio.to_thread(running.label_sets.put, name, spec):
            response.status_code = 201
        return _answer(name, spec)

    @router.delete("/{name}", status_code=204, responses=UNKNOWN | UNWRITTEN)
    async def delete_label_set(name: Name) -> None:
        """Forget a label set."""
        await asyncio.to_thread(engine().label_sets.delete, name)

    return router


def _spec(sent: LabelSetRequest, settings: Settings) -> LabelSetSpec:
    check_labels(sent.labels, settings, "labels")
    if sent.template is not None and sent.templates is not None:
        raise ApiError(422, "give either 'template' or 'templates', not both", "templates")
    templates = sent.templates if sent.template is None else [sent.template]
    check_texts(sent.labels, templates, settings, ("labels", "templates"))
    try:
        thresholds_of(sent.labels, sent.threshold, sent.thresholds)
    except InvalidInput as error:
        raise ApiError(422, str(error), "thresholds") from error
    return LabelSetSpec.model_construct(  # its labels are checked when they are encoded
        labels=tuple(sent.labels),
        templates=tuple(templates) if templates else None,
        threshold=sent.threshold,
        thresholds=sent.thresholds,
    )


async def _encode(serving: Serving, spec: LabelSetSpec) -> None:
    """See that the labels can be used, and keep their text features."""
    field = "templates"
    try:
        serving.classifier.check_templates(spec.templates)
        field = "labels"
        async with in_time(serving.model.deadline()):
            await serving.labels.view(await serving.labels.label_set(spec.labels, spec.templates))
    except InvalidInput as error:
        raise ApiError(422, str(error), field) from error


def _answer(name: str, spec: LabelSetSpec) -> KeptLabelSet:
    return KeptLabelSet(name=name, **spec.model_dump())
